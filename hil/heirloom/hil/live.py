"""A device on this terminal: its console as it comes, or its REPL under the keyboard."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from heirloom.cli.errors import UsageError
from heirloom.hil.units import Live

_STEP_S = 0.05
_LEAVE = b"\x1d"  # Ctrl-]


def stream(device: Live, seconds: float | None) -> None:
    """Print what the device says until it stays off or is gone, Ctrl-C, or the time is over."""
    end = None if seconds is None else time.monotonic() + seconds
    with suppress(KeyboardInterrupt):
        while (end is None or time.monotonic() < end) and _show(device):
            time.sleep(_STEP_S)


def shell(device: Live) -> None:
    """The keyboard types at the device until Ctrl-].

    Raises:
        UsageError: There is no terminal.
    """
    check_terminal()
    with _raw(sys.stdin.fileno()):
        while _show(device, "\r\n"):
            if select.select([sys.stdin], [], [], _STEP_S)[0]:
                typed = os.read(sys.stdin.fileno(), 1024)
                if _LEAVE in typed:
                    break
                device.send(typed)


def check_terminal() -> None:
    """Refuse a shell without a keyboard.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("the shell needs a terminal", "use `device status`, or mpremote on the device's tty")


def _show(device: Live, newline: str = "\n") -> bool:
    text = device.read()
    if text:
        sys.stdout.write(text.replace("\n", newline))
        sys.stdout.flush()
    return text is not None


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
