# ruff: noqa: PTH123, PTH208, SIM115 - MicroPython has no pathlib
"""Runs on MicroPython: the verification core, driven by one JSON document a line on stdin, one answer a line on stdout.

A command names the directories of the store and of the repository (a folder of metadata files), and what to do.
"""

import binascii
import gc
import io
import json
import os
import sys

from directory_store import DirectoryStore

from heirloom.device.errors import E_NETWORK, E_NOT_FOUND, UpdateError
from heirloom.device.tuf import Client, Config, Document


class FolderFetcher:
    """See protocols.Fetcher: files of a folder. A file `down` in it means that nothing answers."""

    def __init__(self, folder, etags):
        self._folder = folder
        self._etags = etags
        self.requests = []

    def fetch(self, name, limit, sink, etag=None):
        self.requests.append(name)
        if "down" in os.listdir(self._folder):
            raise UpdateError(E_NETWORK, "nobody answers")
        try:
            file = open(self._folder + "/" + name, "rb")
        except OSError:
            raise UpdateError(E_NOT_FOUND, name + " is not there") from None
        with file:
            tag = ""
            if self._etags:
                with open(self._folder + "/" + name, "rb") as again:
                    tag = str(binascii.crc32(again.read()))
                if tag == etag:
                    return None
            while True:
                data = file.read(100)
                if not data:
                    return tag
                sink.write(data)


class Tables:
    """See protocols.TableCache: keeps tables in memory; may spoil them."""

    def __init__(self, spoiled):
        self._spoiled = spoiled
        self._kept = {}
        self.dropped = 0

    def get(self, name):
        return self._kept.get(name)

    def put(self, name, make):
        from heirloom.device.comb import MemoryTable

        gc.collect()
        rows = []
        make(rows.append)
        if self._spoiled:
            rows = [bytes(byte ^ 1 for byte in row) for row in rows]
        self._kept[name] = MemoryTable(b"".join(rows))

    def drop(self, name):
        self._kept.pop(name, None)
        self.dropped += 1


def run(command):
    fetcher = FolderFetcher(command["repository"], command.get("etags", False))
    store = DirectoryStore(command["store"], command.get("provisioned"))
    config = Config()
    for name, value in command.get("config", {}).items():
        setattr(config, name, value)
    tables = Tables(command.get("tables") == "spoiled") if command.get("tables") else None
    client = Client(store, fetcher, command["now"], config, tables, command.get("accept_stale", False))
    answer = {"code": None}
    try:
        try:
            for step in command["do"]:
                answer["result"] = act(client, step)
        except UpdateError as error:
            answer["code"] = error.code
            answer["error"] = str(error)
        answer["versions"] = versions(client)
    finally:
        client.close()
    answer["requests"] = fetcher.requests
    answer["dropped"] = tables.dropped if tables else 0
    package = "heirloom.device."
    answer["modules"] = [name[len(package) :] for name in sys.modules if name.startswith(package)]
    return answer


def versions(client):
    found = {}
    for role in ("root", "timestamp", "snapshot", "targets"):
        try:
            version = client.value(role, "version")
        except UpdateError:
            continue
        if version is not None:
            found[role] = version
    return found


def scan(data):
    """Digest, and canonical form as it was fed, of a document; or the code of its refusal."""
    document = Document("document", io.BytesIO(data), len(data))
    try:
        document.check()
    except UpdateError as error:
        return error.code
    out = bytearray()
    document.feed(out.extend)
    json.loads(json.dumps(document.load(document.signed)))
    return binascii.hexlify(document.digest).decode() + " " + binascii.hexlify(out).decode()


def act(client, step):
    if step == "refresh":
        return client.refresh()
    if step == "poll":
        return client.poll()
    if step[0] == "find":
        target = client.find_target(step[1])
        return target and {
            "role": target.role,
            "length": target.length,
            "sha256": binascii.hexlify(target.sha256).decode(),
            "custom": target.custom,
        }
    return client.value(*step[1:])


while True:
    line = sys.stdin.readline()
    if not line:
        break
    command = json.loads(line)
    if "documents" in command:
        answer = {"results": [scan(binascii.unhexlify(data)) for data in command["documents"]]}
    else:
        answer = run(command)
    gc.collect()
    answer["heap"] = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    print("=> " + json.dumps(answer))
