"""The serial port of a simulated board: a pseudo-terminal that any serial tool can open."""

import os
import pty
import termios
import tty
from pathlib import Path


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
        """Offer output. If nobody reads, the oldest is dropped, as on a serial line."""
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:
                termios.tcflush(self._other, termios.TCIFLUSH)

    def close(self) -> None:
        """Remove the link and hang up."""
        self.link.unlink(missing_ok=True)
        os.close(self.descriptor)
        os.close(self._other)
