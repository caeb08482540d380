"""Rehearsing a will: the real shares and the successors' real keys, on a copy, with a simulated device. No trace stays.

The copy, the unsealed root in it and the device lie in one private temporary folder. What the
commands do in it is exactly what they would do in earnest.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from heirloom import boards
from heirloom.cli.context import current, enter, leave
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.main import call
from heirloom.cli.output import ask_secret, note
from heirloom.cli.project import KEYS_VARIABLE, PROJECT_VARIABLE, Project
from heirloom.signing import passphrases

_DEVICE = "rehearsal"
_HOST = "updates.rehearsal.example"  # the device resolves it to this machine
_OTHER_PLACE = "http://friends.rehearsal.example.net/"
_TIMING = {"check_after_s": 1, "check_every_s": 2, "trial_timeout_s": 20}


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal proved.

    Attributes:
        before: Version of the root that the device began with.
        root: Version of the root that it trusts in the end.
        release: What it runs, confirmed, from the repository that the opening made.
        boots: Boots until then.
    """

    board: str
    before: int
    root: int
    release: str
    boots: int


def rehearse(project: Project, shares: Sequence[Path], will: Path | None, passphrase_fd: int | None) -> Rehearsed:
    """Open the project's will in a scratch copy, and let a simulated device with the root of today follow.

    Args:
        project: With the will and a published release.
        shares: As many trustees' files as the will needs.
        will: The will; the live one of the project if None.
        passphrase_fd: Gives the passphrase of the successors' keys.

    Raises:
        HeirloomError: The will would not open, successors are missing, or the device does not follow.
    """
    board = _simulated(project)
    passphrase = ask_secret("passphrase of the successors' keys", env=passphrases.VARIABLE, fd=passphrase_fd)
    with _scratch(project) as folder, _environment(folder, passphrase):
        copy = Project.load()
        before = _root(copy)
        with _served(copy.repository) as port:
            note(f"A device ({board}) that trusts root {before} is made")
            call(["device", "new", _DEVICE, "--board", board, "--host", f"{_HOST}=127.0.0.1:{port}"])
            times = [word for key, seconds in _TIMING.items() for word in ("--timing", f"{key}={seconds}")]
            call(["device", "provision", _DEVICE, "--url", f"http://{_HOST}/", *times, "--yes"])
            note("The will is opened in a copy")
            opened = _open(shares, will)
            note(f"The device is switched on and should follow to root {opened['root']}")
            booted: Any = call(["device", "boot", _DEVICE])
            report: Any = call(["device", "status", _DEVICE])
        return _judge(board, before, opened["root"], booted, report)


def _simulated(project: Project) -> str:
    for name, settings in project.boards.items():
        if boards.load(name, settings.definition).simulated:
            return name
    raise HeirloomError(
        "no board of this project can be simulated", "add a simulated one, as SIM_RPI_PICO_W, and publish for it, too"
    )


@contextmanager
def _scratch(project: Project) -> Iterator[Path]:
    """A private copy of project and keys; gone at the end, whatever happens."""
    try:
        with tempfile.TemporaryDirectory(prefix="heirloom-rehearsal-") as name:
            folder = Path(name)
            ignored = shutil.ignore_patterns("devices", "opening", ".git")
            shutil.copytree(project.root, folder / "project", ignore=ignored)
            if project.keys_dir().is_dir():
                shutil.copytree(project.keys_dir(), folder / "keys")
            yield folder
    except OSError as exc:
        raise os_error(exc, "cannot copy the project") from exc


@contextmanager
def _environment(folder: Path, passphrase: str) -> Iterator[None]:
    """Commands find the copy and its keys, and nothing else."""
    names = {
        KEYS_VARIABLE: str(folder / "keys"),
        PROJECT_VARIABLE: str(folder / "project"),
        passphrases.VARIABLE: passphrase,
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    # A --project on the command line goes before the environment.
    outer = enter(replace(current(), project=folder / "project"))
    try:
        yield
    finally:
        leave(outer)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def _served(folder: Path) -> Iterator[int]:
    """Serve the folder as any file server does; yields the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _open(shares: Sequence[Path], will: Path | None) -> Any:
    words = [word for share in shares for word in ("--share", str(share.absolute()))]
    words += ["--will", str(will.absolute())] if will else []
    answers = ["--maker", "Rehearsal", "--contact", "rehearsal@example.org"]
    places = ["--url", f"http://{_HOST}/", "--url", _OTHER_PLACE]
    opened: Any = call(["will", "open", *words, *answers, *places, "--yes"])
    if opened["missing"]:
        lacking = ", ".join(f"{each['document']} {each['have']} of {each['need']}" for each in opened["missing"])
        raise HeirloomError(
            f"too few successors' keys are here: {lacking}", "a rehearsal needs as many of them as the opening"
        )
    return opened


def _root(project: Project) -> int:
    from heirloom.signing.repository import Repository

    return Repository(project.repository).root().signed.version


def _judge(board: str, before: int, expected: int, booted: Any, report: Any) -> Rehearsed:
    trusted = (report["metadata"] or {}).get("root")
    active = report["active"] or {}
    if trusted != expected or active.get("version") is None:
        raise HeirloomError(
            f"the device trusts root {trusted} and runs {active.get('version')}; root {expected} was expected",
            "run it again with --debug",
        )
    return Rehearsed(board, before, trusted, active["version"], booted["boots"])
