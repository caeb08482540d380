"""The strategy: brings a device from blank over provisioned to running a release, and stays broken when broken."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from heirloom.boards import Board
from heirloom.boards.images import lfs
from heirloom.cli.errors import RigTrouble
from heirloom.device import cbor
from heirloom.hil.devices import REPL_PATH, REPORT
from heirloom.hil.drivers.protocol import Capability, Driver
from heirloom.hil.powercut import facts
from heirloom.hil.provision import FOLDERS, Identity, build_filesystem
from heirloom.hil.rig.product import Product, Release
from heirloom.hil.rig.server import Server

PATIENCE_S = 30.0
#: The client's times for tests: on a simulated board a story lasts seconds, on an emulated one seconds are long.
QUICK = {"check_after_s": 0, "check_every_s": 2, "trial_timeout_s": 20, "alive_s": 2}
PATIENT = {"check_after_s": 0, "check_every_s": 5, "trial_timeout_s": 240, "alive_s": 2}
STICK = "/stick.tar"
_STICK_OWNER = cbor.encode({1: "on", 2: False, 6: False, 7: STICK})
_WORDS = r"release \[{}, {}\] confirmed"


class State(StrEnum):
    """Where a device stands, as far as its strategy brought it."""

    UNKNOWN = "unknown"
    BLANK = "blank"
    PROVISIONED = "provisioned"
    RUNNING = "running"
    BROKEN = "broken"


class Verdict(AssertionError):  # noqa: N818 - it is one
    """The release, or the client, did not do what it must: a failure of the test, and no trouble of the rig."""


class Broken(RigTrouble):
    """The device is out of use after trouble of the rig."""


@dataclass(frozen=True)
class Standing:
    """What a device says of itself, or its file system of it.

    Attributes:
        runs: The version that it runs; None: none.
        trial: Whether that is on trial.
        confirmed: The highest order that it has confirmed.
        floor: The lowest that it takes.
        failed: Orders that failed on it.
        wrong: What is damaged, as sentences; known only where its file system can be read.
    """

    runs: str | None
    trial: bool
    confirmed: tuple[int, int]
    floor: tuple[int, int]
    failed: tuple[tuple[int, int], ...]
    wrong: tuple[str, ...] = ()


class Device:
    """A device of a product.

    Args:
        driver: Reaches it.
        server: Where it looks for updates.
        product: What it belongs to.
        build_dir: Where the compiled client is kept.

    Attributes:
        state: Where it stands.
        trouble: Why it is broken, or None.
    """

    def __init__(self, driver: Driver, server: Server, product: Product, build_dir: Path | None = None) -> None:
        self.driver = driver
        self.server = server
        self.product = product
        self.state = State.UNKNOWN
        self.trouble: str | None = None
        self._build_dir = build_dir
        self._plugged: dict[str, bytes] = {}  # the timestamp of what is on a stick, by its place

    @property
    def board(self) -> Board:
        """Its board."""
        return self.driver.board

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.driver.name

    def lacks(self, *capabilities: Capability) -> str | None:
        """Why it cannot do that, as a sentence, or None."""
        return self.driver.lacks(*capabilities)

    @property
    def by_stick(self) -> bool:
        """Whether updates reach it on a stick: a file of its file system, as if one were plugged in."""
        return Capability.NETWORK not in self.driver.capabilities

    # --- the states -------------------------------------------------------------------------------------------------

    def provision(self) -> None:
        """From anything to a device of the product without a release. What was on it is lost.

        Raises:
            Broken: It is out of use.
        """
        with self._in_use():
            self.driver.power_off()
            url = self.driver.connect(self.server.port)
            # Who gets updates on a stick says so once for all, and that the network is left alone.
            extra = {f"/heirloom/{name}": _STICK_OWNER for name in ("owner.cbor", "owner.bak")} if self.by_stick else {}
            image = self.provisioned_image([url], extra=extra)
            if Capability.FILESYSTEM in self.driver.capabilities:
                self.driver.write_filesystem(image)
            else:
                self.driver.write_files(lfs.read(self.board.flash, image), FOLDERS)
            self.state, self._plugged = State.PROVISIONED, {}

    def provisioned_image(self, urls: list[str], *, extra: Mapping[str, bytes] | None = None) -> bytes:
        """The file system of a provisioned device. extra: more files, by their absolute path."""
        root = (self.product.repository_dir / "metadata" / "root.json").read_bytes()
        image = build_filesystem(
            self.board,
            self.product.name,
            root,
            urls,
            "stable",
            Identity.new(self.driver.id),
            QUICK if self.driver.pace == 1 else PATIENT,
            networks=[self.driver.network] if self.driver.network else [],
            build_dir=self._build_dir,
        )
        return lfs.changed(self.board.flash, image, extra or {})

    def restore(self, image: bytes) -> None:
        """Make its file system what it was: a state that it was brought to before."""
        with self._in_use():
            self.driver.power_off()
            self.driver.connect(self.server.port)
            self.driver.write_filesystem(image)
            self.state, self._plugged = State.RUNNING, {}

    def runs(self, release: Release, timeout_s: float = 2 * PATIENCE_S) -> Standing:
        """Let it find, install and confirm a release; it is off afterwards.

        Raises:
            Verdict: It does not, or something of it is damaged.
            DeviceTimeout: It did not say so in time.
        """
        self.on()
        pattern = _WORDS.format(*release.order)
        if re.search(pattern, self.driver.console()[self._said :], re.MULTILINE) is None:
            self.says(pattern, timeout_s)
        found = self.off()
        if (found.runs, found.confirmed, found.trial) != (release.version, release.order, False):
            raise Verdict(f"{self.name} does not run {release.version} confirmed, but is {found}")
        return found

    # --- what it does -----------------------------------------------------------------------------------------------

    def on(self) -> None:
        """Switch it on if it is off; it looks for updates at the product's repository."""
        with self._in_use():
            if self.driver.is_on:
                return
            if self.state in (State.UNKNOWN, State.BLANK):
                self.provision()
            if self.server.folder is None:
                self.server.folder = self.product.repository_dir
            if self.by_stick:
                self.plug_in(self.server.folder)
            self._said = len(self.driver.console())
            self.driver.power_on()

    def plug_in(self, repository: Path | None, place: str = STICK) -> None:
        """Put a stick with a bundle of the repository into it; None: take it out. Only while it is off.

        The stick is a file of its own file system, because no emulator has a card reader.
        """
        timestamp = (repository / "metadata" / "timestamp.json").read_bytes() if repository else b"none"
        if timestamp == self._plugged.get(place, b"none"):
            return
        bundle = self.product.bundle(repository) if repository else None
        image = self.driver.filesystem_image()
        self.driver.write_filesystem(lfs.changed(self.board.flash, image, {place: bundle}))
        self._plugged[place] = timestamp

    def says(self, pattern: str, timeout_s: float = PATIENCE_S) -> str:
        """Switch it on if it is off, and wait until its console shows `pattern`; returns what matched.

        Raises:
            DeviceTimeout: It did not say so. That is a verdict on the release, not trouble of the rig.
        """
        self.on()
        with self._in_use():
            return self.driver.wait_for(pattern, timeout_s).group()

    def off(self) -> Standing:
        """Switch it off and look at it.

        Raises:
            Verdict: A file of the release that it runs is missing or wrong.
        """
        with self._in_use():
            if Capability.FILESYSTEM not in self.driver.capabilities:
                return self._ask()
            self.driver.power_off()
            found = self.standing()
            if found.wrong:
                raise Verdict(f"{self.name}: {'; '.join(found.wrong)}")
            return found

    def standing(self) -> Standing:
        """How it stands, read from its file system. Only while it is off."""
        image = self.driver.filesystem_image()
        seen = facts.read(lfs.read(self.board.flash, image, facts.HOME, facts.DATA))
        confirmed, floor = (_order(seen.marks[name]) for name in ("confirmed order", "floor"))
        return Standing(seen.runs, bool(seen.trial), confirmed, floor, seen.failed, seen.wrong)

    def files(self, *below: str) -> dict[str, bytes]:
        """The files on it, by absolute path. Only while it is off."""
        with self._in_use():
            return lfs.read(self.board.flash, self.driver.filesystem_image(), *below)

    def fill(self, leave_blocks: int = 2) -> None:
        """Fill its disk but for a few blocks, as an application that never tidies up. Only while it is off."""
        layout = self.board.flash
        with self._in_use():
            self.driver.write_filesystem(lfs.filled(layout, self.driver.filesystem_image(), "/data/full", leave_blocks))

    def report(self) -> dict[str, Any]:
        """What the client on it reports; it is held at the REPL for that, and off afterwards."""
        with self._in_use():
            self.driver.hold(PATIENCE_S)
            try:
                found = json.loads(self.driver.exec(REPORT, PATIENCE_S))
            except ValueError as exc:
                raise RigTrouble(f"the report of device {self.name} is no JSON: {exc}") from exc
            finally:
                self.driver.power_off()
        return dict(found)

    def exec(self, code: str) -> str:
        """Run code at its REPL, as its owner could: the client can be imported. It is off afterwards."""
        with self._in_use():
            self.driver.hold(PATIENCE_S)
            try:
                return self.driver.exec(REPL_PATH + code, PATIENCE_S)
            finally:
                self.driver.power_off()

    def close(self) -> None:
        """Let go of it."""
        self.driver.close()

    # --- inner ------------------------------------------------------------------------------------------------------

    _said = 0

    def _ask(self) -> Standing:
        report = self.report()
        active = report["active"] or {}
        failed = tuple(_order(order) for order in report["failed"])
        return Standing(
            active.get("version"), bool(report["trial"]), _order(report["confirmed"]), _order(report["floor"]), failed
        )

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Trouble of the rig takes the device out of use, for good."""
        if self.trouble is not None:
            raise Broken(f"device {self.name} is out of use: {self.trouble}", "see its console.log")
        try:
            yield
        except Broken:
            raise
        except RigTrouble as exc:
            self.state, self.trouble = State.BROKEN, exc.message
            raise


def _order(pair: Any) -> tuple[int, int]:
    epoch, sequence = pair
    return int(epoch), int(sequence)
