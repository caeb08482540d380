"""A publisher killed at every step that changes the file system, and what clients see then."""

import copy
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from killing import Steps, in_child
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from heirloom.server.store import Store

POOL = urllib3.PoolManager()


class CompressedFetcher(FetcherInterface):
    """Fetches metadata as Heirloom's devices do: the compressed twin."""

    def __init__(self) -> None:
        self.plain = Urllib3Fetcher()

    def _fetch(self, url: str) -> Iterator[bytes]:
        if "/metadata/" not in url:
            return self.plain.fetch(url)
        return iter([zlib.decompress(b"".join(self.plain.fetch(url + ".z")), wbits=10)])


def commit_in_child(inputs: Any, folder: Path, kill_at: int | None = None, *, torn: bool = False) -> Steps | None:
    """Publish in a forked process. Returns what it did, or None if it was killed."""
    return in_child(lambda: inputs.commit(Store(folder)), Steps(kill_at, torn=torn))


@dataclass
class Scene:
    """A published release, the next one about to be published, and what may come after that."""

    base: Path
    before: Any
    killed: Any
    instead: Any
    after: Any


@pytest.fixture
def scene(product, tmp_path) -> Scene:
    before = product.release("1.0.0")
    before.commit(Store(tmp_path / "base"))
    somebody_else = copy.deepcopy(product)
    killed = product.release("1.1.0", root=True)
    # Whoever publishes next may have other plans under the same version numbers; a root, once out, is out.
    instead = somebody_else.release("1.1.1", root=True)
    instead.metadata["2.root.json"] = killed.metadata["2.root.json"]
    return Scene(tmp_path / "base", before, killed, instead, product.release("1.2.0"))


def trace(scene: Scene, folder: Path) -> Steps:
    shutil.copytree(scene.base, folder)
    done = commit_in_child(scene.killed, folder)
    assert done is not None
    return done


def test_every_change_is_counted(scene, tmp_path):
    """Nothing is opened for writing behind the back of the counter."""
    done = trace(scene, tmp_path / "run")
    opened = {path for path in done.opened_for_writing if path.startswith(str(tmp_path / "run"))}
    assert opened == {
        path for name, path in done.trace if name == "open" and (".new-" in path or path.endswith(".lock"))
    }
    assert len(opened) > 15


def test_order_survives_power_loss(scene, tmp_path):
    """Every rename follows the sync of its file; the timestamp's follows the sync of every folder it leads to."""
    done = trace(scene, tmp_path / "run")
    dirty: set[str] = set()  # files written and folders renamed in, not synced since
    for name, place in done.trace:
        path = Path(place)
        if name == "write":
            dirty.add(place)
        elif name == "fsync":
            dirty.discard(place)
        elif name == "mkdir":
            dirty.add(str(path.parent))
        elif name == "replace":
            assert str(path.with_name(f".new-{path.name}")) not in dirty, f"{path.name} was not synced"
            if path.name.startswith("timestamp.json"):
                assert dirty <= {str(path.parent)}, "the timestamp came before what it refers to"
                assert not (path.name == "timestamp.json.z" and dirty)
            dirty.add(str(path.parent))
    assert not dirty
    order = [Path(place).name for name, place in done.trace if name == "replace"]
    assert order[-2:] == ["timestamp.json.z", "timestamp.json"]
    # Clients take a root as soon as it is there.
    assert order[-6:-2] == ["2.root.json.z", "2.root.json", "root.json.z", "root.json"]


def versions_seen(clients: list[Any], url: str) -> list[str]:
    """What each client gets; every content that its manifest names is there."""
    seen = [client.stable() for client in clients]
    digests = {digest for _, content in seen for digest in content.decode().splitlines()[1:]}
    for digest in digests:
        assert hashlib.sha256(POOL.request("GET", f"{url}blobs/{digest}").data).hexdigest() == digest
    return [version for version, _ in seen]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_every_step(scene, tmp_path, repository, serve, make_client):
    """Plain and compressing clients see the old repository or the new one, whole; and the next publish succeeds."""
    steps = trace(scene, tmp_path / "run").trace
    cuts = [(number, False) for number in range(len(steps))]
    cuts += [(number, True) for number, (name, _) in enumerate(steps) if name == "write"]
    root = scene.before.metadata["1.root.json"]
    seen = []
    remains: list[dict[str, bytes]] = []
    for number, torn in cuts:
        folder = tmp_path / "cuts" / f"{number}{'torn' * torn}"
        shutil.copytree(scene.base, folder)
        assert commit_in_child(scene.killed, folder, number, torn=torn) is None
        if snapshot_of(folder) in remains:
            continue  # the very files that a cut before left, as when a sync did not happen
        remains.append(snapshot_of(folder))
        repository.unlink(missing_ok=True)
        repository.symlink_to(folder)
        clients = [make_client(f"{folder.name}-{kind}", serve, root) for kind in ("plain", "compressed")]
        clients[1].fetcher = CompressedFetcher()
        seen += versions_seen(clients, serve)
        store = Store(folder)
        with store.publishing():
            completed = (folder / "metadata/timestamp.json").read_bytes() == scene.killed.metadata["timestamp.json"]
            (scene.after if completed else scene.instead).commit(store)
        assert versions_seen(clients, serve) == ["1.2.0" if completed else "1.1.1"] * 2
        shutil.rmtree(folder)
    assert set(seen) == {"1.0.0", "1.1.0"}, "no cut fell after the point of no return"
    assert len(cuts) > 90
    assert len(remains) > 40


def test_publishing_again_completes_it(scene, tmp_path):
    """Killed anywhere, the same publish run again ends in the very same files."""
    whole = tmp_path / "whole"
    steps = trace(scene, whole).trace
    expected = snapshot_of(whole)
    for number in range(0, len(steps), 3):
        folder = tmp_path / "cuts" / str(number)
        shutil.copytree(scene.base, folder)
        assert commit_in_child(scene.killed, folder, number) is None
        scene.killed.commit(Store(folder))
        assert snapshot_of(folder) == expected


def snapshot_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
