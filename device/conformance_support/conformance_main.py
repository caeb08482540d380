"""init, refresh and download as tuf-conformance asks for them; exit code 0 or 1."""

import binascii
import os
import sys
import time

from directory_store import DirectoryStore
from plain_http import HttpFetcher, get

from heirloom.device.errors import E_HASH, E_LENGTH, E_NOT_FOUND, UpdateError
from heirloom.device.roles import escaped, hasher
from heirloom.device.target import Target
from heirloom.device.tuf import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PART = ".part"


def init(options: "dict[str, list[str]]", root: str) -> None:
    """Keeps the root to begin with."""
    with open(root, "rb") as source, open(options["metadata-dir"][0] + "/root.json", "wb") as copy:
        copy.write(source.read())


def client(options: "dict[str, list[str]]") -> Client:
    """A client of the repository, refreshed."""
    made = Client(DirectoryStore(options["metadata-dir"][0]), HttpFetcher(options["metadata-url"][0]), int(time.time()))
    made.refresh()
    return made


def download(options: "dict[str, list[str]]") -> None:
    """Downloads targets, in order, unless they are here already."""
    made = client(options)
    for path in options["target-name"]:
        target = made.find_target(path)
        if target is None:
            raise UpdateError(E_NOT_FOUND, f"no role lists the target {path}")
        kept = f"{options['target-dir'][0]}/{escaped(path)}"
        if not _is(target, kept):
            _fetch(target, _url(made, target, options["target-base-url"][0]), kept)


def _url(made: Client, target: Target, base: str) -> str:
    folder, slash, name = target.path.rpartition("/")
    if made.value("root", "consistent_snapshot") is True:  # TUF 5.7.3
        name = binascii.hexlify(next(iter(target.hashes.values()))).decode() + "." + name
    return base + ("" if base.endswith("/") else "/") + folder + slash + name


def _fetch(target: Target, url: str, kept: str) -> None:
    part = kept + _PART
    try:
        with open(part, "wb") as file:
            _receive(target, url, file)
        if not _is(target, part):
            raise UpdateError(E_HASH, f"target {target.path} is not what was signed (TUF 5.7.2)")
    except UpdateError:
        os.remove(part)
        raise
    os.rename(part, kept)


def _receive(target: Target, url: str, file: "Any") -> None:
    left = [target.length]

    def write(data: "Any") -> None:
        left[0] -= len(data)
        if left[0] < 0:
            raise UpdateError(E_LENGTH, f"target {target.path} is longer than {target.length} bytes (TUF 5.7.2)")
        file.write(data)

    get(url, write)


def _is(target: Target, path: str) -> bool:
    """Whether a file is the target."""
    length = 0
    digests = {kind: hasher(kind, target.path) for kind in target.hashes}
    try:
        with open(path, "rb") as file:
            while True:
                data = file.read(4096)
                if not data:
                    break
                length += len(data)
                for digest in digests.values():
                    digest.update(data)
    except OSError:
        return False
    return length == target.length and all(digests[kind].digest() == target.hashes[kind] for kind in digests)


def main(arguments: "list[str]") -> int:
    """Runs one command."""
    options: "dict[str, list[str]]" = {}
    words = []
    while arguments:
        word = arguments.pop(0)
        if word.startswith("--"):
            options.setdefault(word[2:], []).append(arguments.pop(0))
        else:
            words.append(word)
    try:
        if words[:1] == ["init"]:
            init(options, words[1])
        elif words == ["refresh"]:
            client(options)
        elif words == ["download"]:
            download(options)
        else:
            print("usage: conformance --metadata-dir DIR [--metadata-url URL ...] init ROOT | refresh | download")
            return 1
    except UpdateError as error:
        print(error)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
