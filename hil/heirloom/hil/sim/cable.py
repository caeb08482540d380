"""A cable like those in the drawer: a pseudo-terminal in front of a simulated board's, noisy, slow, or pulled out.

Tools meet on it what they meet on a real port: text of a boot loader before anything else, Ctrl-C that gets lost, a
line that is far slower than the program, and the end of the connection in the middle of a word.
"""

import os
import pty
import selectors
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_READ_BYTES = 4096
_STEP_S = 0.02


@dataclass(frozen=True)
class Faults:
    """What is wrong with a cable.

    Attributes:
        greeting: Comes before anything else, as from a boot loader at another speed.
        chatter: Comes each 50 ms, as from a program that prints all the time.
        lost_interrupts: So many bytes 0x03 never arrive, as while a board boots.
        bytes_per_s: How fast it is, in both directions together; 0: as fast as it goes.
        unplug_after: It is pulled out after so many bytes from the board; 0: never.
    """

    greeting: bytes = b""
    chatter: bytes = b""
    lost_interrupts: int = 0
    bytes_per_s: int = 0
    unplug_after: int = 0


class Cable:
    """A port that leads to another port. Use it in `with`.

    Args:
        board: The board's port, as in `SimDevice.tty`.
        link: Where the link to this port is made; it is gone when the cable is pulled out.
        faults: What is wrong with it.
    """

    def __init__(self, board: Path, link: Path, faults: Faults | None = None) -> None:
        self.port = link
        self._faults = faults or Faults()
        self._lost = 0
        self._carried = 0
        self._stopping = False
        self._far = os.open(board, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._far)
        self._near, self._other = pty.openpty()
        tty.setraw(self._other)
        link.symlink_to(os.ttyname(self._other))
        # A port whose last opener has gone reports a hang-up until it is opened again, so one end stays open here.
        self._thread = threading.Thread(target=self._carry, name=f"cable {link.name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        os.close(self._far)

    def _carry(self) -> None:
        os.write(self._near, self._faults.greeting)
        chatter_at = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._near, selectors.EVENT_READ)
            selector.register(self._far, selectors.EVENT_READ)
            while not self._stopping and not self._pulled_out():
                for key, _ in selector.select(_STEP_S):
                    self._pass_on(key.fd)
                if self._faults.chatter and time.monotonic() >= chatter_at:
                    os.write(self._near, self._faults.chatter)
                    chatter_at = time.monotonic() + 0.05
        self.port.unlink(missing_ok=True)
        os.close(self._near)
        os.close(self._other)

    def _pulled_out(self) -> bool:
        return 0 < self._faults.unplug_after <= self._carried

    def _pass_on(self, source: int) -> None:
        speed = self._faults.bytes_per_s
        try:
            data = os.read(source, max(1, speed // 50) if speed else _READ_BYTES)
        except OSError:
            self._stopping = True  # the board is off
            return
        if source == self._far:
            limit = self._faults.unplug_after
            data = data[: limit - self._carried] if limit else data
            self._carried += len(data)
            os.write(self._near, data)
        else:
            os.write(self._far, self._without_lost(data))
        if speed:
            time.sleep(len(data) / speed)

    def _without_lost(self, data: bytes) -> bytes:
        """What is left of data when interrupts get lost."""
        kept = bytearray()
        for byte in data:
            if byte == 3 and self._lost < self._faults.lost_interrupts:
                self._lost += 1
            else:
                kept.append(byte)
        return bytes(kept)
