# mypy: ignore-errors
"""A NOR flash under littlefs: erase sets a block to ones, a program operation only clears bits.

The flash and the control page are memory of the process, shared with the host (see page.py there). Everything that
touches them is viper code: it allocates nothing, no pending KeyboardInterrupt can strike inside it, and a power cut
ends the process at the exact byte.
"""

import micropython
from micropython import const

# Words of the control page; the host's Word has the same numbers.
_OPERATIONS = const(1)
_PROGRAMS = const(2)
_ERASES = const(3)
_READS = const(4)
_PROGRAMMED_BYTES = const(5)
_CUT_AT = const(6)
_CUT_KIND = const(7)
_CUT_FRACTION = const(8)
_VIOLATIONS = const(9)
_VIOLATION_ADDRESS = const(10)
_EXIT = const(16)
_TRACE_AT = const(21)
_TRACE_END = const(22)
_UNSTABLE_START = const(23)
_UNSTABLE_END = const(24)
_UNSTABLE_SEED = const(25)
_BLOCK_ERASES = const(64)
_UNSTABLE_MASK = const(16384)  # in bytes: behind the words

_EXIT_POWER_CUT = const(5)
_CUT_BEFORE = const(0)
_CUT_AFTER = const(1)

_PAGE_SIZE = const(256)
_EIO = const(5)
_EINVAL = const(22)


_page = 0  # address of the control page, set by the runner


@micropython.viper
def peek(word: int) -> int:
    """Reads a word of the control page. (`machine.mem32` of the unix port would open /dev/mem.)"""
    return int(ptr32(int(_page))[word])


@micropython.viper
def poke(word: int, value: int):
    """Writes a word of the control page."""
    ptr32(int(_page))[word] = value


@micropython.viper
def stop():
    """Ends the process here and now: the host made SIGSEGV mean `_exit`."""
    ptr8(0)[0] = 0


class Flash:
    """Block device with MicroPython's extended protocol. Addresses in bytes from the start of the file system.

    `base` is the address of the file system, `origin` where this device begins, from there (a partition of an ESP32).
    """

    def __init__(self, base, block_count, block_size, program_size, origin=0):
        self.base = base
        self.origin = origin
        self.block_count = block_count
        self.block_size = block_size
        self.program_size = program_size
        self.size = block_count * block_size

    @micropython.viper
    def readblocks(self, block: int, buffer, offset: int) -> int:
        start = block * int(self.block_size) + offset
        size = int(len(buffer))
        if start < 0 or start + size > int(self.size):
            return -_EINVAL
        source = ptr8(int(self.base) + int(self.origin) + start)
        target = ptr8(buffer)
        i = 0
        while i < size:
            target[i] = source[i]
            i += 1
        page = ptr32(int(_page))
        page[_READS] = page[_READS] + 1
        if page[_UNSTABLE_END]:
            self._flicker(int(self.origin) + start, int(target), size)
        return 0

    @micropython.viper
    def _flicker(self, start: int, target: int, size: int):
        """Cells that were being changed when the power failed, and were not erased since, read as they like."""
        page = ptr32(int(_page))
        first = page[_UNSTABLE_START]
        mask = ptr8(int(_page) + _UNSTABLE_MASK)
        buffer = ptr8(target)
        at = start if start > first else first
        end = start + size
        if end > page[_UNSTABLE_END]:
            end = page[_UNSTABLE_END]
        coin = page[_UNSTABLE_SEED]
        while at < end:
            coin = (coin * 75 + 74) % 65537
            buffer[at - start] = buffer[at - start] ^ (mask[at - first] & coin)
            at += 1
        page[_UNSTABLE_SEED] = coin

    @micropython.viper
    def writeblocks(self, block: int, buffer, offset: int) -> int:
        start = block * int(self.block_size) + offset
        size = int(len(buffer))
        unit = int(self.program_size)
        if start < 0 or start + size > int(self.size) or start % unit != 0 or size % unit != 0:
            return int(self._violation(start))
        start += int(self.origin)
        source = int(ptr8(buffer))
        done = 0
        while done < size:
            count = _PAGE_SIZE - (start + done) % _PAGE_SIZE
            if count > size - done:
                count = size - done
            result = int(self._program(start + done, source + done, count))
            if result != 0:
                return result
            done += count
        return 0

    @micropython.viper
    def _program(self, start: int, source: int, count: int) -> int:
        """Programs at most one page."""
        data = ptr8(source)
        cells = ptr8(int(self.base) + start)
        i = 0
        while i < count:
            if data[i] & (cells[i] ^ 255):
                return int(self._violation(start + i))
            i += 1
        page = ptr32(int(_page))
        if page[_TRACE_END]:
            self._trace(start, source, count)
        limit = int(self._begin(count))
        i = 0
        while i < limit:
            cells[i] = data[i]
            i += 1
        page[_PROGRAMS] = page[_PROGRAMS] + 1
        page[_PROGRAMMED_BYTES] = page[_PROGRAMMED_BYTES] + limit
        if page[_OPERATIONS] == page[_CUT_AT]:
            page[_EXIT] = _EXIT_POWER_CUT
            stop()
        return 0

    @micropython.viper
    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return int(self.block_count)
        if operation == 5:
            return int(self.block_size)
        if operation == 6:
            return int(self._erase(argument))
        return 0

    @micropython.viper
    def _erase(self, block: int) -> int:
        size = int(self.block_size)
        if block < 0 or block >= int(self.block_count):
            return int(self._violation(block * size))
        start = int(self.origin) + block * size
        cells = ptr8(int(self.base) + start)
        page = ptr32(int(_page))
        if page[_TRACE_END]:
            self._trace(start, 0, 0)
        limit = int(self._begin(size))
        i = 0
        while i < limit:
            cells[i] = 255
            i += 1
        page[_ERASES] = page[_ERASES] + 1
        if limit == size and start <= page[_UNSTABLE_START] and page[_UNSTABLE_START] < start + size:
            page[_UNSTABLE_END] = 0
        if int(self.origin) == 0:
            page[_BLOCK_ERASES + block] = page[_BLOCK_ERASES + block] + 1
        if page[_OPERATIONS] == page[_CUT_AT]:
            page[_EXIT] = _EXIT_POWER_CUT
            stop()
        return 0

    @micropython.viper
    def _trace(self, start: int, source: int, count: int):
        """Appends the address, the number of bytes (0: an erase) and the bytes to the record behind the page."""
        page = ptr32(int(_page))
        at = page[_TRACE_AT]
        after = at + 8 + ((count + 3) & -4)
        page[_TRACE_AT] = after  # beyond the end, too: the host sees what did not fit
        if after > page[_TRACE_END]:
            return
        words = ptr32(int(_page) + at)
        words[0] = start
        words[1] = count
        bytes_ = ptr8(int(_page) + at + 8)
        data = ptr8(source)
        i = 0
        while i < count:
            bytes_[i] = data[i]
            i += 1

    @micropython.viper
    def _begin(self, size: int) -> int:
        """Counts one operation on `size` bytes. Returns how many of them it still reaches."""
        page = ptr32(int(_page))
        page[_OPERATIONS] = page[_OPERATIONS] + 1
        if page[_OPERATIONS] != page[_CUT_AT] or page[_CUT_KIND] == _CUT_AFTER:
            return size
        if page[_CUT_KIND] == _CUT_BEFORE:
            page[_EXIT] = _EXIT_POWER_CUT
            stop()
        return size * page[_CUT_FRACTION] >> 8

    @micropython.viper
    def _violation(self, address: int) -> int:
        page = ptr32(int(_page))
        page[_VIOLATIONS] = page[_VIOLATIONS] + 1
        page[_VIOLATION_ADDRESS] = address
        return -_EIO
