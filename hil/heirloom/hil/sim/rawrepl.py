"""MicroPython's raw REPL from the host's side, as mpremote uses it."""

import time
from typing import Protocol

from heirloom.cli.errors import HeirloomError
from heirloom.hil.units import DeviceError

_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_FRIENDLY_PROMPT = b">>> "
_RETRY_S = 1.0


class SerialLine(Protocol):
    """The serial line of a running board: of a simulated one its supervisor's, of an emulated one a process's."""

    @property
    def boots(self) -> int:
        """Boots since it was switched on, soft resets included."""

    def send(self, data: bytes) -> None:
        """Type at it."""

    def tap(self, active: bool) -> None:
        """While active, output is collected for `wait_tapped` and does not count as said by the board."""

    def wait_tapped(self, end: bytes, deadline: float) -> bytes | None:
        """Takes tapped output up to and with `end`; None at the deadline (monotonic time) or when a boot ends."""


class RawRepl:
    """One session at the raw REPL of a running board.

    Args:
        line: Of the board.
        name: The device, for messages.
        retry_s: How long the board has to answer before it is asked again for its REPL.
    """

    def __init__(self, line: SerialLine, name: str, retry_s: float = _RETRY_S) -> None:
        self._line = line
        self._name = name
        self._retry_s = retry_s

    def exec(self, code: str, timeout_s: float) -> str:
        """See `SimDevice.exec`."""
        deadline = time.monotonic() + timeout_s
        self._line.tap(True)
        try:
            self._enter(deadline)
            self._line.send(code.encode() + b"\x04")
            self._take(b"OK", deadline, "the REPL took no code")
            output = self._take(b"\x04", deadline, "the code did not end")
            errors = self._take(b"\x04", deadline, "the code did not end")
            self._leave(deadline)
        finally:
            self._line.tap(False)
        if errors:
            raise DeviceError(self._name, _text(errors))
        return _text(output)

    def soft_reset(self, timeout_s: float) -> None:
        """See `SimDevice.soft_reset`."""
        deadline = time.monotonic() + timeout_s
        self._line.tap(True)
        try:
            self._enter(deadline)
            boots = self._line.boots
            self._line.send(b"\x04")
            while self._line.boots == boots:
                if self._line.wait_tapped(b"soft reboot\r\n", deadline) is None and time.monotonic() > deadline:
                    raise self._silent("no soft reset")
            self._take(_PROMPT, deadline, "no REPL after the soft reset")
            self._leave(deadline)
        finally:
            self._line.tap(False)

    def _enter(self, deadline: float) -> None:
        """Ctrl-C, then Ctrl-A, again each second: a board that is just booting may lose them."""
        while time.monotonic() < deadline:
            self._line.send(b"\r\x03")
            time.sleep(0.01)
            self._line.send(b"\r\x01")
            if self._line.wait_tapped(_PROMPT, min(deadline, time.monotonic() + self._retry_s)) is not None:
                return
        raise self._silent("no REPL")

    def _leave(self, deadline: float) -> None:
        self._line.send(b"\x02")
        self._take(_FRIENDLY_PROMPT, deadline, "no REPL")

    def _take(self, end: bytes, deadline: float, otherwise: str) -> bytes:
        taken = self._line.wait_tapped(end, deadline)
        if taken is None:
            raise self._silent(otherwise)
        return taken[: -len(end)]

    def _silent(self, what: str) -> HeirloomError:
        return HeirloomError(f"device {self._name}: {what}", "it may be off, busy or resetting; see its console")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")
