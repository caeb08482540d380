"""A serial line, by pyserial: a device file, a pseudo-terminal, `socket://HOST:PORT` or `rfc2217://HOST:PORT`."""

import errno
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for

BAUDRATE = 115200
_POLL_S = 0.02
_WRITE_TIMEOUT_S = 10.0
_PULSE_S = 0.1
_MOST_FALSE_ALARMS = 100  # in a row
_DENIED = "join the group that owns it, as in `sudo usermod -aG dialout $USER`, and log in anew"


class LineBroken(RigTrouble):
    """The port is gone, in the middle of something."""


class Line:
    """An open port, for this process alone. Use it in `with`, or call `close`.

    Args:
        port: As for `serial.serial_for_url`.

    Raises:
        RigTrouble: It cannot be opened; says who has it where that can be known.
        HeirloomError: pyserial is not installed.
    """

    def __init__(self, port: str) -> None:
        self.port = port
        self._serial = _open(port)
        self._false_alarms = 0

    def read(self, timeout_s: float) -> bytes:
        """What has come; waits for the first byte.

        Args:
            timeout_s: How long to wait; 0: not at all. Then the answer is empty.

        Raises:
            LineBroken: The port is gone.
        """
        end = time.monotonic() + timeout_s
        while True:
            data = self._read(at_least=1 if timeout_s else 0)
            if data or time.monotonic() >= end:
                return data

    def _read(self, at_least: int) -> bytes:
        try:
            # A read of what is there returns at once on every kind of port; more would wait for it.
            count = max(at_least, self._serial.in_waiting)
            data = bytes(self._serial.read(count)) if count else b""
        except (OSError, TypeError) as exc:  # pyserial says TypeError when another thread has closed it
            if self._is_false_alarm(exc):
                return b""
            raise self._broken(exc) from exc
        self._false_alarms = 0
        return data

    def _is_false_alarm(self, exc: Exception) -> bool:
        """A pseudo-terminal may be ready and then have nothing; pyserial takes that for a lost device."""
        self._false_alarms += 1
        if "returned no data" not in str(exc) or self._false_alarms > _MOST_FALSE_ALARMS:
            return False
        time.sleep(_POLL_S / 10)
        return is_pseudo(self.port) and Path(self.port).exists()

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            LineBroken: The port is gone, or takes nothing.
        """
        try:
            self._serial.write(data)
        except OSError as exc:
            raise self._broken(exc) from exc

    def pulse_reset(self) -> bool:
        """Reset an ESP32 by RTS, as esptool does after flashing. Returns whether the port has such a line."""
        try:
            self._serial.dtr = False
            self._serial.rts = True
            time.sleep(_PULSE_S)
            self._serial.rts = False
        except OSError:
            return False
        return not is_pseudo(self.port)

    def close(self) -> None:
        """Let go of the port; it may be gone already."""
        try:
            self._serial.close()
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _broken(self, exc: Exception) -> LineBroken:
        gone = "" if is_url(self.port) or Path(self.port).exists() else ", and the port is gone"
        return LineBroken(
            f"the connection at {self.port} broke off{gone} ({exc})", "plug the device in again and repeat the command"
        )


def is_url(port: str) -> bool:
    """Whether it is an address, not a file."""
    return "://" in port


def resets(port: str) -> bool:
    """Whether esptool can start what it has flashed there: not over a plain TCP connection."""
    return not port.startswith("socket://")


def is_pseudo(port: str) -> bool:
    """Whether it is a pseudo-terminal or an address: there are no wires for DTR and RTS."""
    return is_url(port) or os.path.realpath(port).startswith("/dev/pts/")


def _open(port: str) -> Any:
    try:
        import serial
    except ImportError as exc:
        raise HeirloomError("pyserial is not installed", advice_for("serial")) from exc
    try:
        return serial.serial_for_url(
            port, baudrate=BAUDRATE, timeout=_POLL_S, write_timeout=_WRITE_TIMEOUT_S, exclusive=True
        )
    except (OSError, ValueError) as exc:
        raise _explained(port, exc) from exc


def _explained(port: str, exc: OSError | ValueError) -> RigTrouble:
    """Why a port cannot be opened, and what to do. pyserial's own errors carry the number only sometimes."""
    number = exc.errno if isinstance(exc, OSError) else None
    if number == errno.ENOENT or (not is_url(port) and not Path(port).exists()):
        return RigTrouble(f"no port {port}", "plug the device in; --port auto finds it under whatever name")
    if number in (errno.EACCES, errno.EPERM):
        return RigTrouble(f"you may not open {port}: permission denied", _DENIED)
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(exc):
        who = holders(port)
        named = f" by {', '.join(who)}" if who else ""
        return RigTrouble(f"{port} is in use{named}", "close that program and repeat the command")
    if number == errno.ECONNREFUSED or "refused" in str(exc):
        return RigTrouble(f"nobody answers at {port}", "start what serves it, and check the address")
    return RigTrouble(f"cannot open {port}: {exc}", "check the name of the port and its cable")


def holders(port: str) -> list[str]:
    """Other processes that have a port open, as in "mpremote (4711)": those that we may look at."""
    wanted = os.path.realpath(port)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if any(os.path.realpath(entry) == wanted for entry in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
        except OSError:  # it has ended, or is somebody else's
            continue
    return sorted(found)
