"""Anything may come from the network: the core answers with UpdateError and nothing else. Under CPython.

HEIRLOOM_FUZZ sets how many documents of each role are tried (default 24). Half of them are met with signatures taken
for good, so that the code behind the signature check is fuzzed as well.
"""

import copy
import json
import os
import random
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tuf_memory import FolderFetcher, MemoryStore, fast_signatures
from tuf_repository import NOW, Repository, unix

from heirloom.device import keys
from heirloom.device.errors import UpdateError
from heirloom.device.tuf import Client

ROUNDS = int(os.environ.get("HEIRLOOM_FUZZ", "24"))
ROLES = ["root", "timestamp", "snapshot", "targets", "a"]
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    2**40,
    "",
    "x",
    "é\0",
    [],
    {},
    [[]],
    {"a": 1},
    "2026-01-01T00:00:00Z",
    ["a"],
    {"": {}},
]


def mutate(pick: random.Random, data: bytes) -> bytes:
    if pick.random() < 0.4:
        out = bytearray(data)
        for _ in range(pick.choice([1, 2, 10])):
            at = pick.randrange(len(out))
            choice = pick.randrange(3)
            if choice == 0:
                out[at] = pick.randrange(256)
            elif choice == 1:
                out[at:at] = pick.choice([b'"', b"{", b"\\u0000", b"[" * 50, b"\xff", b"9" * 30, b"\\ud83d"])
            else:
                del out[at : at + pick.randrange(1, 30)]
        return bytes(out) or b"{"
    document = json.loads(data)
    for _ in range(pick.choice([1, 1, 3])):
        spoil(pick, document)
    return json.dumps(document, sort_keys=pick.random() < 0.8).encode()


def spoil(pick: random.Random, value: Any) -> None:
    """Changes something somewhere in a document."""
    while True:
        items = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not items:
            break
        at = pick.choice(items)
        if isinstance(value[at], (dict, list)) and pick.random() < 0.75:
            value = value[at]
            continue
        if pick.random() < 0.3:
            del value[at]
        else:
            value[at] = copy.deepcopy(pick.choice(ODD))
        return
    if isinstance(value, dict):
        value[pick.choice(["keyids", "x", "version"])] = copy.deepcopy(pick.choice(ODD))


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("role", ROLES)
def test_only_our_own_error(role: str, trusting: bool, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", hashes=False)
    repository.delegate("a", ["*"])
    repository.delegate("b", ["b/*"], by="a")
    repository.add_target("a", "x", n=1)
    repository.publish("a", "b", "targets")
    root = (repository.folder / "1.root.json").read_bytes()
    repository.rotate_root("root")
    path = repository.folder / repository.file_name(role)
    good = path.read_bytes()
    pick = random.Random(f"{role} {trusting}")
    accepted = 0
    for number in range(ROUNDS):
        path.write_bytes(mutate(pick, good))
        store = MemoryStore(root)
        client = Client(store, FolderFetcher(repository.folder), unix(NOW))
        with fast_signatures(), patch.object(keys.Delegation, "verify") if trusting and number else nullcontext():
            try:
                client.refresh()
                client.find_target("x")
                accepted += 1
            except UpdateError:
                pass
            with suppress(UpdateError):
                client.value("root", "version")
            with suppress(UpdateError):
                client.value(role if role != "a" else "targets", "version")
            client.close()
    assert accepted < ROUNDS


@pytest.mark.parametrize("role", ROLES)
def test_damaged_files_on_flash_are_no_obstacle(role: str, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", hashes=False)
    repository.delegate("a", ["*"])
    repository.publish("a", "targets")
    root = (repository.folder / "1.root.json").read_bytes()
    repository.rotate_root("root")
    store = MemoryStore(root)
    pick = random.Random(role)
    with fast_signatures():
        for _ in range(ROUNDS // 4):
            client = Client(store, FolderFetcher(repository.folder), unix(NOW))
            client.refresh()
            client.find_target("x")
            client.close()
            assert json.loads(store.files[role])["signed"]["version"]
            store.files[role] = mutate(pick, store.files[role])
            store.notes = pick.choice(
                [store.notes, store.notes, b"", store.notes[:30], mutate(pick, store.notes or b"{}")]
            )
