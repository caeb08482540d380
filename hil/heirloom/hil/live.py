"""A device on this terminal: its console as it comes, or its REPL under the keyboard."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from heirloom.cli.errors import UsageError
from heirloom.hil.sim import Power, SimDevice

_STEP_S = 0.05
_LEAVE = b"\x1d"  # Ctrl-]


def stream(device: SimDevice, seconds: float | None) -> None:
    """Print what the device says until it stays off, Ctrl-C, or the time is over. It is switched on by the caller."""
    end = None if seconds is None else time.monotonic() + seconds
    shown = 0
    try:
        while device.power in (Power.ON, Power.ASLEEP) and (end is None or time.monotonic() < end):
            shown = _show(device, shown)
            time.sleep(_STEP_S)
    except KeyboardInterrupt:
        pass
    _show(device, shown)


def shell(device: SimDevice) -> None:
    """The keyboard types at the device until Ctrl-]. It is switched on by the caller.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("the shell needs a terminal", "use `device status`, or mpremote on the device's tty")
    shown = 0
    with _raw(sys.stdin.fileno()):
        while device.power in (Power.ON, Power.ASLEEP):
            shown = _show(device, shown, "\r\n")
            if select.select([sys.stdin], [], [], _STEP_S)[0]:
                typed = os.read(sys.stdin.fileno(), 1024)
                if _LEAVE in typed:
                    break
                device.send(typed)


def _show(device: SimDevice, shown: int, newline: str = "\n") -> int:
    text, position = device.console_since(shown)
    sys.stdout.write(text.replace("\n", newline))
    sys.stdout.flush()
    return position


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
