"""A simulated device: one folder with its flash, one process for each of its boots."""

import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error, write_atomic
from heirloom.hil.sim import scripts, settings
from heirloom.hil.sim.console import Console
from heirloom.hil.sim.esp32.download import DownloadMode
from heirloom.hil.sim.esp32.nor import NorFlash
from heirloom.hil.sim.esp32.start import NotStarted, Started, start
from heirloom.hil.sim.lock import DeviceLock
from heirloom.hil.sim.page import ControlPage, Operation, Word
from heirloom.hil.sim.ports import port
from heirloom.hil.sim.rawrepl import RawRepl
from heirloom.hil.sim.settings import Settings
from heirloom.hil.sim.supervisor import Images, Power, Supervisor

FLASH = "flash.bin"
LOG = "console.log"
TTY = "tty"

CutKind = Literal["before", "after", "torn"]
_CUT_KINDS: dict[str, int] = {"before": 0, "after": 1, "torn": 2}
_ID_BYTES = {"rp2040": 8}


@dataclass(frozen=True)
class FlashCounters:
    """Flash operations of a device since it was opened. One operation erases a block or programs up to a page."""

    operations: int
    programs: int
    erases: int
    reads: int
    programmed_bytes: int


_PARTITIONS_KIB = 7
_PANICS = 5  # starts in a row


def _with_room_for_partitions(heap: str) -> str:
    """The same heap for the board: `esp32`, which is C on a real one, takes some of it."""
    number, unit = heap[:-1], heap[-1:]
    return f"{int(number) + _PARTITIONS_KIB}k" if unit in ("k", "K") and number.isdigit() else heap


class DeviceTimeout(HeirloomError):  # noqa: N818 - it is a statement about the device
    """The device did not do in time what was waited for."""


class SimDevice:
    """A simulated device. Use it in `with`, or call `close`.

    Args:
        directory: Its folder, made by `create`.

    Raises:
        HeirloomError: There is no device in it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.settings = settings.read(self.directory)
        self.board = self.settings.load_board()
        self._check_flash()
        self._page = ControlPage()
        self._lock = DeviceLock(self.directory, self.settings.name)
        self._console: Console | None = None
        self._supervisor: Supervisor | None = None
        self._started: Started | None = None
        self._stick: Path | None = None

    @classmethod
    def create(
        cls,
        directory: Path,
        board: str,
        *,
        name: str | None = None,
        definition: Path | None = None,
        hosts: Mapping[str, str] | None = None,
        clock: str = "board",
        heap: str = settings.HEAP,
    ) -> "SimDevice":
        """Make a device with an erased flash.

        Args:
            directory: A folder that does not exist yet, or is empty.
            board: A simulated board.
            name: Its name for people; the folder's if None.
            definition: The file of an own board.
            hosts: As `Settings.hosts`.
            clock: As `Settings.clock`.
            heap: As `Settings.heap`; the modules that stand in for the hardware take 21 KB of it.

        Raises:
            HeirloomError: The folder is in use, or the board is unknown or not simulated.
        """
        draft = Settings(board, name or directory.name, "", definition, heap, clock, hosts=dict(hosts or {}))
        model = draft.load_board()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise HeirloomError(f"{directory} is not empty", "choose another name")
        except OSError as exc:
            raise os_error(exc, f"cannot make {directory}") from exc
        write_atomic(directory / FLASH, b"\xff" * model.flash.size)
        replace(draft, id=secrets.token_hex(_ID_BYTES.get(model.chip, 6))).write(directory)
        return cls(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.settings.name

    @property
    def id(self) -> str:
        """What `machine.unique_id()` gives, in hexadecimal."""
        return self.settings.id

    @property
    def tty(self) -> Path:
        """A link to its serial port, while it is switched on."""
        return self.directory / TTY

    @property
    def power(self) -> Power:
        """Where it stands."""
        return self._supervisor.power if self._supervisor else Power.OFF

    @property
    def boots(self) -> int:
        """Boots since it was switched on, soft resets included."""
        return self._supervisor.boots if self._supervisor else 0

    @property
    def flash(self) -> FlashCounters:
        """Flash operations so far."""
        page = self._page
        words = (Word.OPERATIONS, Word.PROGRAMS, Word.ERASES, Word.READS, Word.PROGRAMMED_BYTES)
        return FlashCounters(*(page[word] for word in words))

    def block_erases(self) -> list[int]:
        """How often each block of the file system was erased since the device was opened."""
        return [self._page[Word.BLOCK_ERASES + block] for block in range(self.board.flash.block_count)]

    def power_on(self, *, hold_repl: bool = False) -> None:
        """Switch it on.

        Args:
            hold_repl: boot.py runs and main.py does not, as after a tool's soft reset into the REPL.

        Raises:
            HeirloomError: It is on already, here or in another process.
        """
        if self.power in (Power.ON, Power.ASLEEP):
            raise HeirloomError(f"device {self.name} is already switched on")
        self.power_off()
        self._lock.acquire()
        if self._console is None:
            self._console = Console(self.directory / LOG)
        self._console.event("power on")
        self._console.mark()
        where = (Images(self.directory / FLASH, scripts.rom()), self._page, self._console, self.tty)
        supervisor = Supervisor(port(self.board.chip, self.settings.clock), self._request, *where)
        supervisor.start(hold_repl=hold_repl)
        self._supervisor = supervisor

    def power_off(self) -> None:
        """Switch it off, in the middle of whatever it does."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.stop()
            if self._console is not None:
                self._console.event("power off")
        self._lock.release()

    def power_cycle(self, *, hold_repl: bool = False) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on(hold_repl=hold_repl)

    def close(self) -> None:
        """Switch off and let go of everything."""
        self.power_off()
        if self._console is not None:
            self._console.close()
            self._console = None
        self._page.close()

    def console(self) -> str:
        """What it said since it was opened (the last MiB), lines ending in a newline."""
        if self._console is None:
            return ""
        return self._console.text

    def console_since(self, position: int) -> tuple[str, int]:
        """What it said after `position` (0 at first), and the position to ask from next time."""
        return self._console.since(position) if self._console else ("", 0)

    def wait_for(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until it says something that matches.

        Each call goes on searching after the match of the one before; `power_on` starts anew.

        Raises:
            DeviceTimeout: It did not, or it is off; the advice shows its last lines.
            RigTrouble: The simulation failed.
        """
        supervisor = self._on()
        match = supervisor.wait_console(re.compile(pattern, re.MULTILINE), time.monotonic() + timeout_s)
        if match is None:
            state = "" if self.power is Power.ON else f" ({self.power.value})"
            raise DeviceTimeout(f"device {self.name}{state} did not say {pattern!r} in {timeout_s:g} s", self._tail())
        return match

    def run_until(self, pattern: str, timeout_s: float = 30.0) -> re.Match[str]:
        """Switch it on if it is off, and wait as `wait_for` does. It stays on."""
        if self.power not in (Power.ON, Power.ASLEEP):
            self.power_on()
        return self.wait_for(pattern, timeout_s)

    def wait_off(self, timeout_s: float = 10.0) -> Power:
        """Wait until an armed power cut has struck. Returns how it stands then.

        Raises:
            DeviceTimeout: It is still running.
        """
        supervisor = self._on()
        with supervisor.changed:
            ended = supervisor.changed.wait_for(lambda: supervisor.power not in (Power.ON, Power.ASLEEP), timeout_s)
            supervisor.check()
        if not ended:
            raise DeviceTimeout(f"device {self.name} is still on after {timeout_s:g} s", self._tail())
        return supervisor.power

    def exec(self, code: str, timeout_s: float = 10.0) -> str:
        """Run code in the raw REPL, after Ctrl-C, as mpremote does. What ran before is interrupted and stays so.

        Returns:
            What the code printed, lines ending in a newline.

        Raises:
            DeviceError: The code raised; `traceback` says what.
            DeviceTimeout: No REPL, or no end, in time.
        """
        return RawRepl(self._on(), self.name).exec(code, timeout_s)

    def soft_reset(self, timeout_s: float = 10.0) -> None:
        """Soft reset from the raw REPL, as mpremote does it: boot.py runs, main.py does not."""
        RawRepl(self._on(), self.name).soft_reset(timeout_s)

    def send(self, data: bytes) -> None:
        """Type at its serial port."""
        self._on().send(data)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.send(b"\x03")

    def cut_power_at(self, operation: int, kind: CutKind = "before", *, fraction: float = 0.5) -> None:
        """Arm a power cut at a flash operation. It also works while the device is off, for its next boot.

        Args:
            operation: 1 is the next operation from now.
            kind: "before" it, "after" it, or "torn": only a part of it reaches the flash.
            fraction: With "torn", how much of the bytes, from the start.
        """
        if operation < 1 or not 0 <= fraction <= 1:
            raise ValueError("operations count from 1, and fraction is between 0 and 1")
        self._page[Word.CUT_KIND] = _CUT_KINDS[kind]
        self._page[Word.CUT_FRACTION] = int(fraction * 256)
        self._page[Word.CUT_AT] = self._page[Word.OPERATIONS] + operation

    def make_unstable(self, start: int, mask: bytes, seed: int) -> None:
        """Let these bits of the file system read differently each time, until their block is erased.

        Args:
            start: Address in the file system.
            mask: Which bits, from there; within one block.
            seed: For how they read.
        """
        self._page.unstable(start, mask, seed)

    def record_flash(self, limit: int = 16 * 1024 * 1024) -> None:
        """Record every flash operation of the boots to come, up to so many bytes. Only while it is off."""
        self._page.record(limit)

    def recorded_flash(self) -> list[Operation]:
        """The operations since `record_flash`.

        Raises:
            RigTrouble: They were more than its limit.
        """
        try:
            return self._page.recorded()
        except BufferError as exc:
            raise RigTrouble(f"the record of device {self.name} is too short: {exc}") from exc

    def insert(self, folder: Path) -> None:
        """Put a card or a stick in: from the next boot on, the folder's content is at /sd, read-only.

        Raises:
            HeirloomError: That is no folder.
        """
        if not folder.is_dir():
            raise HeirloomError(f"{folder} is no folder", "a stick is a folder with a bundle in it")
        self._stick = folder.absolute()

    def eject(self) -> None:
        """Take it out; from the next boot on nothing is at /sd."""
        self._stick = None

    def disarm(self) -> None:
        """Take an armed power cut back."""
        self._page[Word.CUT_AT] = 0

    def filesystem_image(self) -> bytes:
        """The file system's part of the flash."""
        layout = self.board.flash
        with (self.directory / FLASH).open("rb") as flash:
            flash.seek(layout.offset)
            return flash.read(layout.filesystem_size)

    def write_filesystem(self, image: bytes) -> None:
        """Replace the file system, as a programmer with a cable does. Only while it is off.

        Raises:
            HeirloomError: It is on, or the image has another size.
        """
        layout = self.board.flash
        self._check_off()
        if len(image) != layout.filesystem_size:
            wanted = layout.filesystem_size
            raise HeirloomError(f"a file system of {self.board.name} has {wanted} bytes, not {len(image)}")
        with self._lock, (self.directory / FLASH).open("r+b") as flash:
            os.pwrite(flash.fileno(), image, layout.offset)

    def download_mode(self, cut_at: int | None = None) -> DownloadMode:
        """Switch it on as with its boot pin held low: `with device.download_mode() as rom:`, and esptool at `rom.url`.

        Args:
            cut_at: At this flash operation, from 1, the power fails in the middle.

        Raises:
            HeirloomError: It is on, or has no such mode.
        """
        if self.board.hardware.flashing != "esptool":
            raise HeirloomError(f"{self.board.name} is not flashed by esptool", "only an ESP32 is")
        self._check_off()
        self._lock.acquire()
        flash = NorFlash(self.directory / FLASH, cut_at)
        return DownloadMode(self.board.chip, bytes.fromhex(self.id), flash, self._lock.release)

    @contextmanager
    def at_repl(self) -> Iterator[Self]:
        """As `Unit.at_repl`: it is switched on for the block, and off afterwards."""
        self.power_on(hold_repl=True)
        try:
            yield self
        finally:
            self.power_off()

    @contextmanager
    def live(self, *, hold_repl: bool) -> Iterator["LiveDevice"]:
        """As `Unit.live`: it is switched on for the block, and off afterwards."""
        self.power_on(hold_repl=hold_repl)
        try:
            yield LiveDevice(self)
        finally:
            self.power_off()

    @contextmanager
    def serial_port(self) -> Iterator[str]:
        """As `Unit.serial_port`: it is switched on for the block, at the REPL, and off afterwards."""
        with self.at_repl():
            yield str(self.tty)

    @contextmanager
    def loader(self) -> Iterator[str]:
        """As `Unit.loader`."""
        with self.download_mode() as rom:
            yield rom.url

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Nobody switches it on meanwhile.

        Raises:
            HeirloomError: It is on, here or in another process.
        """
        self._check_off()
        with self._lock:
            yield

    def _check_off(self) -> None:
        if self.power in (Power.ON, Power.ASLEEP):
            raise HeirloomError(f"device {self.name} is switched on", "switch it off first")

    def _on(self) -> Supervisor:
        if self._supervisor is None:
            raise HeirloomError(f"device {self.name} is switched off")
        return self._supervisor

    def _tail(self) -> str:
        tail = self._console.tail() if self._console else ""
        return f"its last lines:\n{tail}" if tail else "it said nothing"

    def _check_flash(self) -> None:
        path = self.directory / FLASH
        size = path.stat().st_size if path.exists() else 0
        if size != self.board.flash.size:
            wanted = self.board.flash.size
            raise RigTrouble(f"{path} has {size} bytes; the flash of {self.board.name} has {wanted}")

    def _bootload(self, cause: int) -> tuple[Started | None, int]:
        """The bootloader of an ESP32 runs at every start but a soft reset. Returns the newest reset cause, too."""
        causes = port(self.board.chip, self.settings.clock)
        if self.board.hardware.flashing != "esptool" or cause == causes.soft_reset:
            return self._started, cause
        for _ in range(_PANICS):
            self._started = start(self.directory / FLASH, self.board, self._page)
            if self._started is None or not self._started.panics:
                return self._started, cause
            if self._console is not None:
                self._console.event(f"the firmware in {self._started.running} panics")
            cause = causes.watchdog
        raise NotStarted("the firmware panics again and again")

    def _request(self, cause: int) -> dict[str, object]:
        """What the zygote needs for one boot."""
        layout, described = self.board.flash, self.settings
        running, cause = self._bootload(cause)
        config = {
            "chip": self.board.chip,
            "cause": cause,
            "id": described.id,
            "epoch": port(self.board.chip, described.clock).epoch,
            "partitions": [(p.label, p.type, p.subtype, p.offset, p.size) for p in running.table] if running else [],
            "running": running.running if running else None,
            "chip_id": self.board.hardware.image_id,
            "filesystem": layout.offset,
            "block_count": layout.block_count,
            "block_size": layout.block_size,
            "program_size": layout.program_size,
            "ssid": described.ssid,
            "password": described.password,
            "hosts": described.hosts,
            "stick": str(self._stick) if self._stick else None,
            "banner": f"MicroPython; {self.board.name} with {self.board.hardware.mcu}",
        }
        return {
            "heap": _with_room_for_partitions(described.heap) if running else described.heap,
            "offset": layout.offset,
            "config": config,
        }


class LiveDevice:
    """The console of a device that is switched on, as it comes.

    Args:
        device: The device.
    """

    def __init__(self, device: SimDevice) -> None:
        self._device = device
        self._shown = 0

    @property
    def place(self) -> str:
        """Its serial port, for people."""
        return str(self._device.tty)

    def read(self) -> str | None:
        """See `Live.read`."""
        ended = self._device.power not in (Power.ON, Power.ASLEEP)
        text, self._shown = self._device.console_since(self._shown)
        return None if ended and not text else text

    def send(self, data: bytes) -> None:
        """See `Live.send`."""
        self._device.send(data)
