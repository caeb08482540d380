"""The serial port of a simulated board: a pseudo-terminal that any serial tool can open."""

import os
import pty
import termios
import time
import tty
from pathlib import Path

_BACKLOG_BYTES = 1 << 16
_NOBODY_S = 0.5
_KEPT_BYTES = 2048  # the newest, when the rest is given up


class Terminal:
    """A pseudo-terminal with a symbolic link to it.

    Args:
        link: Where the link is made, replacing an old one.

    Attributes:
        descriptor: The board's end.
    """

    def __init__(self, link: Path) -> None:
        self.descriptor, self._other = pty.openpty()
        tty.setraw(self._other)
        os.set_blocking(self.descriptor, False)
        self._backlog = bytearray()
        self._taken_at = 0.0
        self.link = link
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._other))

    def read(self) -> bytes:
        """What a tool sent; empty if nothing is there."""
        try:
            return os.read(self.descriptor, 4096)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        """Offer output. A reader that is slow gets all of it; if nobody reads, it is lost, as on a serial line."""
        if not self._backlog:
            self._taken_at = time.monotonic()
        self._backlog += data
        self.flush()

    def flush(self) -> None:
        """Offer again what was not taken yet."""
        while self._backlog:
            try:
                count = os.write(self.descriptor, self._backlog)
            except BlockingIOError:
                break
            del self._backlog[:count]
            self._taken_at = time.monotonic()
        if len(self._backlog) > _BACKLOG_BYTES or (self._backlog and time.monotonic() > self._taken_at + _NOBODY_S):
            termios.tcflush(self._other, termios.TCIFLUSH)
            del self._backlog[:-_KEPT_BYTES]

    def close(self) -> None:
        """Remove the link and hang up."""
        self.link.unlink(missing_ok=True)
        os.close(self.descriptor)
        os.close(self._other)
