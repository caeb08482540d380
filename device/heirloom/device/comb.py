"""Fixed-base combs: how a known point is multiplied with few additions (Hamburg 2012, 3.3: signed combs).

A scalar of 5 * spacing bits is read as five rows of bits, one above the other; each column of five
bits picks one precomputed sum of the five teeth P, 2^spacing P, ..., 2^(4 * spacing) P. Bits stand for +1 and
-1 instead of 1 and 0: so a table has 16 rows only, and every column picks one.

Tables are bytes, made by `make_table` of the curve's module. They may be kept on flash: `seal` adds a hash, and
`SealedTable.intact` checks it. The verifiers take rows as they are, so check a table once whenever it is opened.
"""

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.protocols import Buffer, Stream, Table, Update

try:
    from micropython import const
except ImportError:  # CPython

    def const(value: int) -> int:  # type: ignore[misc]
        """What it is for the compiler of MicroPython: nothing."""
        return value


TEETH = 5
ROWS = 16


def columns(scalar: int, spacing: int) -> bytearray:
    """Recode an odd scalar below 2^(5 * spacing) for the comb, lowest column first.

    A column is a row number, 0 to 15, with 16 added when that row is to be added and not subtracted. Row r of
    a table is the sum of the five teeth, the last one positive, tooth i < 4 positive when bit i of r is set.
    """
    length = TEETH * spacing
    bits = (scalar + (1 << length) >> 1).to_bytes((length + 7) >> 3, "little")
    out = bytearray(spacing)
    position = 0
    for tooth in range(TEETH):
        for column in range(spacing):
            if bits[position >> 3] >> (position & 7) & 1:
                out[column] |= 1 << tooth
            position += 1
    for column in range(spacing):
        if out[column] < ROWS:
            out[column] = ROWS - 1 - out[column]
    return out


def inverse(value: int, modulus: int) -> int:
    """The inverse of a number prime to the modulus, by the extended Euclidean algorithm."""
    a, b, u, v = modulus, value % modulus, 0, 1
    while b > 1:
        q, r = divmod(a, b)
        a, b, u, v = b, r, v, u - q * v
    return v % modulus


class MemoryTable:
    """A table in memory."""

    def __init__(self, data: "Buffer", row_length: int) -> None:
        self._rows = memoryview(data)
        self._row_length = row_length

    def row(self, index: int, buffer: bytearray) -> None:
        """Copy row `index` into the buffer, which is as long as a row."""
        start = index * self._row_length
        buffer[:] = self._rows[start : start + self._row_length]
