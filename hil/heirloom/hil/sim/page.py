"""The control page: memory that the host shares with the process of a simulated board.

The board counts its flash operations and says here why its process ended; the host reads that, arms power cuts and
watches the watchdog. Nothing has to be sent, so a process may end at any instant.
"""

import mmap
import os
import struct
from enum import IntEnum

SIZE_BYTES = 16384


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
    BLOCK_ERASES = 64


#: Blocks of the largest file system whose erases can be counted here.
MAX_BLOCKS = SIZE_BYTES // 4 - Word.BLOCK_ERASES


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

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)
