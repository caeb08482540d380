"""`kill -9` at every step of what changes hands: hand-over, export, import, will write, will open.

After each kill two stock TUF clients, one new and one that has been here before, get the same release as before, whole.
Then the same command is run again, and all is as if nothing had happened. Publishing, and starting, signing and
finishing a ceremony, are in test_killed_publisher and test_ceremony_finish.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import EVERY, Steps, cuts, in_child
from test_ceremony_finish import reads
from tuf.api.exceptions import UnsignedMetadataError

from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.signing import keyfile
from heirloom.signing.ceremony.ceremony import listed
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository
from heirloom.signing.will import state

PASSPHRASE = "correct horse battery staple"
PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
PLACES = ["https://friends.example.org/weather/", "https://foundation.example.net/weather/"]
ANSWERS = ["--maker", "Friends", "--contact", "hello@friends.example.org"]
ANSWERS += [word for place in PLACES for word in ("--url", place)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0 if EVERY else 300)]


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    # What is killed here is a process, not the power.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(os, "sync", lambda: None)


@dataclass
class Killing:
    """Kills a command at many of its steps; everything below `base` is as before each time.

    Attributes:
        base: Holds the project, the keys and what the command writes.
        repository: Which clients read.
        command: Run in a process of its own.
        at_most: Steps to kill at, more or less.
        may_refuse: Nobody can sign for the old root any more, so between the new root and its timestamp, which lie
            a rename apart, clients are refused until the command is run again. They keep what they have.
        refused: How often that was seen.
    """

    base: Path
    repository: Path
    command: Callable[[], object]
    at_most: int = 20
    may_refuse: bool = False
    refused: int = 0

    def everywhere(self, after_kill: Callable[[], None], after_again: Callable[[], None]) -> int:
        """Returns how many steps the command was killed at."""
        original = self.base.with_name(f"{self.base.name}-original")
        shutil.copytree(self.base, original, symlinks=True)
        root = (self.repository / "metadata/1.root.json").read_bytes()
        returning = original.with_name("returning")
        manifest = reads(self.repository, returning, root)
        shutil.copytree(returning, original.with_name("returning-original"))
        steps = in_child(self.command, Steps(builtin=True))
        assert steps is not None
        chosen = list(cuts(steps, self.at_most))
        for number in chosen:
            self._restore(self.base, original)
            self._restore(returning, original.with_name("returning-original"))
            assert in_child(self.command, Steps(number, builtin=True)) is None, steps.trace[number]
            for reader in (returning, original.with_name(f"new-{number}")):
                assert self._reads(reader, root, steps.trace[number]) in (manifest, None), steps.trace[number]
            after_kill()
            after_again()
            for reader in (returning, original.with_name(f"new-{number}"), original.with_name(f"newer-{number}")):
                assert reads(self.repository, reader, root) == manifest, steps.trace[number]
        assert {name for name, _ in steps.trace} == {steps.trace[number][0] for number in chosen}
        return len(chosen)

    def _reads(self, reader: Path, root: bytes, step: tuple[str, str]) -> bytes | None:
        """What a client gets; None if it is refused because the root is there and its timestamp is not."""
        try:
            return reads(self.repository, reader, root)
        except UnsignedMetadataError as exc:
            if not (self.may_refuse and str(exc).startswith("timestamp was signed by 0")):
                raise AssertionError(step) from exc
            self.refused += 1
            return None

    @staticmethod
    def _restore(folder: Path, original: Path) -> None:
        shutil.rmtree(folder)
        shutil.copytree(original, folder, symlinks=True)


@pytest.fixture
def base(project: Project, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One folder with project, keys, and room for more."""
    folder = tmp_path / "all"
    folder.mkdir()
    shutil.copytree(project.root, folder / "weather")
    shutil.copytree(home / "keys", folder / "keys")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(folder / "keys"))
    monkeypatch.setenv("HEIRLOOM_PROJECT", str(folder / "weather"))
    monkeypatch.chdir(tmp_path)
    return folder


def check_whole(repository: Path, root: int) -> None:
    found = Repository(repository)
    found.check(utc_now())
    assert found.root().signed.version == root


def handover_file(base: Path) -> Path:
    """Everything changes hands, and the places."""
    keys = KeyStore(base / "keys")
    lines = ["[product]", f"urls = {PLACES}"]
    online = ["snapshot", "timestamp", f"channels-{PICO}", f"channels-{ESP}"]
    for role in ("root", "targets", f"releases-{PICO}", f"releases-{ESP}", *online):
        names = [f"heir-{role}-{number}" for number in ((1, 2, 3) if role in ("root", "targets") else (1,))]
        for name in names:
            keys.create(name, PASSPHRASE)
        named = ", ".join(f'"{name}" = "{base}/keys/{name}.pub.json"' for name in names)
        lines += [f'[roles."{role}"]', f"keys = {{ {named} }}"]
    (base / "handover.toml").write_text("\n".join(lines) + "\n")
    return base / "handover.toml"


@pytest.mark.parametrize("old_keys", [True, False])
def test_hand_over(base: Path, old_keys: bool) -> None:
    call(["ceremony", "start", "--handover", str(handover_file(base))])
    call(["ceremony", "sign", "--yes"])
    for path in () if old_keys else (base / "keys").glob("timestamp*"):
        path.unlink()
    (ceremony,) = listed(base / "weather/ceremonies")
    repository = base / "weather/repository"

    def finish() -> None:
        call(["ceremony", "finish", str(ceremony.path)])

    def done() -> None:
        finish()
        check_whole(repository, 2)
        assert "heir-timestamp" in (base / "weather/heirloom.toml").read_text()
        assert Project.load().product.urls == PLACES

    killed = Killing(base, repository, finish, may_refuse=not old_keys)
    assert killed.everywhere(lambda: None, done) >= 16
    assert (killed.refused > 0) == (not old_keys)


def test_export(base: Path) -> None:
    """A lasting one, which first publishes roles that last as long."""
    repository, out = base / "weather/repository", base / "stick/out"
    (base / "stick").mkdir()

    def export() -> Any:
        return call(["export", str(out), "--lasting", "--offline", "--until", "2050-01-31"])

    def whole_or_absent() -> None:
        if out.exists():
            check_whole(out, 2)
            assert (out / "index.html").is_file()

    def done() -> None:
        if out.exists():  # it was complete: a folder is never overwritten
            with pytest.raises(HeirloomError, match="exists already"):
                export()
        else:
            export()
        whole_or_absent()
        check_whole(repository, 2)
        assert [path.name for path in (base / "stick").iterdir()] == ["out"], "something was left behind"

    assert Killing(base, repository, export).everywhere(whole_or_absent, done) >= 15


def test_import(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is what clients read; the new project is there whole, with its root trusted, or not at all."""
    call(["export", str(base / "archive")])
    monkeypatch.delenv("HEIRLOOM_PROJECT")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(base / "elsewhere/keys"))
    new = base / "elsewhere/weather"

    def bring() -> Any:
        return call(["import", str(base / "archive"), "--into", str(new)])

    def whole_or_absent() -> None:
        if new.exists():
            check_whole(new / "repository", 1)
            first = (base / "archive/metadata/1.root.json").read_bytes()
            assert KeyStore(base / "elsewhere/keys").anchor() == first

    def done() -> None:
        if new.exists():
            with pytest.raises(HeirloomError, match="exists already"):
                bring()
        else:
            bring()
        whole_or_absent()
        assert sorted(path.name for path in (base / "elsewhere").iterdir()) == ["keys", "weather"]

    assert Killing(base, base / "archive", bring).everywhere(whole_or_absent, done) >= 15


def people(base: Path) -> list[str]:
    """Two successors, whose keys are in a folder of their own, and three trustees."""
    words = []
    for name in ("eva", "gus"):
        if not (base / f"meeting/{name}.pub.json").exists():
            KeyStore(base / "meeting").create(name, PASSPHRASE)
        words += ["--successor", f"{name}={base}/meeting/{name}.pub.json"]
    return [*words, *(word for name in ("ada", "ben", "cyd") for word in ("--trustee", name)), "--needed", "2"]


def test_will_write(base: Path) -> None:
    """There is a will with all its shares, or none: shares that open nothing are not left to be handed out."""
    words, stick = people(base), base / "stick"

    def write() -> Any:
        return call(["will", "write", *words, "--shares", str(stick), "--yes"])

    def whole_or_absent() -> None:
        live = state(Project.load()).live
        if live is not None:
            assert len(list(stick.iterdir())) == 3
            call(["will", "check", *(word for path in stick.iterdir() for word in ("--share", str(path)))])

    def done() -> None:
        if state(Project.load()).live is None:
            write()
        else:
            with pytest.raises(HeirloomError, match="is a will that follows the root of today"):
                write()
        assert state(Project.load()).live is not None
        whole_or_absent()
        assert [path.name for path in (base / "weather/will").iterdir() if path.name.startswith(".new-")] == []

    assert Killing(base, base / "weather/repository", write).everywhere(whole_or_absent, done) >= 12


def test_will_open(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, repository = people(base), base / "weather/repository"
    call(["will", "write", *words, "--shares", str(base / "stick"), "--yes"])
    monkeypatch.setenv("HEIRLOOM_KEYS", str(base / "meeting"))
    shares = [word for path in sorted((base / "stick").iterdir())[:2] for word in ("--share", str(path))]

    def open_() -> Any:
        return call(["will", "open", *shares, *ANSWERS, "--yes"])

    def done() -> None:
        waits = (base / "weather/.heirloom/opening/order.json").exists()
        if not waits and state(Project.load()).wills[0].state == "opened":
            with pytest.raises(HeirloomError, match="opened already"):
                open_()
        else:
            open_()
        check_whole(repository, 3)
        assert Project.load().product.urls == PLACES

    killed = Killing(base, repository, open_, may_refuse=True)
    assert killed.everywhere(lambda: None, done) >= 16
    assert 0 < killed.refused < (100 if EVERY else 12)
