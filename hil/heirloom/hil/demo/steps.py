"""What the story is made of: a maker's workshop, worked by the program's own commands, and the device of an owner."""

import ast
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.main import call
from heirloom.cli.project import KEYS_VARIABLE, PROJECT_VARIABLE, Project
from heirloom.hil import devices
from heirloom.hil.sim import DeviceTimeout, SimDevice
from heirloom.signing import passphrases
from heirloom.signing.repository import Repository
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

PRODUCT = "weather"
BOARD = "SIM_RPI_PICO_W"
CHANNEL = "stable"
DEVICE = "garden"
HOST = "updates.weather.example"  # the device resolves it to the wire
MIRROR = "http://weather.friend.example/"  # the second place, which every product must name; never needed here

_PROGRAM = "from heirloom.cli.main import main; main()"
TIMING = {"check_after_s": 0, "check_every_s": 2, "trial_timeout_s": 20, "alive_s": 2}
_PATIENCE_S = 20.0
_GLANCE_S = 0.2
_QUIET_S = 0.2
_OPERATIONS_TO_CUT = 2


def weather(version: str) -> Path:
    """The source of a version of the example application: beside this module in a wheel, else in the tree."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "weather", here.parents[4] / "examples" / "weather"):
        if (folder / version).is_dir():
            return folder / version
    raise HeirloomError(f"the example application {version} is missing", "install heirloom-ota again")


class Workshop:
    """The maker: a project, its keys and its repository in one folder of their own.

    Args:
        directory: Empty or new.
        url: Where devices reach the repository.
        board: What the product runs on.
    """

    def __init__(self, directory: Path, url: str, board: str = BOARD) -> None:
        self.directory = directory
        self.project_dir = directory / "project"
        self.keys_dir = directory / "keys"
        self.url = url
        self.board = board
        self.passphrase = secrets.token_urlsafe(12)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The environment in which the commands find this project and its keys, and no other."""
        names = {
            KEYS_VARIABLE: str(self.keys_dir),
            PROJECT_VARIABLE: str(self.project_dir),
            passphrases.VARIABLE: self.passphrase,
        }
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def heirloom(self, *argv: str) -> Any:
        """Run one command of the program in this process; returns what it says with --json.

        Raises:
            HeirloomError: The command failed.
        """
        return call([*argv, "--project", str(self.project_dir), "--yes"])

    def found(self) -> None:
        """Found the product: project file, keys, first metadata; settings.json is the application's own."""
        places = ["--url", self.url, "--url", MIRROR]
        about = ["--contact", "security@weather.example", "--keep", "settings.json"]
        self.heirloom("init", "--name", PRODUCT, "--board", self.board, *places, *about)

    def take_source(self, source: Path) -> None:
        """Make `source` the application of the project."""
        target = self.project_dir / "app"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)

    def publish(self, version: str, source: Path) -> None:
        """Build, sign and publish a release, and point the channel to it."""
        self.take_source(source)
        self.heirloom("release", "build", "--version", version)
        self.heirloom("release", "sign", version)
        self.heirloom("release", "publish", version, "--channel", CHANNEL)

    @property
    def project(self) -> Project:
        """The project as its file says it."""
        return Project.load(self.project_dir)

    @property
    def repository_dir(self) -> Path:
        """The folder that a web host would serve."""
        return self.project_dir / "repository"

    @property
    def repository(self) -> Repository:
        """The published repository, read anew."""
        return Repository(self.repository_dir)

    def order(self, version: str) -> list[int]:
        """What orders a published release: [epoch, sequence]."""
        (release,) = (one for one in self.repository.releases(self.board) if one.version == version)
        return list(release.order)

    def metadata_versions(self) -> dict[str, int]:
        """The published versions of the top-level roles."""
        repository = self.repository
        root, timestamp, targets = repository.root(), repository.timestamp(), repository.role(TARGETS)
        snapshot = timestamp.signed.snapshot_meta.version
        versions = {ROOT: root.signed.version, SNAPSHOT: snapshot}
        return versions | {TARGETS: targets.signed.version, TIMESTAMP: timestamp.signed.version}

    def contents(self, version: str) -> dict[str, int]:
        """The blobs of a published release: SHA-256 to length."""
        manifest = self.repository.manifest(self.board, version)
        return {sha256.hex(): length for _, length, sha256 in manifest.files}

    def to_fetch(self, version: str, before: str) -> tuple[dict[str, int], int]:
        """What a device that has `before` fetches for a release: SHA-256 to length, and how many are patches."""
        have, wanted = self.contents(before), self.contents(version)
        patches = {
            new.hex(): (patch.hex(), length)
            for old, new, patch, length, _ in self.repository.manifest(self.board, version).patches
            if old.hex() in have
        }
        new_files = {sha256: length for sha256, length in wanted.items() if sha256 not in have}
        fetched = dict(patches.get(sha256, (sha256, length)) for sha256, length in new_files.items())
        return fetched, len(patches.keys() & new_files.keys())

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run `heirloom serve` as a process of its own. Yields its base URL."""
        command = [sys.executable, "-c", _PROGRAM, "serve", "--port", "0", "--json", "--project", str(self.project_dir)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            yield _url_said_by(server)
        finally:
            server.terminate()
            server.wait()
            if server.stdout is not None:
                server.stdout.close()


def _url_said_by(server: subprocess.Popen[str]) -> str:
    """The URL in the JSON document that `heirloom serve` prints when it is ready."""
    text = ""
    for line in server.stdout or []:
        text += line
        try:
            return str(json.loads(text)["url"])
        except ValueError:
            continue
    raise RigTrouble("heirloom serve ended before it was ready", text.strip())


class Unit:
    """The device of an owner, simulated. It is reached as any device: power switch, console and REPL."""

    def __init__(self, sim: SimDevice) -> None:
        self.sim = sim

    @classmethod
    def new(cls, workshop: Workshop, wire_port: int) -> "Unit":
        """A blank unit, for which the name of the repository's host leads to the wire."""
        host = f"{HOST}=127.0.0.1:{wire_port}"
        made = workshop.heirloom("device", "new", DEVICE, "--host", host)
        return cls(SimDevice(Path(made["directory"])))

    def provision(self, workshop: Workshop) -> None:
        """Give it the client, the product's root and a network; its times suit a story."""
        times = [word for key, seconds in TIMING.items() for word in ("--timing", f"{key}={seconds}")]
        workshop.heirloom("device", "provision", DEVICE, *times)

    def power_on(self) -> None:
        """Let it start as after a power cut."""
        self.sim.power_on()

    def hold(self) -> None:
        """Off, and on again to the REPL: boot.py has run, main.py has not."""
        self.power_off()
        self.sim.power_on(hold_repl=True)
        self.wait_for(r"^>>> ")

    def power_off(self) -> None:
        """Pull the plug."""
        self.sim.power_off()

    def wait_for(self, pattern: str, timeout_s: float = _PATIENCE_S, glance: Callable[[], None] | None = None) -> str:
        """Wait until the console shows `pattern`; returns what matched.

        Args:
            pattern: A regular expression, searched behind what was found before.
            timeout_s: How long.
            glance: Called now and then while waiting.

        Raises:
            HeirloomError: The device did not say it.
        """
        deadline = time.monotonic() + timeout_s
        while glance is not None:
            glance()
            try:
                return self.sim.wait_for(pattern, _GLANCE_S).group()
            except DeviceTimeout:
                if time.monotonic() > deadline:
                    raise
        return self.sim.wait_for(pattern, timeout_s).group()

    def download(self) -> str:
        """How far the newest download is, in the device's own words; empty before there was one."""
        found = re.findall(r"\d+ of \d+ bytes", self.sim.console())
        return found[-1] if found else ""

    def settle(self) -> None:
        """Wait until it has written down what it has just said: no flash operation for a while."""
        seen = -1
        while (now := self.sim.flash.operations) != seen:
            seen = now
            time.sleep(_QUIET_S)

    def cut_power_inside_a_write(self) -> int:
        """Let the power fail in the middle of a flash operation, very soon.

        Returns:
            The number of that operation, counted from when the device was made.
        """
        self.sim.cut_power_at(_OPERATIONS_TO_CUT, "torn")
        self.sim.wait_off(_PATIENCE_S)
        return self.sim.flash.operations

    def report(self) -> dict[str, Any]:
        """What the device says about itself (`heirloom device status`); it is off afterwards."""
        self.power_off()
        return devices.report(self.sim, _PATIENCE_S)

    def damaged_files(self, slot: str) -> Any:
        """The files of a slot that do not have their hash, found by the device itself; it is off afterwards.

        None when even the manifest is damaged.
        """
        self.hold()
        try:
            found = self.sim.exec(f"import heirloom_boot\nprint(heirloom_boot.client('recovery').damaged({slot!r}))")
        finally:
            self.power_off()
        return ast.literal_eval(found.strip())
