"""MicroPython's raw REPL from the host's side, as mpremote uses it."""

import time

from heirloom.cli.errors import HeirloomError
from heirloom.hil.sim.supervisor import Supervisor

_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_FRIENDLY_PROMPT = b">>> "
_RETRY_S = 1.0


class DeviceError(HeirloomError):
    """Code that was sent to the device raised an exception.

    Attributes:
        traceback: As the device printed it.
    """

    def __init__(self, name: str, traceback: str) -> None:
        last = traceback.strip().splitlines()[-1] if traceback.strip() else "no traceback"
        super().__init__(f"device {name}: {last}", traceback.strip())
        self.traceback = traceback


class RawRepl:
    """One session at the raw REPL of a running board.

    Args:
        supervisor: Of the board.
        name: The device, for messages.
    """

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self._name = name

    def exec(self, code: str, timeout_s: float) -> str:
        """See `SimDevice.exec`."""
        deadline = time.monotonic() + timeout_s
        self._supervisor.tap(True)
        try:
            self._enter(deadline)
            self._supervisor.send(code.encode() + b"\x04")
            self._take(b"OK", deadline, "the REPL took no code")
            output = self._take(b"\x04", deadline, "the code did not end")
            errors = self._take(b"\x04", deadline, "the code did not end")
            self._leave(deadline)
        finally:
            self._supervisor.tap(False)
        if errors:
            raise DeviceError(self._name, _text(errors))
        return _text(output)

    def soft_reset(self, timeout_s: float) -> None:
        """See `SimDevice.soft_reset`."""
        deadline = time.monotonic() + timeout_s
        self._supervisor.tap(True)
        try:
            self._enter(deadline)
            boots = self._supervisor.boots
            self._supervisor.send(b"\x04")
            while self._supervisor.boots == boots:
                if self._supervisor.wait_tapped(b"soft reboot\r\n", deadline) is None and time.monotonic() > deadline:
                    raise self._silent("no soft reset")
            self._take(_PROMPT, deadline, "no REPL after the soft reset")
            self._leave(deadline)
        finally:
            self._supervisor.tap(False)

    def _enter(self, deadline: float) -> None:
        """Ctrl-C, then Ctrl-A, again each second: a board that is just booting may lose them."""
        while time.monotonic() < deadline:
            self._supervisor.send(b"\r\x03")
            time.sleep(0.01)
            self._supervisor.send(b"\r\x01")
            if self._supervisor.wait_tapped(_PROMPT, min(deadline, time.monotonic() + _RETRY_S)) is not None:
                return
        raise self._silent("no REPL")

    def _leave(self, deadline: float) -> None:
        self._supervisor.send(b"\x02")
        self._take(_FRIENDLY_PROMPT, deadline, "no REPL")

    def _take(self, end: bytes, deadline: float, otherwise: str) -> bytes:
        taken = self._supervisor.wait_tapped(end, deadline)
        if taken is None:
            raise self._silent(otherwise)
        return taken[: -len(end)]

    def _silent(self, what: str) -> HeirloomError:
        return HeirloomError(f"device {self._name}: {what}", "it may be off, busy or resetting; see its console")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")
