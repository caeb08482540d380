"""A unit at a port, as `heirloom.hil.units.Unit`."""

import codecs
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.serial import identify, ports, record
from heirloom.hil.serial.identify import Said
from heirloom.hil.serial.line import Line, LineBroken
from heirloom.hil.serial.repl import SerialRepl
from heirloom.hil.sim.lock import DeviceLock

ENTER_TIMEOUT_S = 15.0
_STEP_S = 0.05
_SETTLE_S = 0.3
_AGAIN_S = 0.25


class SerialUnit:
    """A physical device, or an emulated one, that the project knows by its folder.

    Args:
        directory: With its unit.toml.
        patience_s: How long to wait for its port to come back, as after a reset.

    Attributes:
        patience_s: As given; may be changed.

    Raises:
        HeirloomError: There is none in it, or it is wrong.
    """

    def __init__(self, directory: Path, patience_s: float = 0.0) -> None:
        self.directory = directory.absolute()
        self.patience_s = patience_s
        self.record = record.read(self.directory)
        self.board: Board = self.record.load_board()
        self._lock = DeviceLock(self.directory, self.name)

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.record.name

    @property
    def id(self) -> str:
        """What `machine.unique_id()` gave when it was provisioned."""
        return self.record.id

    def port(self) -> str:
        """Where it is now.

        Raises:
            RigTrouble: It is not plugged in.
        """
        return ports.find(self.record.port)

    @contextmanager
    def at_repl(self) -> Iterator[SerialRepl]:
        """As `Unit.at_repl`; afterwards it is reset, so that its release runs."""
        with self._lock, open_again(self.record.port, self.patience_s) as line:
            repl = SerialRepl(line, self.name, reset_line=_has_reset_line(self.board))
            with held(repl):
                self._check_who(identify.ask(repl, self.name))
                yield repl

    def _check_who(self, said: Said) -> None:
        if said.id != self.id:
            raise RigTrouble(
                f"the device at {self.port()} has the id {said.id}; {self.name} has {self.id}",
                "plug in the right one, or provision this one under its own name",
            )

    @contextmanager
    def live(self, *, hold_repl: bool) -> Iterator["LiveLine"]:
        """As `Unit.live`. Without `hold_repl` nothing is sent to it: it is only listened to."""
        with self._lock, open_again(self.record.port, self.patience_s) as line:
            if not hold_repl:
                yield LiveLine(line)
                return
            repl = SerialRepl(line, self.name, reset_line=_has_reset_line(self.board))
            repl.enter(ENTER_TIMEOUT_S)
            repl.soft_reset(ENTER_TIMEOUT_S)
            repl.leave()
            try:
                yield LiveLine(line)
            finally:
                reset(repl)

    @contextmanager
    def serial_port(self) -> Iterator[str]:
        """As `Unit.serial_port`."""
        with self._lock:
            yield self.port()

    @contextmanager
    def serial_port_if_there(self) -> Iterator[ports.Port | None]:
        """Where it was seen last, if it is plugged in there; no other process uses the unit for the block."""
        with self._lock:
            try:
                self.port()
            except RigTrouble:
                yield None
            else:
                yield self.record.port

    @contextmanager
    def loader(self) -> Iterator[str]:
        """As `Unit.loader`. esptool itself puts the chip into download mode and resets it afterwards."""
        if self.board.hardware.flashing != "esptool":
            raise HeirloomError(f"{self.board.name} is not flashed by esptool", "only an ESP32 is")
        with self._lock:
            yield self.port()

    def close(self) -> None:
        """Let go of everything."""
        self._lock.release()


class LiveLine:
    """A console that is listened to.

    Args:
        line: Open; it stays the caller's.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def place(self) -> str:
        """Its serial port, for people."""
        return self._line.port

    def read(self) -> str | None:
        """See `Live.read`.

        Raises:
            LineBroken: It was unplugged.
        """
        return self._decode.decode(self._line.read(_STEP_S)).replace("\r\n", "\n").replace("\r", "")

    def send(self, data: bytes) -> None:
        """See `Live.send`."""
        self._line.write(data)


@contextmanager
def held(repl: SerialRepl) -> Iterator[SerialRepl]:
    """At the raw REPL, freshly through boot.py, for the block; afterwards a hard reset, so that the release runs."""
    repl.enter(ENTER_TIMEOUT_S)
    try:
        repl.soft_reset(ENTER_TIMEOUT_S)
        yield repl
    finally:
        reset(repl)


def reset(repl: SerialRepl) -> None:
    """Hard reset from the raw REPL; a unit that does not answer any more is left as it is."""
    try:
        repl.enter(_SETTLE_S * 10)
        repl.start("import machine\nmachine.reset()", time.monotonic() + 1)
        repl.line.read(_SETTLE_S)
    except RigTrouble:
        return


def open_again(port: ports.Port, timeout_s: float) -> Line:
    """Open a port that comes back after a reset, perhaps under another name.

    Raises:
        RigTrouble: It did not come back in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return Line(ports.find(port))
        except RigTrouble:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_S)


def _has_reset_line(board: Board) -> bool:
    return board.hardware.flashing == "esptool"


__all__ = ["LineBroken", "LiveLine", "SerialUnit", "held", "open_again", "reset"]
