"""Sums of points of edwards25519 with plain integers, where there is no viper.

A point is a tuple (e, f, g, h): its extended coordinates (RFC 8032, 5.1.4) are x = e f, y = g h, z = f g, t = e h,
and t is not always needed. One that is going to be added is *cached* as a tuple (y + x, y - x, 2 d t, 2 z).

Products are brought to 262 bits at most by folding once what is above bit 255, which takes half the time of a division;
the products of such numbers are then divided.
"""

from heirloom.device.comb import const, inverse
from heirloom.device.ed25519 import ROW_LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.protocols import Table

    Point = tuple[int, int, int, int]

_P = const((1 << 255) - 19)
_LOW = const((1 << 256) - 1)  # 2^256 is 38 modulo p
NOTHING = (0, 1, 1, 1)


def double(point: "Point") -> "Point":
    """RFC 8032, 5.1.4, with all signs turned so that fewer operations are needed."""
    e, f, g, h = point
    p = _P
    low = _LOW
    x = e * f % p
    y = g * h % p
    z = f * g % p
    a = x * x
    b = y * y
    e = (x + x) * y
    g = b - a
    h = b + a
    f = 2 * z * z - g
    return (
        (e & low) + (e >> 256) * 38,
        (f & low) + (f >> 256) * 38,
        (g & low) + (g >> 256) * 38,
        (h & low) + (h >> 256) * 38,
    )


def add(point: "Point", cached: "Point") -> "Point":
    """RFC 8032, 5.1.4; complete, so it holds for any two points."""
    e, f, g, h = point
    plus, minus, t2d, z2 = cached
    p = _P
    low = _LOW
    x = e * f % p
    y = g * h % p
    a = (y - x) * minus
    b = (y + x) * plus
    c = e * h % p * t2d
    c = (c & low) + (c >> 256) * 38
    d = f * g % p * z2
    e = b - a
    h = b + a
    return (e & low) + (e >> 256) * 38, d - c, d + c, (h & low) + (h >> 256) * 38


def negative(cached: "Point") -> "Point":
    """The opposite of a cached point."""
    plus, minus, t2d, z2 = cached
    return minus, plus, -t2d, z2


class Sum:
    """A point to which rows of tables are added; at first the neutral one."""

    def __init__(self) -> None:
        self._total = NOTHING
        self._row = bytearray(ROW_LENGTH)

    def double(self) -> None:
        """Doubles it."""
        self._total = double(self._total)

    def add(self, table: "Table", index: int, positive: bool) -> None:
        """Adds a row of a table, or its opposite."""
        table.row(index, self._row)
        plus, minus, t2d = [int.from_bytes(self._row[i : i + 32], "little") for i in (0, 32, 64)]
        cached = (plus, minus, t2d, 2)
        self._total = add(self._total, cached if positive else negative(cached))

    def affine(self) -> "tuple[int, int]":
        """Its affine coordinates."""
        e, f, g, h = self._total
        z = f * g % _P
        # A damaged table may lead to z = 0, where edwards_registers gives 0 too.
        scale = inverse(z, _P) if z else 0
        return e * f * scale % _P, g * h * scale % _P
