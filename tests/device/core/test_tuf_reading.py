"""How often the core reads what lies on flash: reading a file whole takes a board 10 ms per KB."""

from collections import Counter
from pathlib import Path
from unittest.mock import patch

from tuf_memory import FolderFetcher, MemoryStore, fast_signatures
from tuf_repository import NOW, Repository, unix

from heirloom.device.canonical import Document
from heirloom.device.notes import MAX_RECEIPTS
from heirloom.device.tuf import Client


def check(repository: Repository, store: MemoryStore) -> Counter[str]:
    """One update check; how often each file was read whole."""
    read: Counter[str] = Counter()
    original = Document.check

    def counted(document: Document) -> None:
        read[document.name] += 1
        original(document)

    with fast_signatures(), patch.object(Document, "check", counted):
        client = Client(store, FolderFetcher(repository.folder), unix(NOW))
        client.poll()
        assert client.find_target("a/1")
        assert client.find_target("b/1")
        client.close()
    return read


def test_each_file_is_read_whole_once(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    for role in ("a", "b"):
        repository.delegate(role, [f"{role}/*"])
        repository.add_target(role, f"{role}/1")
    repository.publish("a", "b", "targets")
    store = MemoryStore((repository.folder / "1.root.json").read_bytes())
    check(repository, store)
    roles = ["root", "timestamp", "snapshot", "targets", "a", "b"]
    assert check(repository, store) == dict.fromkeys(roles, 1)
    repository.publish("a")
    # The old file and the new one, which is not read again when it has got its name.
    assert check(repository, store) == dict.fromkeys(roles, 1) | {"timestamp": 2, "snapshot": 2, "a": 2}


def test_a_file_that_must_be_put_in_order_is_read_each_time_and_not_kept_in_memory(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", hashes=False)
    for role in ("a", "b"):
        repository.delegate(role, [f"{role}/*"])
        repository.add_target(role, f"{role}/1")
    repository.publish("a", "b", "targets")
    store = MemoryStore((repository.folder / "1.root.json").read_bytes())
    check(repository, store)
    head, _, tail = store.files["targets"].partition(b'"signed":')
    store.files["targets"] = other = b'{"signed":' + tail[:-1] + b"," + head[1:-1] + b"}"
    assert check(repository, store)["targets"] > 1
    assert store.files["targets"] == other


def test_a_long_chain_of_roots_leaves_nothing_of_each_in_memory(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    for _ in range(3 * MAX_RECEIPTS):
        repository.rotate_root("root")
    store = MemoryStore((repository.folder / "1.root.json").read_bytes())
    with fast_signatures():
        client = Client(store, FolderFetcher(repository.folder), unix(NOW))
        client.refresh()
        notes = client._trust.notes
    assert store.highest == 3 * MAX_RECEIPTS + 1
    assert len(notes._receipts) <= MAX_RECEIPTS
    assert len(notes._used) <= MAX_RECEIPTS + 1  # and the one that was asked for last
