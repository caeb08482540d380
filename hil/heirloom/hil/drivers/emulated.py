"""What the drivers of emulated boards have in common: a flash file, a process for each power cycle, a console."""

import re
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error, write_atomic
from heirloom.hil.drivers.process import EmulatorProcess
from heirloom.hil.drivers.protocol import Driver
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.sim.console import Console
from heirloom.hil.sim.device import DeviceTimeout
from heirloom.hil.sim.lock import DeviceLock
from heirloom.hil.sim.rawrepl import RawRepl

FLASH = "flash.bin"
LOG = "console.log"
ERRORS = "emulator.log"
_RETRY_S = 1.0


class EmulatedDriver(Driver):
    """Drives an emulator of which nothing but the flash file outlives a power cycle.

    Args:
        resource: Says its board and its firmware.
        directory: The device's folder; a blank unit with its firmware is made if there is none.

    Raises:
        HeirloomError: The firmware is missing or does not fit the board.
    """

    #: Bytes typed at once, and the pause between two such.
    pacing: tuple[int, float] = (0, 0.0)

    def __init__(self, resource: Resource, directory: Path) -> None:
        super().__init__(resource)
        self.directory = directory
        self.port: int | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not self.flash_path.exists():
                write_atomic(self.flash_path, self.blank_flash())
            self._console = Console(directory / LOG)
        except OSError as exc:
            raise os_error(exc, f"cannot make {directory}") from exc
        if self.flash_path.stat().st_size != self.board.flash.size:
            raise RigTrouble(f"{self.flash_path} is not the flash of a {self.board.name}", "delete it to begin anew")
        self._lock = DeviceLock(directory, resource.name)
        self._process: EmulatorProcess | None = None

    @property
    def flash_path(self) -> Path:
        """The content of its flash chip."""
        return self.directory / FLASH

    @abstractmethod
    def blank_flash(self) -> bytes:
        """The flash of a unit with its firmware and nothing else."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The emulator, for one power cycle."""

    @property
    def is_on(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.running

    def power_on(self) -> None:
        """One process for one power cycle."""
        if self.is_on:
            raise HeirloomError(f"device {self.name} is already switched on")
        self.power_off()
        self._lock.acquire()
        self._console.event("power on")
        self._console.mark()
        chunk, pause_s = self.pacing
        argv = self.command()
        self._process = EmulatorProcess(argv, self._console, self.directory / ERRORS, chunk=chunk, pause_s=pause_s)

    def power_off(self) -> None:
        """The process ends at once; the board tidies nothing up."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._console.event("power off")
        self._lock.release()

    def close(self) -> None:
        """Off; the folder stays."""
        self.power_off()
        self._console.close()

    def console(self) -> str:
        """As recorded."""
        return self._console.text

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """With patience for an emulator."""
        process, patience_s = self._running(), timeout_s * self.pace
        match = process.wait_console(re.compile(pattern, re.MULTILINE), time.monotonic() + patience_s)
        if match is None:
            tail = self._console.tail()
            raise DeviceTimeout(
                f"device {self.name} did not say {pattern!r} in {patience_s:g} s",
                f"its last lines:\n{tail}" if tail else "it said nothing",
            )
        return match

    def send(self, data: bytes) -> None:
        """At the pace of a serial port."""
        self._running().send(data)

    def exec(self, code: str, timeout_s: float = 30.0) -> str:
        """In its raw REPL."""
        return self._repl().exec(code, timeout_s * self.pace)

    def soft_reset(self, timeout_s: float = 30.0) -> None:
        """From its raw REPL."""
        self._repl().soft_reset(timeout_s * self.pace)

    def filesystem_image(self) -> bytes:
        """From the flash file."""
        self._check_off()
        layout = self.board.flash
        with self.flash_path.open("rb") as flash:
            flash.seek(layout.offset)
            return flash.read(layout.filesystem_size)

    def write_filesystem(self, image: bytes) -> None:
        """Into the flash file."""
        self._check_off()
        layout = self.board.flash
        if len(image) != layout.filesystem_size:
            raise HeirloomError(
                f"a file system of {self.board.name} has {layout.filesystem_size} bytes, not {len(image)}"
            )
        with self._lock, self.flash_path.open("r+b") as flash:
            flash.seek(layout.offset)
            flash.write(image)

    def _check_off(self) -> None:
        if self.is_on:
            raise HeirloomError(f"device {self.name} is switched on", "switch it off first")

    def _running(self) -> EmulatorProcess:
        if self._process is None:
            raise HeirloomError(f"device {self.name} is switched off")
        return self._process

    def _repl(self) -> RawRepl:
        return RawRepl(self._running(), self.name, retry_s=_RETRY_S * self.pace)
