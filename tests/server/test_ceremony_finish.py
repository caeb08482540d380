"""Finishing a ceremony: killed at every step, with readers looking in between; overtaken, incomplete, without keys."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import EVERY, Steps, in_child
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.server.finishing import Finisher
from heirloom.signing import keyfile, verify
from heirloom.signing.ceremony import base as bases
from heirloom.signing.ceremony.ceremony import Ceremony, listed
from heirloom.signing.ceremony.ceremony import start as start_ceremony
from heirloom.signing.ceremony.wishes import Wishes
from heirloom.signing.keys import KeyStore, signer_of
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository

PASSPHRASE = "correct horse battery staple"
PICO = "SIM_RPI_PICO_W"
STABLE = f"channels/{PICO}/stable"


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    # What is killed here is a process, not the power.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def keys(project: Project) -> KeyStore:
    return KeyStore(project.keys_dir())


def start(project: Project, *argv: str) -> Ceremony:
    made = call(["ceremony", "start", *argv])
    assert isinstance(made, dict)
    return Ceremony.load(project.root / "ceremonies" / made["ceremony"])


def signed(project: Project, *argv: str) -> Ceremony:
    ceremony = start(project, *argv)
    call(["ceremony", "sign", str(ceremony.path), "--yes"])
    return ceremony


def everything_new(project: Project) -> list[str]:
    """Every key that a reader judges by is replaced."""
    names = [f"{role}-{n}" for role in ("root", "targets") for n in (1, 2, 3)]
    names += ["snapshot", "timestamp", f"channels-{PICO}", f"releases-{PICO}-1"]
    for name in names:
        keys(project).create(f"new-{name}", PASSPHRASE)
    return [f"--replace-key={name}=new-{name}" for name in names]


class FolderFetcher(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file:"))
        if not path.is_file():
            raise DownloadHTTPError("absent", 404)
        return iter([path.read_bytes()])


def reads(repository: Path, folder: Path, root: bytes) -> bytes:
    """What a stock client gets."""
    folder.mkdir(parents=True, exist_ok=True)
    base = f"file:{repository}/"
    updater = Updater(str(folder), base + "metadata/", str(folder), base + "targets/", FolderFetcher(), bootstrap=root)
    updater.refresh()
    found = updater.get_targetinfo(STABLE)
    assert found is not None
    return Path(updater.download_target(found)).read_bytes()


class Watched(Steps):
    """Lets a reader look at every step of a run."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.look = look
        self.looking = False

    def reach(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.looking:
            return
        self.looking = True
        try:
            if name in ("replace", "rename", "link"):
                self.look()
            super().reach(name, arguments)
        finally:
            self.looking = False


def test_no_reader_is_refused_in_between(project: Project, tmp_path: Path) -> None:
    """Although every key changes: what comes before the root counts under the old root and under the new one."""
    ceremony = signed(project, *everything_new(project))
    root = (project.repository / "metadata/1.root.json").read_bytes()
    manifest = reads(project.repository, tmp_path / "before", root)
    count = iter(range(10_000))

    def look() -> None:
        assert reads(project.repository, tmp_path / f"look-{next(count)}", root) == manifest
        assert reads(project.repository, tmp_path / "before", root) == manifest

    assert in_child(lambda: Finisher(project).finish(ceremony) and None, Watched(look))
    assert Repository(project.repository).root().signed.version == 2


@pytest.mark.slow
@pytest.mark.timeout(0 if EVERY else 120)
def test_killed_at_every_step(project: Project, tmp_path: Path) -> None:
    """Readers follow, and finishing again completes it."""
    ceremony = signed(project, *everything_new(project))
    root = (project.repository / "metadata/1.root.json").read_bytes()
    manifest = reads(project.repository, tmp_path / "before", root)
    original = tmp_path / "original"
    shutil.copytree(project.root, original)

    def finish() -> None:
        Finisher(Project.load(project.root)).finish(Ceremony.load(ceremony.path))

    done = in_child(finish, Steps())
    assert done is not None
    steps = [name for name, _ in done.trace]
    # What a reader can see changes only by these; of the steps between them, some.
    cuts = [n for n, name in enumerate(steps) if EVERY or name in ("replace", "rename", "link") or n % 60 == 0]
    seen = set()
    for number in cuts:
        shutil.rmtree(project.root)
        shutil.copytree(original, project.root)
        assert in_child(finish, Steps(number)) is None
        seen.add(frozenset(path.name for path in (project.repository / "metadata").iterdir()))
        assert reads(project.repository, tmp_path / f"fresh-{number}", root) == manifest
        finish()
        after = Repository(project.repository, keys(project).anchor())
        after.check(utc_now())
        assert after.root().signed.version == 2
        assert ceremony.published(after) == set(ceremony.documents)
        assert "new-root-1" in (project.root / "heirloom.toml").read_text()
        assert reads(project.repository, tmp_path / f"fresh-{number}", root) == manifest
    assert len(seen) > 10


@pytest.mark.timeout(90)
def test_starting_killed_at_every_step(project: Project, tmp_path: Path) -> None:
    """There is a whole ceremony or none; starting again works, and what was left behind is gone."""
    parent = project.root / "ceremonies"
    stands, wishes = bases.of_repository(Repository(project.repository)), Wishes(thresholds={"root": 3})

    def begin() -> None:
        start_ceremony(parent, stands, wishes, utc_now(), product="weather", purpose="three of three")

    steps = in_child(begin, Steps())
    assert steps is not None
    assert len(steps.trace) > 20
    found = set()
    for number in range(len(steps.trace)):
        shutil.rmtree(parent)
        assert in_child(begin, Steps(number)) is None
        whole = listed(parent)
        found.add(len(whole))
        if whole:
            with pytest.raises(HeirloomError, match=r"makes 2\.root\.json already"):
                begin()
        else:
            begin()
            assert len(list(parent.iterdir())) == 1
        (ceremony,) = listed(parent)
        ceremony.check(ceremony.base(Repository(project.repository).read, None), "weather", utc_now())
    assert found == {0, 1}


@pytest.mark.timeout(90)
def test_signing_killed_at_every_step(project: Project) -> None:
    """Each signature is there whole or not at all; signing again adds what is missing."""
    ceremony = start(project, "--threshold", "root=3", "--renew", "targets")
    base = ceremony.base(Repository(project.repository).read, None)
    signers = [signer_of(project, name) for name in ("root-1", "root-2", "root-3", "targets-1", "targets-2")]

    def sign() -> None:
        ceremony.sign(signers, ceremony.id, base)

    steps = in_child(sign, Steps())
    assert steps is not None
    complete = ceremony.complete(base)
    counts = set()
    for number in range(len(steps.trace)):
        shutil.rmtree(ceremony.path / "signatures")
        assert in_child(sign, Steps(number)) is None
        counts.add(len(list((ceremony.path / "signatures").glob("*.json"))))
        sign()
        assert ceremony.complete(base) == complete
        assert len(list((ceremony.path / "signatures").iterdir())) == 5
    assert counts == set(range(6))


def test_finishing_again_changes_nothing(project: Project) -> None:
    ceremony = signed(project, *everything_new(project))
    assert Finisher(project).finish(ceremony).files
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    assert not Finisher(Project.load()).finish(ceremony).files
    assert before == {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}


def test_a_late_signature_changes_nothing_published(project: Project) -> None:
    """Two of three signed and it was finished; the third signs later."""
    keys(project).create("dora", PASSPHRASE)
    ceremony = start(project, "--replace-key", "root-1=dora")
    call(["ceremony", "sign", "--yes", "--key", "root-2", "--key", "root-3"])
    assert Finisher(project).finish(ceremony).files
    published = (project.repository / "metadata/2.root.json").read_bytes()
    elsewhere = project.root / "mailed"
    shutil.copytree(ceremony.path, elsewhere / ceremony.path.name)
    base = ceremony.base(Repository(project.repository).read, None)
    ceremony.sign([signer_of(project, "root-1")], ceremony.id, base)
    assert not Finisher(project).finish(Ceremony.load(ceremony.path)).files
    assert (project.repository / "metadata/2.root.json").read_bytes() == published


def test_dry_run(project: Project, heirloom: Any) -> None:
    signed(project, "--threshold", "root=3")
    ran = heirloom("ceremony", "finish", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["files"] == ["2.root.json", "timestamp.json"]
    assert not (project.repository / "metadata/2.root.json").exists()


def test_incomplete(project: Project, heirloom: Any) -> None:
    start(project, "--threshold", "root=3")
    heirloom("ceremony", "sign", "--yes", "--key", "root-1", "--key", "root-2")
    ran = heirloom("ceremony", "finish")
    assert ran.code == 1
    assert "needs 1 more of its new holders: root-3" in ran.err


def test_aborted(project: Project, heirloom: Any) -> None:
    ceremony = signed(project, "--threshold", "root=3")
    assert heirloom("ceremony", "abort", "--yes", "--reason", "Ada has moved").code == 0
    ran = heirloom("ceremony", "finish", ceremony.path.name)
    assert ran.code == 1
    assert "aborted: Ada has moved" in ran.err
    assert heirloom("ceremony", "sign", "--yes", ceremony.path.name).code == 1
    assert "no ceremony is open" in heirloom("ceremony", "finish").err


def test_overtaken(project: Project, heirloom: Any) -> None:
    """Two ceremonies from one version, in two clones: the second is told, and can be started again."""
    first = signed(project, "--threshold", "root=3")
    away = project.root / "away"
    shutil.move(first.path, away)
    second = signed(project, "--threshold", "root=1")
    assert heirloom("ceremony", "finish").code == 0
    away.rename(first.path)
    ran = heirloom("ceremony", "finish", first.path.name)
    assert ran.code == 1
    assert "conflicts" in ran.err
    assert "2.root.json is published meanwhile" in ran.err
    assert "abort" in ran.err
    assert "conflicts" in heirloom("ceremony", "sign", "--yes", first.path.name).err
    state = {one["ceremony"]: one for one in heirloom("ceremony", "status", "--json").json["ceremonies"]}
    assert state[second.path.name]["state"] == "finished"
    assert "conflicts" in state[first.path.name]["problem"]


def test_a_release_meanwhile(project: Project, heirloom: Any) -> None:
    """Publishing goes on during a ceremony that does not touch the releases."""
    signed(project, "--threshold", "root=3")
    assert heirloom("release", "publish", "1.1.0").code == 0
    assert heirloom("ceremony", "finish").code == 0
    assert [r.version for r in Repository(project.repository).releases(PICO)] == ["1.0.0", "1.1.0"]


def test_a_release_meanwhile_of_the_same_role(project: Project, heirloom: Any) -> None:
    signed(project, "--renew", f"releases-{PICO}")
    assert heirloom("release", "publish", "1.1.0").code == 0
    ran = heirloom("ceremony", "finish")
    assert ran.code == 1
    assert f"3.releases-{PICO}.json is published meanwhile" in ran.err


def test_without_the_online_keys(project: Project, heirloom: Any) -> None:
    signed(project, "--threshold", "root=3")
    for path in project.keys_dir().glob("timestamp*"):
        path.unlink()
    ran = heirloom("ceremony", "finish")
    assert ran.code == 1
    assert "timestamp needs 1 of its keys to finish" in ran.err
    verify.as_client(Repository(project.repository).read, utc_now())
