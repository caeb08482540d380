"""MicroPython's raw REPL over a serial line, with the patience that real boards need."""

import re
import time

from heirloom.cli.errors import RigTrouble
from heirloom.cli.output import printable
from heirloom.hil.serial.line import Line, LineBroken
from heirloom.hil.units import DeviceError

_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_SOFT_RESET = b"soft reboot\r\n"
_RETRY_S = 1.0
_QUIET_S = 0.03
_NOISE_S = 0.3
#: From this attempt on, an ESP32 is reset by its reset line: main.py starts anew, and the next Ctrl-C comes early.
_RESET_FROM = 4
#: The plain raw REPL has no flow control: so much at a time.
_PIECE_BYTES = 256
_PIECE_S = 0.01
_SHOWN_CHARACTERS = 200

#: What a board may say in place of a prompt, and what to do then.
_SYMPTOMS = (
    (rb"waiting for download", "it waits for firmware: let go of its BOOT button and press reset"),
    (rb"invalid header|No bootable|no bootable", "it has no firmware: provision it with --firmware FILE"),
    (rb"filesystem appears to be corrupted", "its file system is damaged: provision it again with --firmware FILE"),
)
_SILENT = "check its power, the cable (some only charge) and the port; a blank unit needs --firmware FILE"
_BABBLING = "press its reset button and repeat the command; if another program talks to it, close that"


class NoRepl(RigTrouble):
    """The REPL could not be reached."""


class SerialRepl:
    """The raw REPL of the board at a line.

    Args:
        line: An open line; it stays the caller's.
        name: The unit, for messages.
        reset_line: Whether the board may be reset by RTS.
    """

    def __init__(self, line: Line, name: str, *, reset_line: bool = False) -> None:
        self.line = line
        self._name = name
        self._reset_line = reset_line
        self._pending = b""
        self._seen = b""
        self._paste = True

    # --- entering and leaving ----------------------------------------------------------------------------------

    def enter(self, timeout_s: float = 10.0) -> None:
        """Interrupt what runs and get to the raw REPL, again and again: a board may be booting, busy or noisy.

        Raises:
            NoRepl: It was not reached; says after how many attempts, what came instead, and what to do.
            LineBroken: The port is gone.
        """
        deadline = time.monotonic() + timeout_s
        attempts = 0
        self._seen = b""
        while time.monotonic() < deadline:
            attempts += 1
            if self._reset_line and attempts == _RESET_FROM:
                self.line.pulse_reset()
            if self._try(min(deadline, time.monotonic() + _RETRY_S)):
                return
        raise self._no_repl(attempts, timeout_s)

    def _try(self, deadline: float) -> bool:
        self.line.write(b"\r\x03\x03")  # the second one for a program that catches the first
        self._drain(min(deadline, time.monotonic() + _NOISE_S))
        self.line.write(b"\r\x01")
        return self._until(_PROMPT, deadline) is not None

    def _drain(self, deadline: float) -> None:
        """Read until it is quiet, or the time is over: some programs never are."""
        self._pending = b""
        while time.monotonic() < deadline:
            data = self.line.read(_QUIET_S)
            self._note(data)
            if not data:
                return

    def soft_reset(self, timeout_s: float = 10.0) -> None:
        """From the raw REPL back into it, through boot.py; main.py does not run.

        Raises:
            NoRepl: It did not come back, even when it was called again.
        """
        deadline = time.monotonic() + timeout_s
        self.line.write(b"\x04")
        if self._until(_SOFT_RESET, min(deadline, time.monotonic() + 2 * _RETRY_S)) is not None:
            half = time.monotonic() + (deadline - time.monotonic()) / 2
            if self._until(_PROMPT, half) is not None:
                return
        self.enter(max(_RETRY_S, deadline - time.monotonic()))  # boot.py hangs, or was interrupted

    def leave(self) -> None:
        """Back to the friendly REPL."""
        self.line.write(b"\r\x02")

    # --- running code ------------------------------------------------------------------------------------------

    def exec(self, code: str, timeout_s: float = 10.0) -> str:
        """Run code; see `Repl.exec`. The raw REPL was entered.

        Raises:
            DeviceError: The code raised.
            NoRepl: The board does not answer.
            LineBroken: The port is gone.
        """
        deadline = time.monotonic() + timeout_s
        self.start(code, deadline)
        output = self._take(b"\x04", deadline, "the code did not end")
        errors = self._take(b"\x04", deadline, "the code did not end")
        self._take(b">", deadline, "no prompt after the code")
        if errors:
            raise DeviceError(self._name, _text(errors))
        return _text(output)

    def start(self, code: str, deadline: float) -> None:
        """Send code and let it run; what it prints is read by the caller."""
        self._pending = b""
        if not (self._paste and self._start_by_paste(code.encode(), deadline)):
            self._start_plainly(code.encode(), deadline)

    def _start_by_paste(self, code: bytes, deadline: float) -> bool:
        """Send code under flow control (raw paste, MicroPython's reference/repl); False: there is no such mode."""
        self.line.write(b"\x05A\x01")
        answer = self._count(2, deadline)
        if answer != b"R\x01":
            self._paste = False
            if answer != b"R\x00":  # an old one takes it for text and says its banner again
                self._take(_PROMPT, deadline, "the REPL took no code")
            return False
        window = int.from_bytes(self._count(2, deadline), "little")
        room, at = window, 0
        while at < len(code):
            while room == 0 or self._pending:
                word = self._count(1, deadline)
                if word == b"\x04":  # it has had enough, as when it runs out of memory
                    self.line.write(b"\x04")
                    return True
                if word != b"\x01":
                    raise self._silent(f"the REPL said {word!r} while it took code")
                room += window
            piece = code[at : at + room]
            self.line.write(piece)
            at, room = at + len(piece), room - len(piece)
            self._pending += self.line.read(0)
        self.line.write(b"\x04")
        self._take(b"\x04", deadline, "the REPL took no code")
        return True

    def _start_plainly(self, code: bytes, deadline: float) -> None:
        for at in range(0, len(code), _PIECE_BYTES):
            self.line.write(code[at : at + _PIECE_BYTES])
            time.sleep(_PIECE_S)
        self.line.write(b"\x04")
        self._take(b"OK", deadline, "the REPL took no code")

    def rest(self) -> bytes:
        """What came after the code was taken, and was not read yet."""
        taken, self._pending = self._pending, b""
        return taken

    # --- reading -----------------------------------------------------------------------------------------------

    def _until(self, end: bytes, deadline: float) -> bytes | None:
        """What came up to `end`; None at the deadline."""
        while True:
            before, found, after = self._pending.partition(end)
            if found:
                self._pending = after
                return before
            data = self.line.read(min(0.1, max(0.0, deadline - time.monotonic())))
            self._note(data)
            self._pending += data
            if not data and time.monotonic() >= deadline:
                return None

    def _count(self, count: int, deadline: float) -> bytes:
        while len(self._pending) < count:
            data = self.line.read(min(0.1, max(0.0, deadline - time.monotonic())))
            self._note(data)
            self._pending += data
            if not data and time.monotonic() >= deadline:
                raise self._silent("the REPL took no code")
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken

    def _take(self, end: bytes, deadline: float, otherwise: str) -> bytes:
        taken = self._until(end, deadline)
        if taken is None:
            raise self._silent(otherwise)
        return taken

    def _note(self, data: bytes) -> None:
        """Remember the end of what came, for messages."""
        self._seen = (self._seen + data)[-4 * _SHOWN_CHARACTERS :]

    def _silent(self, what: str) -> NoRepl:
        return NoRepl(f"device {self._name}: {what}", f"{_BABBLING}{self._quoted()}")

    def _no_repl(self, attempts: int, timeout_s: float) -> NoRepl:
        what = "nothing came back" if not self._seen else "something answers, but no prompt"
        advice = next((advice for sign, advice in _SYMPTOMS if re.search(sign, self._seen)), None)
        advice = advice or (_BABBLING if self._seen else _SILENT)
        return NoRepl(
            f"device {self._name}: no REPL at {self.line.port} after {attempts} attempts in {timeout_s:g} s: {what}",
            f"{advice}{self._quoted()}",
        )

    def _quoted(self) -> str:
        text = printable(self._seen.decode("utf-8", "replace")).strip()[-_SHOWN_CHARACTERS:]
        return f"\nit said last: {text}" if text else ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


__all__ = ["LineBroken", "NoRepl", "SerialRepl"]
