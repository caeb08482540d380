"""Makes a new file of an old one and a patch: streams only, no file system of its own.

A patch is what detools writes as *sequential* with compression *none*, inside raw deflate with a window of 1 KiB
(docs/patches.md). It is decoded before anybody knows whether the result has the hash that was signed, so nothing in it
is believed: every number has at most 31 bits, every round but a few brings the result nearer to the length that the
caller was told, and nothing outside the old file is read.

Buffers are made once; nothing is allocated for a full chunk. Pure, but for MicroPython's module deflate.
"""

from heirloom.device import compat as micropython
from heirloom.device.compat import const, ptr8
from heirloom.device.errors import E_FORMAT, E_LENGTH, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional, Protocol, Union

    Target = Union[bytearray, memoryview]
    Bytes = Union[bytes, bytearray, memoryview]

    class Input(Protocol):
        """Bytes in their order; fewer than asked for only where there are no more."""

        def readinto(self, __buffer: Target) -> Optional[int]:  # noqa: PYI063 - MicroPython has no "/"
            """Fills the buffer."""

    class Source(Input, Protocol):
        """The old file, read at random."""

        def seek(self, __offset: int) -> object:  # noqa: PYI063 - MicroPython has no "/"
            """Moves to a byte."""

    class Sink(Protocol):
        """Where the new file goes. What it raises goes through."""

        def write(self, __data: Bytes) -> object:  # noqa: PYI063 - MicroPython has no "/"
            """Takes all of it."""


ALGORITHM = "detools-deflate"
WINDOW_BITS = const(10)
_CHUNK_BYTES = const(1024)
_NUMBER_BYTES = const(5)  # 6 + 4 * 7 bits
_MAX_NUMBER = const(0x7FFFFFFF)
_MAX_EMPTY = const(1000)
_SEQUENTIAL = const(0)  # and compression none


def apply(patch: "Input", source: "Source", sink: "Sink", length: int = -1) -> int:
    """Writes the new file to the sink; returns its length in bytes.

    Args:
        patch: The whole patch, as it came. On MicroPython a stream of its own: a file, or a subclass of io.IOBase.
        source: The old file. Its length need not be known: what a patch wants behind its end is refused.
        sink: Gets the new file in pieces of at most 1 KiB.
        length: Of the new file, as signed; -1 when the sink itself refuses what is too much.

    Raises UpdateError: E_FORMAT for what is no such patch or asks for what the old file does not have, E_LENGTH for a
    result of another length. What source and sink raise goes through. Whether the result is right, only its hash says.
    """
    import deflate

    return Patcher(deflate.DeflateIO(patch, deflate.RAW, WINDOW_BITS), source, sink).run(length)


class Patcher:
    """One run over an inflated patch, with two buffers for all its work."""

    def __init__(self, inflated: "Input", source: "Source", sink: "Sink") -> None:
        self._inflated = inflated
        self._source = source
        self._sink = sink
        self._piece = bytearray(_CHUNK_BYTES)
        self._old = bytearray(_CHUNK_BYTES)
        self._byte = bytearray(1)

    def run(self, length: int) -> int:
        """See apply()."""
        if self._next() != _SEQUENTIAL:
            raise _bad("is of an unknown kind")
        total = left = self._size()
        if length not in (-1, total):
            raise UpdateError(E_LENGTH, f"the patch makes {total} bytes, {length} are signed")
        if total and self._number():
            raise _bad("has a data format")
        at = empty = 0
        while left:
            changed = self._part(left)
            self._copy(changed, at)
            left, at = left - changed, at + changed
            fresh = self._part(left)
            self._copy(fresh, -1)
            left -= fresh
            if not changed and not fresh:
                empty += 1  # detools makes such rounds now and then: 60 of 19,000 between firmware images
                if empty > _MAX_EMPTY:
                    raise _bad("makes no progress")
            at += self._number()
            if left and not 0 <= at <= _MAX_NUMBER:
                raise _bad("reads outside the old file")
        if self._read(self._byte):
            raise UpdateError(E_LENGTH, "the patch goes on behind its end")
        return total

    def _part(self, left: int) -> int:
        """How long the next part of the new file is, of which so many bytes are left."""
        size = self._size()
        if size > left:
            raise UpdateError(E_LENGTH, f"the patch makes {size - left} bytes too many")
        return size

    def _copy(self, left: int, at: int) -> None:
        """The next bytes of the patch, added to those of the old file from `at` on, or as they are when that is -1."""
        if at >= 0 and left:
            try:
                self._source.seek(at)
            except (OSError, ValueError):
                raise _bad("reads outside the old file") from None
        while left:
            # One by one: a device's compiler makes a tuple of two.
            piece: "Target" = self._piece
            old: "Target" = self._old
            if left < _CHUNK_BYTES:  # a view allocates, so only here
                piece = memoryview(piece)[:left]
                old = memoryview(old)[:left]
            if self._read(piece) != len(piece):
                raise _bad("ends too early")
            if at >= 0:
                if self._source.readinto(old) != len(old):
                    raise _bad("reads outside the old file")
                _add(piece, old, len(piece))
            self._sink.write(piece)
            left -= len(piece)

    def _read(self, buffer: "Target") -> int:
        try:
            return self._inflated.readinto(buffer) or 0
        except (OSError, EOFError, ValueError):
            raise _bad("cannot be inflated") from None

    def _next(self) -> int:
        if not self._read(self._byte):
            raise _bad("ends too early")
        return self._byte[0]

    def _size(self) -> int:
        number = self._number()
        if number < 0:
            raise _bad("has a negative length")
        return number

    def _number(self) -> int:
        """A signed number: bit 6 of the first byte is its sign, bit 7 of each says that another byte follows."""
        byte = self._next()
        negative = byte & 0x40
        number, shift = byte & 0x3F, 6
        while byte & 0x80:
            byte = self._next()
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 6 + 7 * (_NUMBER_BYTES - 1) or number > _MAX_NUMBER:
                raise _bad("has too large a number")
        return -number if negative else number


def _bad(why: str) -> UpdateError:
    return UpdateError(E_FORMAT, "the patch " + why)


@micropython.viper
def _add(piece: ptr8, old: ptr8, count: int):  # type: ignore[no-untyped-def]
    """Adds the old bytes to those of the patch, each modulo 256."""
    for index in range(count):
        piece[index] = (piece[index] + old[index]) & 255
