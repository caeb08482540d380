"""Fixed-base combs: how known points are multiplied with few operations (Hamburg 2012, 3.3: signed combs).

A scalar of teeth * spacing bits is read as so many rows of bits, one above the other; each column of bits picks
one precomputed sum of the teeth P, 2^spacing P, 2^(2 * spacing) P and so on. Bits stand for +1 and
-1 instead of 1 and 0: so a table has 2^(teeth - 1) rows only, and every column picks one.

Tables are rows of bytes, made by `make_table` of the curve's module; a last row holds the point itself. Tables may be
kept on flash, with a hash that is checked when the table is opened: the verifiers see whether a table is of the right
key, but take the other rows as they are.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Union

    from heirloom.device.protocols import Buffer, Update

try:
    from micropython import const
except ImportError:  # CPython

    def const(value: int) -> int:  # type: ignore[misc, unused-ignore]
        """Return the value. To MicroPython's compiler it means more."""
        return value


__all__ = ("MemoryTable", "columns", "const", "inverse", "memory_table")


def columns(scalar: int, teeth: int, spacing: int, negate: bool = False) -> bytes:
    """Recode an odd scalar below 2^(teeth * spacing), highest column first.

    A column is a row number, and the bit above it is set when that row is to be added and not subtracted. Row r of
    a table is the sum of all teeth, the last one positive, any other tooth i positive when bit i of r is set.
    """
    ones = (1 << spacing) - 1
    rest = scalar + (1 << teeth * spacing) >> 1  # its bits stand for +1 and -1
    last = rest >> (teeth - 1) * spacing
    flips = last ^ ones  # where the last tooth is negative, all of them change their signs
    binary = "{:0%db}" % spacing
    # In binary a number has a byte for each bit, so the columns of all teeth add up in one integer.
    total = int.from_bytes(binary.format(flips if negate else last).encode(), "big") << teeth - 1
    for tooth in range(teeth - 1):
        total += int.from_bytes(binary.format(rest & ones ^ flips).encode(), "big") << tooth
        rest >>= spacing
    zeros = int.from_bytes(b"0" * spacing, "big") * ((1 << teeth) - 1)
    return (total - zeros).to_bytes(spacing, "big")


def inverse(value: int, modulus: int) -> int:
    """The inverse of a number prime to the modulus, by the extended Euclidean algorithm."""
    a, b, u, v = modulus, value % modulus, 0, 1
    while b > 1:
        q, r = divmod(a, b)
        a, b, u, v = b, r, v, u - q * v
    return v % modulus


def memory_table(make: "Callable[[bytes, Update], object]", key: bytes, length: int) -> "MemoryTable":
    """The table of a key in memory. make: a `make_table`. In one piece at once: growing, it would need room for two."""
    data = bytearray(length)
    at = 0

    def write(row: "Buffer") -> None:
        nonlocal at
        data[at : at + len(row)] = row
        at += len(row)

    make(key, write)
    return MemoryTable(data)


class MemoryTable:
    """A table in memory, all rows in one piece."""

    def __init__(self, data: "Buffer") -> None:
        self._data = memoryview(data)

    def row(self, index: int, buffer: "Union[bytearray, memoryview]") -> None:
        """Copy row `index` into the buffer, which is as long as a row."""
        length = len(buffer)
        buffer[:] = self._data[index * length : index * length + length]
