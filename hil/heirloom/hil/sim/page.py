"""The control page: memory that the host shares with the process of a simulated board.

The board counts its flash operations and says here why its process ended; the host reads that, arms power cuts and
watches the watchdog. Nothing has to be sent, so a process may end at any instant.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

_WORDS_BYTES = 16384
_UNSTABLE_BYTES = 4096  # behind the words: which bits of an unstable region read as they like
SIZE_BYTES = _WORDS_BYTES + _UNSTABLE_BYTES


class Word(IntEnum):
    """Index of a 32-bit word of the page. The modules in `target/` use the same numbers."""

    OPERATIONS = 1
    PROGRAMS = 2
    ERASES = 3
    READS = 4
    PROGRAMMED_BYTES = 5
    CUT_AT = 6
    CUT_KIND = 7
    CUT_FRACTION = 8
    VIOLATIONS = 9
    VIOLATION_ADDRESS = 10
    INTERRUPTIBLE = 11
    WDT_TIMEOUT = 12
    WDT_FED = 13
    WDT_FEEDS = 14
    CLOCK_OFFSET = 15
    EXIT = 16
    EXIT_ARGUMENT = 17
    REPL_MODE = 18
    BINARY = 19
    INTERRUPTING = 20
    TRACE_AT = 21
    TRACE_END = 22
    UNSTABLE_START = 23
    UNSTABLE_END = 24
    UNSTABLE_SEED = 25
    BLOCK_ERASES = 64


#: Blocks of the largest file system whose erases can be counted here.
MAX_BLOCKS = _WORDS_BYTES // 4 - Word.BLOCK_ERASES


class Exit(IntEnum):
    """Why the process ended."""

    NONE = 0
    RESET = 1
    SOFT_RESET = 2
    DEEPSLEEP = 3
    POWER_CUT = 5


class ReplMode(IntEnum):
    """What stands at the end of a boot. In the modes other than FRIENDLY, main.py does not run."""

    FRIENDLY = 0
    RAW = 1
    HOLD = 2


@dataclass(frozen=True)
class Operation:
    """One flash operation.

    Attributes:
        address: In bytes from the start of the file system; negative before it, in other partitions of an ESP32.
        data: What is programmed, at most a page; empty: the block there is erased.
    """

    address: int
    data: bytes


class ControlPage:
    """The host's view of the page."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("heirloom-sim")
        os.ftruncate(self.descriptor, SIZE_BYTES)
        self._memory = mmap.mmap(self.descriptor, SIZE_BYTES)

    def __getitem__(self, word: int) -> int:
        value: int = struct.unpack_from("<I", self._memory, 4 * word)[0]
        return value

    def __setitem__(self, word: int, value: int) -> None:
        struct.pack_into("<I", self._memory, 4 * word, value)

    def record(self, limit: int) -> None:
        """Have the flash operations of the next boots recorded behind the page, from now on and up to `limit` bytes."""
        os.ftruncate(self.descriptor, SIZE_BYTES + limit)
        self._memory.close()
        self._memory = mmap.mmap(self.descriptor, SIZE_BYTES + limit)
        self[Word.TRACE_AT], self[Word.TRACE_END] = SIZE_BYTES, SIZE_BYTES + limit

    def unstable(self, start: int, mask: bytes, seed: int) -> None:
        """From `start` in the file system on, the bits of the mask read as they like, until the block is erased.

        Raises:
            ValueError: The mask is larger than a block.
        """
        if len(mask) > _UNSTABLE_BYTES:
            raise ValueError(f"at most {_UNSTABLE_BYTES} bytes can be unstable")
        self._memory[_WORDS_BYTES : _WORDS_BYTES + len(mask)] = mask
        self[Word.UNSTABLE_START], self[Word.UNSTABLE_END] = start, start + len(mask)
        self[Word.UNSTABLE_SEED] = seed & 0xFFFF

    def note(self, operation: Operation) -> None:
        """Count, and record if that was asked for, an operation that the host carries out for the board."""
        self[Word.OPERATIONS] += 1
        self[Word.PROGRAMS if operation.data else Word.ERASES] += 1
        self[Word.PROGRAMMED_BYTES] += len(operation.data)
        if not self[Word.TRACE_END]:
            return
        at, count = self[Word.TRACE_AT], len(operation.data)
        self[Word.TRACE_AT] = at + 8 + (count + 3 & ~3)
        if self[Word.TRACE_AT] <= self[Word.TRACE_END]:
            struct.pack_into(f"<iI{count}s", self._memory, at, operation.address, count, operation.data)

    def recorded(self) -> list[Operation]:
        """What was recorded.

        Raises:
            BufferError: It was more than the limit.
        """
        at, end = SIZE_BYTES, self[Word.TRACE_AT]
        if end > self[Word.TRACE_END]:
            raise BufferError(f"{end - self[Word.TRACE_END]} bytes of flash operations did not fit")
        found = []
        while at < end:
            address, count = struct.unpack_from("<iI", self._memory, at)
            found.append(Operation(address, bytes(self._memory[at + 8 : at + 8 + count])))
            at += 8 + (count + 3 & ~3)
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)
