"""The flash chip as a loader sees it: erased by sectors, programmed by pages, and a power cut at any operation."""

import hashlib
import mmap
from pathlib import Path

SECTOR_BYTES = 0x1000
PAGE_BYTES = 256


class PowerCut(Exception):  # noqa: N818 - an event
    """The power has failed; nothing more reaches the flash."""


class NorFlash:
    """A flash image in a file. Programming only clears bits, as in a chip.

    Args:
        path: The file; its size is that of the chip.
        cut_at: At this operation (an erased sector or a programmed page, from 1) the power fails in the middle.

    Attributes:
        operations: How many there were.
    """

    def __init__(self, path: Path, cut_at: int | None = None) -> None:
        self.operations = 0
        self._cut_at = cut_at
        with path.open("r+b") as file:
            self._cells = mmap.mmap(file.fileno(), 0)

    def __len__(self) -> int:
        return len(self._cells)

    def close(self) -> None:
        """Give the file back."""
        self._cells.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the flash."""
        return self._cells[offset : offset + length]

    def md5(self, offset: int, length: int) -> bytes:
        """The MD5 of a part."""
        return hashlib.md5(self.read(offset, length), usedforsecurity=False).digest()

    def contains(self, offset: int, length: int) -> bool:
        """Whether these bytes exist."""
        return 0 <= offset <= offset + length <= len(self)

    def erase(self, offset: int, length: int) -> None:
        """Set all sectors that these bytes touch to ones.

        Raises:
            PowerCut: In the middle of it.
        """
        for start in range(offset - offset % SECTOR_BYTES, offset + length, SECTOR_BYTES):
            self._put(start, b"\xff" * SECTOR_BYTES)

    def program(self, offset: int, data: bytes) -> None:
        """Clear the bits that are zero in `data`, page by page.

        Raises:
            PowerCut: In the middle of it.
        """
        done = 0
        while done < len(data):
            start = offset + done
            piece = data[done : done + PAGE_BYTES - start % PAGE_BYTES]
            both = int.from_bytes(self.read(start, len(piece))) & int.from_bytes(piece)
            self._put(start, both.to_bytes(len(piece)))
            done += len(piece)

    def _put(self, start: int, content: bytes) -> None:
        self.operations += 1
        if self.operations == self._cut_at:
            half = len(content) // 2
            self._cells[start : start + half] = content[:half]
            raise PowerCut
        self._cells[start : start + len(content)] = content
