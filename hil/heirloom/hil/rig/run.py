"""Runs a suite on devices: pytest with our plugin, in a process of its own, and what came of it as data."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for
from heirloom.cli.files import os_error
from heirloom.hil.rig.shelf import Statistics, shelf_of

SUITE = "heirloom.hil.suite.test_lifecycle"
JUNIT = "junit.xml"
# pytest's: all passed, some failed, no tests were collected.
_EXPECTED = (0, 1)
_NOTHING = 5
_TAIL_LINES = 15


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        passed: Names of tests.
        failed: Those that say something is wrong with the release or the client; name to reason.
        errors: Trouble of the rig, which says nothing about a release.
        skipped: With the reasons.
        devices: How the devices of the rig have been doing, this run included.
        seconds: It took.
    """

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Statistics] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Selection:
    """What is run.

    Attributes:
        words: As for pytest's -k; None: everything.
        tests: Files; empty: the life-cycle suite.
        release: The maker's built release that they try; None: the application as its folder is.
    """

    words: str | None = None
    tests: Sequence[Path] = ()
    release: str | None = None

    def arguments(self) -> list[str]:
        """For pytest."""
        argv = ["-k", self.words] if self.words else []
        argv += [f"--heirloom-release={self.release}"] if self.release else []
        return argv + ([str(path) for path in self.tests] or ["--pyargs", SUITE])


def run(
    rig: Path | None,
    drivers: Sequence[str],
    selection: Selection,
    to: Path | None,
    progress: Callable[[str], object],
) -> Outcome:
    """Run the suite, or tests of one's own.

    Args:
        rig: The rig's file, or None for simulated and emulated devices.
        drivers: As for --heirloom-driver.
        selection: What of the tests.
        to: A folder for junit.xml, made if needed.
        progress: Told which test is done.

    Raises:
        HeirloomError: pytest is not installed, or no test was selected.
        RigTrouble: pytest did not get to its end.
    """
    if find_spec("pytest") is None:
        raise HeirloomError("pytest is not installed", advice_for("pytest"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        place = to or Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise os_error(exc, f"cannot make {place}") from exc
        junit = place / JUNIT
        argv = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={junit}"]
        argv += [f"--heirloom-rig={rig}"] if rig else []
        argv += [f"--heirloom-driver={driver}" for driver in drivers]
        argv += selection.arguments()
        _follow(argv, progress)
        outcome = _read(junit)
    outcome.seconds = round(time.monotonic() - began, 1)
    if rig is not None:
        outcome.devices = _statistics(rig)
    return outcome


def _follow(argv: Sequence[str], progress: Callable[[str], object]) -> None:
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    for line in process.stdout or ():
        lines = [*lines[-_TAIL_LINES:], line.rstrip()]
        if "::" in line:
            progress(line.rpartition("::")[2].strip())
    code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    if code == _NOTHING:
        raise HeirloomError("no test was selected", "look at -k and --driver")
    if code not in _EXPECTED:
        raise RigTrouble(f"pytest ended with code {code}", "\n".join(lines))


def _read(junit: Path) -> Outcome:
    outcome = Outcome()
    try:
        cases = ET.parse(junit).getroot().iter("testcase")  # noqa: S314 - pytest wrote it just now
    except (OSError, ET.ParseError) as exc:
        raise RigTrouble(f"pytest left no readable report: {exc}") from exc
    for case in cases:
        name = case.get("name", "")
        found = {child.tag: child.get("message", "") for child in case}
        if "failure" in found:
            outcome.failed[name] = found["failure"]
        elif "error" in found:
            outcome.errors[name] = found["error"]
        elif "skipped" in found:
            outcome.skipped[name] = found["skipped"]
        else:
            outcome.passed.append(name)
    return outcome


def _statistics(rig: Path) -> dict[str, Statistics]:
    from heirloom.hil.rig.file import read

    shelf = shelf_of(rig)
    return {one.name: shelf.statistics(one.name) for one in read(rig)}
