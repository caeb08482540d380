"""Ed25519 signature verification (RFC 8032, 5.1.7), as strict as it can be.

The verdict is OpenSSL's (without cofactor: [S]B = R + [k]A, compared as encoded), and what OpenSSL lets pass
but no honest signer produces is refused too: public keys in non-canonical encoding, and public keys and
R of small order.

Field elements are plain integers. On a microcontroller the number of operations counts more than their
kind; both scalars go through combs that share their doublings. A point is a tuple (e, f, g, h): its extended
coordinates (RFC 8032, 5.1.4) are x = e f, y = g h, z = f g, t = e h, and t is not always needed. One that
is going to be added is *cached* as a tuple (y + x, y - x, 2 d t, 2 z).
"""

from heirloom.device.comb import MemoryTable, columns, const, inverse
from heirloom.device.sha512 import Sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from heirloom.device.protocols import Buffer, Table, Update

    Point = tuple[int, int, int, int]

ROW_LENGTH = 96  # bytes: y + x, y - x and 2 d x y of an affine point, 32 bytes each, big-endian

TEETH = 5
SPACING = 51  # columns of the comb: scalars below L, plus L where that makes them odd, have 254 bits
KEY_ROW = 16

_P = const((1 << 255) - 19)
_L = const((1 << 252) + 27742317777372353535851937790883648493)
_HALF = const((1 << 254) - 9)
# y of two points of order 8; of the other two it is the negative.
_Y_OF_ORDER_8 = const(2707385501144840649318225287225658788936804267575313519463743609750303402022)
_LOW = const((1 << 256) - 1)  # 2^256 is 38 modulo p
NOTHING = (0, 1, 1, 1)


def verify(
    public: bytes, signature: bytes, feed: "Callable[[Update], object]", table: "Optional[Table]" = None
) -> bool:
    """Say whether the signature is the key's on the message.

    Args:
        public: the key, 32 bytes.
        signature: R and S, 64 bytes.
        feed: is called once, with a function that it calls with the message in pieces; not at all
            when the signature is refused for its form.
        table: what `make_table` wrote for this key; without it, making one costs 0.55 s on an RP2040.
            With the table of another key every signature is refused.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    r = signature[:32]
    s = int.from_bytes(signature[32:], "little")
    if s >= _L or not _acceptable(public) or not _acceptable(r):
        return False
    digest = Sha512()
    digest.update(r)
    digest.update(public)
    feed(digest.update)
    k = int.from_bytes(digest.digest(), "little") % _L
    del digest
    try:
        rows = _checked(table, public) if table else _memory_table(public)
    except ValueError:
        return False
    return _encode(_combine(s, k, rows)) == r


def make_table(public: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes, one by one; each may be kept.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    from heirloom.device import ed25519_table

    ed25519_table.make(public, write)


def _memory_table(public: bytes) -> MemoryTable:
    rows: "list[Buffer]" = []
    make_table(public, rows.append)
    return MemoryTable(rows)


def _checked(table: "Table", public: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    plus, minus, _, _ = _load(table, KEY_ROW, _buffers())
    x = (plus - minus) * _HALF % _P
    y = (plus + minus) * _HALF % _P
    if (y | (x & 1) << 255).to_bytes(32, "little") != public:
        raise ValueError("the table is of another key")
    return table


def _acceptable(encoded: bytes) -> bool:
    """Whether y is canonical (RFC 8032, 5.1.3, 1) and no point with it has small order."""
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    return 1 < y < _P - 1 and y != _Y_OF_ORDER_8 and y != _P - _Y_OF_ORDER_8


def _encode(point: "Point") -> bytes:
    """Compress a point (RFC 8032, 5.1.2)."""
    e, f, g, h = point
    z = inverse(f * g, _P)
    return (g * h * z % _P | (e * f * z % _P & 1) << 255).to_bytes(32, "little")


# Below, products are brought to 262 bits at most by folding once what is above bit 255, which takes half the
# time of a division; the products of such numbers are then divided.


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


def _buffers() -> "tuple[bytearray, memoryview, memoryview, memoryview]":
    """Space for a row, whole and in its three parts."""
    buffer = bytearray(ROW_LENGTH)
    view = memoryview(buffer)
    return buffer, view[:32], view[32:64], view[64:]


def _load(table: "Table", row: int, buffers: "tuple[bytearray, memoryview, memoryview, memoryview]") -> "Point":
    """A row of a table, cached."""
    buffer, plus, minus, t2d = buffers
    table.row(row, buffer)
    return int.from_bytes(plus, "big"), int.from_bytes(minus, "big"), int.from_bytes(t2d, "big"), 2


def _combine(s: int, k: int, table: "Table") -> "Point":
    """[s]B - [k]A."""
    from heirloom.device.comb_ed25519 import BASE

    # B has order L, so s may become odd by adding L. Of A's order nothing is known: an even k is taken one
    # too high, and A added in the end.
    s_columns = columns(s if s & 1 else s + _L, TEETH, SPACING)
    k_columns = columns(k | 1, TEETH, SPACING, True)
    pairs = ((s_columns, MemoryTable(BASE)), (k_columns, table))
    buffers = _buffers()
    total = NOTHING
    for i in range(SPACING):
        total = double(total)
        for digits, rows in pairs:
            digit = digits[i]
            cached = _load(rows, digit & 15, buffers)
            total = add(total, cached if digit & 16 else negative(cached))
    return total if k & 1 else add(total, _load(table, KEY_ROW, buffers))
