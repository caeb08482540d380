"""Keeps one simulated board going: power, resets, watchdog, console. One thread for each board that is switched on."""

import os
import re
import selectors
import signal
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.sim.console import Console
from heirloom.hil.sim.esp32.start import NotStarted
from heirloom.hil.sim.launcher import LAUNCHER, BoardProcess
from heirloom.hil.sim.page import ControlPage, Exit, ReplMode, Word
from heirloom.hil.sim.ports import Port
from heirloom.hil.sim.terminal import Terminal

_WATCH_INTERVAL_S = 0.02
_STOP_TIMEOUT_S = 5.0
_FOREVER_MS = 0x7FFFFFFF
_CTRL_C = 0x03


class Power(Enum):
    """Where a board stands."""

    OFF = "off"
    ON = "on"
    ASLEEP = "asleep"
    CUT = "power cut"
    TROUBLE = "trouble"


class Images(NamedTuple):
    """The files that a board's memories are made of."""

    flash: Path
    rom: Path


class Supervisor:
    """Runs boots of one board until it is switched off, its power is cut, or the rig fails.

    Args:
        port: What the board's port of MicroPython does.
        request: Makes the request to the zygote from the reset cause.
        images: The files of flash and ROM.
        page: The control page; it stays over all boots.
        console: Where output goes.
        tty: Where the link to the serial port is made.

    Attributes:
        changed: Guards everything here, and is notified of every change.
        power: Where the board stands.
        trouble: Why nothing more can be expected of it, or None.
        boots: How many boots there were.
    """

    def __init__(
        self,
        port: Port,
        request: Callable[[int], dict[str, object]],
        images: Images,
        page: ControlPage,
        console: Console,
        tty: Path,
    ) -> None:
        self._port = port
        self._request = request
        self._page = page
        self._console = console
        self._flash = os.open(images.flash, os.O_RDWR)
        self._rom = os.open(images.rom, os.O_RDONLY)
        self._terminal = Terminal(tty)
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._process: BoardProcess | None = None
        self._input = bytearray()
        self._tap: bytearray | None = None
        self._ended_in_cr = False
        self._wake_up_at: float | None = None
        self._stopping = False
        self._hardware_cause = port.power_on
        self._thread = threading.Thread(target=self._run, name=f"sim {tty.parent.name}", daemon=True)
        self.changed = threading.Condition()
        self.power = Power.ON
        self.trouble: str | None = None
        self.boots = 0

    # --- called from other threads -----------------------------------------------------------------------------

    def start(self, *, hold_repl: bool) -> None:
        """Switch on."""
        self._page[Word.REPL_MODE] = ReplMode.HOLD if hold_repl else ReplMode.FRIENDLY
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._selector.register(self._terminal.descriptor, selectors.EVENT_READ)
        try:
            self._boot(self._port.power_on)
        except HeirloomError:
            self._close()
            raise
        self._thread.start()

    def stop(self) -> None:
        """Switch off, whatever the board does."""
        with self.changed:
            self._stopping = True
            self._wake()
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise RigTrouble("the supervisor of a simulated board does not stop")
        self._close()

    def send(self, data: bytes) -> None:
        """Bytes to the board's serial input. Ctrl-C interrupts a running program, as on a board."""
        with self.changed:
            self._receive(data)
            self._wake()

    def tap(self, active: bool) -> None:
        """While active, output is collected for `tapped` and does not count as said by the board."""
        with self.changed:
            self._tap = bytearray() if active else None

    def wait_tapped(self, end: bytes, deadline: float) -> bytes | None:
        """Takes tapped output up to and with `end`; None at the deadline (monotonic time) or when a boot ends.

        Raises:
            RigTrouble: As `check`.
        """
        boots = self.boots
        with self.changed:
            while True:
                self.check()
                if self._tap is None:
                    return None
                position = self._tap.find(end)
                if position >= 0:
                    taken = bytes(self._tap[: position + len(end)])
                    del self._tap[: position + len(end)]
                    return taken
                if self.power is not Power.ON or self.boots != boots:
                    return None
                if not self.changed.wait(max(0.0, deadline - time.monotonic())):
                    return None

    def wait_console(self, pattern: re.Pattern[str], deadline: float) -> re.Match[str] | None:
        """Waits until the board says something that matches; None at the deadline or when it stays off."""
        with self.changed:
            while True:
                self.check()
                match = self._console.find(pattern)
                if match or self.power not in (Power.ON, Power.ASLEEP):
                    return match
                if not self.changed.wait(max(0.0, deadline - time.monotonic())):
                    return None

    def check(self) -> None:
        """Say whether the rig can still be trusted.

        Raises:
            RigTrouble: The interpreter died, or the flash was used against its rules.
        """
        if self.trouble:
            raise RigTrouble(self.trouble, f"its last lines:\n{self._console.tail()}")

    def _wake(self) -> None:
        os.write(self._wake_writer, b"\0")

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping and self.power in (Power.ON, Power.ASLEEP):
                self._wait()
        except Exception as exc:  # noqa: BLE001 - a thread has nobody above it; callers see it as trouble
            self._fail(f"the supervisor of a simulated board failed: {type(exc).__name__}: {exc}")
        finally:
            with self.changed:
                self._end_process()
                if self.power in (Power.ON, Power.ASLEEP):
                    self.power = Power.OFF
                self.changed.notify_all()

    def _wait(self) -> None:
        events = self._selector.select(_WATCH_INTERVAL_S)
        with self.changed:
            for key, _ in events:
                self._on_event(key.fd)
            self._flush_input()
            self._terminal.flush()
            self._watch()

    def _on_event(self, descriptor: int) -> None:
        if descriptor == self._wake_reader:
            os.read(self._wake_reader, 4096)
        elif descriptor == self._terminal.descriptor:
            self._receive(self._terminal.read())
        elif self._process is not None:
            self._read_console()

    def _read_console(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            data = process.console.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            self._output(data)
        else:
            self._on_exit()

    def _output(self, data: bytes) -> None:
        cooked = self._cook(data)
        if self._tap is not None:
            self._tap += cooked
        else:
            self._console.add(cooked)
            self._terminal.write(cooked)
        self.changed.notify_all()

    def _cook(self, data: bytes) -> bytes:
        """Boards write CR LF where a program writes LF, unless it made the line binary."""
        if self._page[Word.BINARY]:
            return data
        before = b"\r" if self._ended_in_cr else b""
        self._ended_in_cr = data.endswith(b"\r")
        return re.sub(rb"(?<!\r)\n", b"\r\n", before + data)[len(before) :]

    def _receive(self, data: bytes) -> None:
        for byte in data:
            if byte != _CTRL_C or not self._interrupt():
                self._input.append(byte)

    def _interrupt(self) -> bool:
        """Interrupts the running program, if there is one. The board waits with its REPL while this goes on."""
        if self._process is None:
            return False
        self._page[Word.INTERRUPTING] = 1
        interruptible = bool(self._page[Word.INTERRUPTIBLE]) and not self._page[Word.BINARY]
        if interruptible:
            self._process.signal(signal.SIGUSR1)
        self._page[Word.INTERRUPTING] = 0
        return interruptible

    def _flush_input(self) -> None:
        if self._process is None or not self._input:
            return
        try:
            sent = self._process.console.send(self._input)
        except (BlockingIOError, ConnectionError):
            return
        del self._input[:sent]

    def _watch(self) -> None:
        """What has no event: the watchdog, the flash's rules, the end of a deep sleep."""
        if self._page[Word.VIOLATIONS] and not self.trouble:
            address = self._page[Word.VIOLATION_ADDRESS]
            self._fail(f"the flash was programmed against its rules at file system address {address:#x}")
        if self._wake_up_at is not None and time.monotonic() >= self._wake_up_at:
            self._wake_up_at = None
            self.power = Power.ON
            self._boot(self._port.deepsleep)
        timeout_ms = self._page[Word.WDT_TIMEOUT]
        if self._process is not None and timeout_ms and self._unfed_ms() > timeout_ms:
            self._console.event("watchdog")
            self._end_process()
            self._boot(self._port.watchdog)

    def _unfed_ms(self) -> int:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
        return (now - self._page[Word.WDT_FED]) & 0x7FFFFFFF

    def _on_exit(self) -> None:
        """The process has ended by itself, and said why."""
        reason, argument = self._page[Word.EXIT], self._page[Word.EXIT_ARGUMENT]
        self._end_process()
        if reason == Exit.RESET:
            self._console.event("machine.reset()")
            self._boot(self._port.reset)
        elif reason == Exit.SOFT_RESET:
            self._console.event("soft reset")
            self._boot(self._port.soft_reset, soft=True)
        elif reason == Exit.DEEPSLEEP:
            self._sleep(argument)
        elif reason == Exit.POWER_CUT:
            self._console.event(f"power cut at flash operation {self._page[Word.OPERATIONS]}")
            self._page[Word.CUT_AT] = 0
            self.power = Power.CUT
        else:
            self._fail("the MicroPython process of a simulated board died")
        self.changed.notify_all()

    def _sleep(self, time_ms: int) -> None:
        self._console.event("deep sleep")
        self.power = Power.ASLEEP
        self._wake_up_at = None if time_ms == _FOREVER_MS else time.monotonic() + time_ms / 1000

    def _boot(self, cause: int | None, *, soft: bool = False) -> None:
        """Start the next process. A soft reset keeps what the chip keeps: watchdog, clock, mode of the REPL."""
        if not soft:
            self._page[Word.WDT_TIMEOUT] = 0
            self._page[Word.CLOCK_OFFSET] = self._port.clock_offset()
            if self.boots:
                self._page[Word.REPL_MODE] = ReplMode.FRIENDLY
        if cause is not None and not soft:
            self._hardware_cause = cause
        self._page[Word.INTERRUPTIBLE] = 0
        self._page[Word.BINARY] = 0
        self._page[Word.EXIT] = Exit.NONE
        self._input.clear()
        self._ended_in_cr = False
        self.boots += 1
        try:
            request = self._request(self._hardware_cause if cause is None else cause)
        except NotStarted as exc:
            self._console.event(exc.message)
            self._page[Word.CUT_AT] = 0 if exc.cut else self._page[Word.CUT_AT]
            self.power = Power.CUT if exc.cut else Power.OFF
            return
        self._process = LAUNCHER.boot(request, self._flash, self._page.descriptor, self._rom)
        self._selector.register(self._process.console, selectors.EVENT_READ)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._selector.unregister(process.console)
        process.kill()
        _drain(process, self._output)
        process.close()

    def _fail(self, what: str) -> None:
        with self.changed:
            self._console.event(what)
            self.trouble = what
            self.power = Power.TROUBLE
            self.changed.notify_all()

    def _close(self) -> None:
        self._selector.close()
        self._terminal.close()
        for descriptor in (self._wake_reader, self._wake_writer, self._flash, self._rom):
            os.close(descriptor)


def _drain(process: BoardProcess, output: Callable[[bytes], None]) -> None:
    """What the board said before it ended still counts; returns when the process is gone."""
    process.console.settimeout(_STOP_TIMEOUT_S)
    try:
        while data := process.console.recv(65536):
            output(data)
    except (TimeoutError, ConnectionError):
        return
