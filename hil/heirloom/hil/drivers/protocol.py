"""The protocol: what can be done with a device, whatever it is. Capabilities are asked, never assumed."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Self

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.provision import Network

if TYPE_CHECKING:
    from heirloom.boards import Board

CutKind = Literal["before", "after", "torn"]
#: Firmware for its other slot: one that works and is another than what it came with, or one that dies at its start.
FirmwareKind = Literal["other", "bad"]


class Capability(StrEnum):
    """What not every driver can do; the values are words for people."""

    FILESYSTEM = "reading and writing its file system from outside"
    EXACT_CUTS = "cutting its power at a flash operation"
    POWER = "switching its power"
    NETWORK = "a network"
    FIRMWARE = "firmware in two slots"
    DEEP_SLEEP = "deep sleep"


class Driver(ABC):
    """Drives one device. Use it in `with`, or call `close`.

    The concrete methods here bound and word what the few abstract ones do.

    Args:
        resource: What is known of the device.

    Attributes:
        pace: How many times slower than a real board it is; every patience is multiplied by it.
        capabilities: What it can do.
        network: The Wi-Fi that it must know, or None.
    """

    pace: float = 1.0
    capabilities: frozenset[Capability] = frozenset()
    network: Network | None = None

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.board: Board = resource.load_board()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def given_up(self) -> frozenset[Capability]:
        """What it could do and shall not."""
        return frozenset({Capability.NETWORK}) if self.resource.by_stick else frozenset()

    @property
    def name(self) -> str:
        """The device, for messages."""
        return self.resource.name

    def check(self) -> None:  # noqa: B027 - most have nothing to do
        """Make sure, before a test, that the device can be reached at all.

        Raises:
            RigTrouble: It cannot.
        """

    def needs(self, capability: Capability) -> None:
        """Refuse what the device cannot do.

        Raises:
            HeirloomError: It lacks the capability.
        """
        if reason := self.lacks(capability):
            raise HeirloomError(reason, "choose another device")

    def lacks(self, *capabilities: Capability) -> str | None:
        """Why not, as a sentence, or None if it has them all."""
        for capability in capabilities:
            if capability not in self.capabilities:
                return f"{self.board.name} by the driver {self.resource.driver} cannot do that: {capability}"
        return None

    def hold(self, timeout_s: float = 30.0) -> None:
        """Off, and on again to the REPL: boot.py has run, main.py has not, or was interrupted at its begin."""
        self.power_off()
        self.power_on()
        self.soft_reset(timeout_s)

    def power_cycle(self) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on()

    def cut_power(self) -> None:
        """Take the power away at this very moment, whatever it does."""
        self.power_off()

    @property
    @abstractmethod
    def id(self) -> str:
        """What `machine.unique_id()` gives, in hexadecimal; empty while that is not known."""

    @property
    @abstractmethod
    def is_on(self) -> bool:
        """Whether it has power."""

    @abstractmethod
    def connect(self, port: int) -> str:
        """From the next start on, the device reaches 127.0.0.1:`port` of this machine, and no other place.

        Returns:
            The base URL by which it does.
        """

    @abstractmethod
    def power_on(self) -> None:
        """Switch it on.

        Raises:
            HeirloomError: It is on already, or in use by another process.
            RigTrouble: It does not start.
        """

    @abstractmethod
    def power_off(self) -> None:
        """Switch it off, in the middle of whatever it does. Nothing happens if it is off."""

    @abstractmethod
    def close(self) -> None:
        """Switch off and let go of everything."""

    @abstractmethod
    def console(self) -> str:
        """What it said since it was opened (the last MiB), lines ending in a newline."""

    @abstractmethod
    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Wait until it says something that matches, after what was found before; `power_on` starts anew.

        Args:
            pattern: A regular expression; ^ and $ match at lines.
            timeout_s: Seconds of this machine, not yet multiplied by `pace`.

        Raises:
            DeviceTimeout: It did not; the advice shows its last lines.
            RigTrouble: The emulator or the cable failed.
        """

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Type at its console."""

    @abstractmethod
    def exec(self, code: str, timeout_s: float = 30.0) -> str:
        """Run code in the raw REPL, after Ctrl-C. Returns what it printed.

        Raises:
            DeviceError: The code raised.
            HeirloomError: No REPL, or no end, in time.
        """

    @abstractmethod
    def soft_reset(self, timeout_s: float = 30.0) -> None:
        """Soft reset from the raw REPL, as mpremote does it: boot.py runs, main.py does not."""

    def reset(self) -> None:
        """A hard reset that keeps the power, by code at the REPL."""
        self.exec_and_leave("import machine\nmachine.reset()\n")

    def exec_and_leave(self, code: str) -> None:
        """Run code that does not come back: a reset, deep sleep. What ran before is interrupted."""
        self.exec("pass")
        self.send(b"\r\x01" + code.encode() + b"\x04")

    def filesystem_image(self) -> bytes:
        """The file system's part of its flash. Only while it is off."""
        raise self._cannot(Capability.FILESYSTEM)

    def write_filesystem(self, image: bytes) -> None:  # noqa: ARG002
        """Replace the file system, as a programmer with a cable does. Only while it is off."""
        raise self._cannot(Capability.FILESYSTEM)

    def write_files(self, content: Mapping[str, bytes], folders: Collection[str] = ()) -> None:  # noqa: ARG002
        """Replace all files by these, for a device whose file system cannot be written from outside."""
        raise self._cannot(Capability.FILESYSTEM)

    def cut_power_at(self, operation: int, kind: CutKind = "before") -> None:  # noqa: ARG002
        """Arm a power cut at a flash operation of its next start, 1 being the first. Only while it is off."""
        raise self._cannot(Capability.EXACT_CUTS)

    def wait_off(self, timeout_s: float) -> None:  # noqa: ARG002
        """Wait until an armed power cut has struck.

        Raises:
            DeviceTimeout: It is still running.
        """
        raise self._cannot(Capability.EXACT_CUTS)

    @property
    def flash_operations(self) -> int:
        """Flash operations since it was opened. One programs up to a page, or erases a block."""
        raise self._cannot(Capability.EXACT_CUTS)

    @property
    def firmware(self) -> bytes:
        """The app image that it came with."""
        raise self._cannot(Capability.FIRMWARE)

    def firmware_image(self, kind: FirmwareKind) -> bytes:  # noqa: ARG002
        """An app image for it."""
        raise self._cannot(Capability.FIRMWARE)

    def _cannot(self, capability: Capability) -> HeirloomError:
        return RigTrouble(self.lacks(capability) or f"{self.name}: {capability} is not there", "ask `capabilities`")
