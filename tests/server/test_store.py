"""Publishing: what it refuses, and what it leaves alone."""

import errno
import hashlib
import os
import shutil
import zlib
from pathlib import Path

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.server.store import Store
from heirloom.signing.twins import twin


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(product, repository):
    inputs = product.release("1.0.0")
    inputs.commit(Store(repository))
    found = files(repository)
    for name, data in inputs.metadata.items():
        assert found[f"metadata/{name}"] == data
        assert zlib.decompress(found[f"metadata/{name}.z"], wbits=10) == data
    assert found["metadata/root.json"] == found["metadata/1.root.json"]
    for target, data in inputs.targets.items():
        folder, _, name = target.rpartition("/")
        assert found[f"targets/{folder}/{hashlib.sha256(data).hexdigest()}.{name}"] == data
    for blob in inputs.blobs:
        assert found[f"blobs/{blob.name}"] == blob.read_bytes()
    compressible, short = inputs.blobs[0].name, inputs.blobs[2].name
    assert zlib.decompress(found[f"blobs/{compressible}.z"], wbits=10) == inputs.blobs[0].read_bytes()
    assert f"blobs/{short}.z" not in found, "a twin that is not smaller serves nobody"


def test_published_files_are_never_touched_again(product, repository):
    store = Store(repository)
    product.release("1.0.0").commit(store)
    mutable = {"timestamp.json", "timestamp.json.z", ".lock"}

    def inodes() -> dict[Path, tuple[int, int]]:
        found = [path for path in repository.rglob("*") if path.is_file() and path.name not in mutable]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    before = inodes()
    product.release("1.1.0").commit(store)
    after = inodes()
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


def test_committing_again_changes_nothing(product, repository):
    inputs = product.release("1.0.0")
    inputs.commit(Store(repository))
    before = files(repository)
    inputs.commit(Store(repository))
    assert files(repository) == before


def test_root_json_is_the_newest_root(product, repository):
    store = Store(repository)
    product.release("1.0.0").commit(store)
    product.release("1.1.0", root=True).commit(store)
    assert (repository / "metadata/root.json").read_bytes() == (repository / "metadata/2.root.json").read_bytes()


def refused(store: Store, inputs, message: str) -> None:
    before = files(store.path)
    with pytest.raises(HeirloomError, match=message):
        inputs.commit(store)
    assert files(store.path) == before


@pytest.fixture
def published(product, repository):
    store = Store(repository)
    product.release("1.0.0").commit(store)
    return store


def test_refuses_to_change_a_published_version(product, published):
    inputs = product.release("1.1.0")
    name = "1.targets.json"
    inputs.metadata[name] = inputs.metadata["2.snapshot.json"]
    refused(published, inputs, r"1\.targets\.json is already published with other content")


def test_refuses_an_older_timestamp(product, published):
    stale, fresh = product.release("1.1.0"), product.release("1.2.0")
    fresh.targets |= {path: data for path, data in stale.targets.items() if path not in fresh.targets}
    fresh.commit(published)
    refused(published, stale, "timestamp 2 is not newer than the published one, which is version 3")


def test_refuses_a_blob_that_is_not_its_name(product, published):
    inputs = product.release("1.1.0")
    inputs.blobs[0].write_bytes(b"something else")
    refused(published, inputs, "does not hash to its name")


def test_refuses_a_missing_blob(product, published):
    inputs = product.release("1.1.0")
    inputs.blobs[0].unlink()
    refused(published, inputs, "cannot read the blob .*no such file")


def test_refuses_a_role_whose_target_is_missing(product, published):
    inputs = product.release("1.1.0")
    inputs.targets.clear()
    with pytest.raises(HeirloomError, match=r"2\.(channels|releases)-TESTBOARD\.json lists targets/.*missing"):
        inputs.commit(published)
    assert b'"version":1' in (published.path / "metadata/timestamp.json").read_bytes()


def test_refuses_a_snapshot_that_lacks_a_file(product, published):
    inputs = product.release("1.1.0")
    del inputs.metadata["2.releases-TESTBOARD.json"]
    refused(published, inputs, r"2\.releases-TESTBOARD\.json is missing in the repository")


def test_refuses_a_snapshot_that_names_another_file(product, published):
    inputs = product.release("1.1.0")
    inputs.metadata["2.releases-TESTBOARD.json"] += b" "
    refused(published, inputs, r"2\.releases-TESTBOARD\.json is not the file that the signed metadata describes")


def test_refuses_without_timestamp(product, published):
    inputs = product.release("1.1.0")
    del inputs.metadata["timestamp.json"]
    refused(published, inputs, "without a new timestamp")


@pytest.mark.parametrize("name", ["../x.json", "targets.json", "0.targets.json", "1.a/b.json", ".new-1.x.json"])
def test_refuses_odd_metadata_names(product, published, name):
    inputs = product.release("1.1.0")
    inputs.metadata[name] = b"{}"
    refused(published, inputs, "is not the name of a metadata file")


@pytest.mark.parametrize("target", ["../x", "/etc/x", "a//b", "a/./b", "a/.b", "", "."])
def test_refuses_odd_target_paths(product, published, target):
    inputs = product.release("1.1.0")
    inputs.targets[target] = b"x"
    refused(published, inputs, "is not a target path")


def test_two_publishers(product, published):
    inputs = product.release("1.1.0")
    with published.publishing():
        refused(Store(published.path, lock_timeout_s=0.1), inputs, "another program is publishing")
        inputs.commit(published)
    inputs = product.release("1.2.0")
    inputs.commit(Store(published.path, lock_timeout_s=0.1))


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "permission denied")])
def test_a_disk_that_refuses(product, published, tmp_path, monkeypatch, number, words):
    """At every write in turn: one clear line, and clients see the old repository."""
    inputs = product.release("1.1.0")
    write, calls, allowed = os.write, 0, 0

    def failing(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    def outcome(folder: Path) -> str:
        shutil.copytree(published.path, folder)
        try:
            inputs.commit(Store(folder))
        except HeirloomError as exc:
            return exc.message
        return ""

    monkeypatch.setattr(os, "write", failing)
    while message := outcome(folder := tmp_path / "disks" / str(allowed)):
        assert words in message
        assert str(folder) in message
        for name in ("timestamp.json", "timestamp.json.z"):
            assert (folder / "metadata" / name).read_bytes() == (published.path / "metadata" / name).read_bytes()
        assert not list(folder.rglob(".new-*")), "temporary files take space on a full disk"
        calls, allowed = 0, allowed + 1
    assert allowed > 10
    assert (folder / "metadata/timestamp.json").read_bytes() == inputs.metadata["timestamp.json"]


def test_a_folder_that_may_not_be_written(product, tmp_path):
    place = tmp_path / "file"
    place.write_text("not a folder")
    with pytest.raises(HeirloomError, match="cannot publish to "):
        product.release("1.0.0").commit(Store(place / "repository"))


@pytest.mark.parametrize("damage", [b"", b"{}", b"garbage", b"\xff"])
def test_a_damaged_timestamp_is_named(product, published, damage):
    inputs = product.release("1.1.0")
    (published.path / "metadata/timestamp.json").write_bytes(damage)
    (published.path / "metadata/timestamp.json.z").write_bytes(twin(damage))
    refused(published, inputs, "timestamp.json is not TUF metadata")


def test_a_damaged_timestamp_comes_back_from_its_twin(product, published):
    timestamp = published.path / "metadata/timestamp.json"
    good = timestamp.read_bytes()
    timestamp.write_bytes(b"garbage")
    with published.publishing():
        assert timestamp.read_bytes() == good
    product.release("1.1.0").commit(published)


def test_leftovers_are_swept(product, published):
    """What killed publishers left is gone after the next publish, but for roots, which clients look for by name."""
    metadata, blobs = published.path / "metadata", published.path / "blobs"
    left = ["9.releases-TESTBOARD.json", "9.releases-TESTBOARD.json.z", "7.snapshot.json", ".new-timestamp.json"]
    for path in (*(metadata / name for name in left), blobs / ".new-x", published.path / "targets/releases/.new-y"):
        path.write_bytes(b"left over")
    (published.path / ".lock").write_bytes(b"publishing\n")  # as a commit that was cut short leaves it
    root = metadata / "2.root.json"
    root.write_bytes((metadata / "1.root.json").read_bytes())
    kept = {path: path.read_bytes() for path in metadata.iterdir() if path.name not in left}
    with published.publishing():
        assert {path: path.read_bytes() for path in metadata.iterdir()} == kept
        assert not list(published.path.rglob(".new-*"))
