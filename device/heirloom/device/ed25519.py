"""Ed25519 signature verification (RFC 8032, 5.1.7), as strict as it can be.

The verdict is OpenSSL's (without cofactor: [S]B = R + [k]A, compared as encoded), and what OpenSSL lets pass
but no honest signer produces is refused too: public keys in non-canonical encoding, and public keys and
R of small order.

Field elements are plain integers. On a microcontroller the number of operations counts more than their
kind; both scalars go through combs that share their doublings. A point is a tuple (x, y, z, t) in
extended coordinates (RFC 8032, 5.1.4); one that is going to be added often is *cached* as a tuple
(y + x, y - x, 2 d t, 2 z).
"""

from heirloom.device.comb import ROWS, MemoryTable, columns, const, inverse, invert_all, sums
from heirloom.device.sha512 import Sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from heirloom.device.protocols import Buffer, Table, Update

    Point = tuple[int, int, int, int]

ROW_LENGTH = 96  # bytes: y + x, y - x and 2 d x y of an affine point, 32 bytes each, big-endian

_P = const((1 << 255) - 19)
_L = const((1 << 252) + 27742317777372353535851937790883648493)
_2D = const(16295367250680780974490674513165176452449235426866156013048779062215315747161)
_HALF = const((1 << 254) - 9)
_ROOT_OF_MINUS_ONE = const(19681161376707505956807079304988542015446066515923890162744021073123829784752)
# y of two points of order 8; of the other two it is the negative.
_Y_OF_ORDER_8 = const(2707385501144840649318225287225658788936804267575313519463743609750303402022)
_SPACING = const(51)  # columns of the comb: scalars below L, plus L where that makes them odd, have 254 bits
_KEY_ROW = const(16)
_KEY_DIGIT = const(48)  # a column that no comb has: picks the key's row, positive


def verify(public: bytes, signature: bytes, feed: "Callable[[Update], object]", table: "Optional[Table]" = None) -> bool:
    """Say whether the signature is the key's on the message.

    Args:
        public: the key, 32 bytes.
        signature: R and S, 64 bytes.
        feed: is called once, with a function that it calls with the message in pieces; not at all
            when the signature is refused for its form.
        table: what `make_table` wrote for this key; without it, making one costs 0.5 s on an RP2040.
            With the table of another key, or a damaged one, every signature is refused.
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
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    key = _decode(public)
    table = bytearray(ROW_LENGTH * (ROWS + 1))
    scales = bytearray(32 * (ROWS + 1))
    _put(table, _KEY_ROW, 0, key[0])
    _put(table, _KEY_ROW, 1, key[1])
    scales[32 * _KEY_ROW :] = (1).to_bytes(32, "big")
    for row, (x, y, z, _) in sums(key, (0, 1, 1, 0), _SPACING, _double, _cache, _negative, _add):
        _put(table, row, 0, x)
        _put(table, row, 1, y)
        scales[32 * row : 32 * row + 32] = z.to_bytes(32, "big")
    invert_all(scales, _P)
    for row in range(ROWS + 1):
        scale = int.from_bytes(scales[32 * row : 32 * row + 32], "big")
        x = _get(table, row, 0) * scale % _P
        y = _get(table, row, 1) * scale % _P
        _put(table, row, 0, (y + x) % _P)
        _put(table, row, 1, (y - x) % _P)
        _put(table, row, 2, _2D * x * y % _P)
    write(table)


def _put(table: bytearray, row: int, column: int, number: int) -> None:
    start = row * ROW_LENGTH + 32 * column
    table[start : start + 32] = number.to_bytes(32, "big")


def _get(table: bytearray, row: int, column: int) -> int:
    start = row * ROW_LENGTH + 32 * column
    return int.from_bytes(table[start : start + 32], "big")


def _memory_table(public: bytes) -> MemoryTable:
    pieces: "list[Buffer]" = []
    make_table(public, pieces.append)
    return MemoryTable(pieces[0], ROW_LENGTH)


def _checked(table: "Table", public: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    plus, minus, _, _ = _load(table, _KEY_DIGIT, bytearray(ROW_LENGTH))
    x = (plus - minus) * _HALF % _P
    y = (plus + minus) * _HALF % _P
    if (y | (x & 1) << 255).to_bytes(32, "little") != public:
        raise ValueError("the table is of another key")
    return table


def _acceptable(encoded: bytes) -> bool:
    """Whether y is canonical (RFC 8032, 5.1.3, 1) and no point with it has small order."""
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    return 1 < y < _P - 1 and y != _Y_OF_ORDER_8 and y != _P - _Y_OF_ORDER_8


def _decode(encoded: bytes) -> "Point":
    """Decompress a point (RFC 8032, 5.1.3). Raises ValueError when there is none."""
    y = int.from_bytes(encoded, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    u = 2 * (y * y - 1) % _P
    v = (_2D * y * y + 2) % _P
    v3 = v * v * v % _P
    x = u * v3 * pow(u * v3 * v3 * v % _P, (_P - 5) >> 3, _P) % _P
    check = v * x * x % _P
    if check != u:
        if check != _P - u:
            raise ValueError("not a point of edwards25519")
        x = x * _ROOT_OF_MINUS_ONE % _P
    if len(encoded) != 32 or y >= _P or (sign and not x):
        raise ValueError("not a canonical point")
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode(point: "Point") -> bytes:
    """Compress a point (RFC 8032, 5.1.2)."""
    x, y, z, _ = point
    z = inverse(z, _P)
    return (y * z % _P | (x * z % _P & 1) << 255).to_bytes(32, "little")


def _double(point: "Point") -> "Point":
    """RFC 8032, 5.1.4, with all signs turned so that fewer operations are needed."""
    x, y, z, _ = point
    p = _P
    a = x * x
    b = y * y
    e = (x + x) * y % p
    g = (b - a) % p
    h = (b + a) % p
    f = (2 * z * z - g) % p
    return e * f % p, g * h % p, f * g % p, e * h % p


def _add(point: "Point", cached: "Point") -> "Point":
    """RFC 8032, 5.1.4; complete, so it holds for any two points."""
    x, y, z, t = point
    plus, minus, t2d, z2 = cached
    p = _P
    a = (y - x) * minus
    b = (y + x) * plus
    c = t * t2d % p
    d = z * z2
    e = (b - a) % p
    h = (b + a) % p
    f = d - c
    g = d + c
    return e * f % p, g * h % p, f * g % p, e * h % p


def _cache(point: "Point") -> "Point":
    x, y, z, t = point
    return y + x, y - x, t * _2D % _P, z + z


def _negative(cached: "Point") -> "Point":
    plus, minus, t2d, z2 = cached
    return minus, plus, -t2d, z2


def _load(table: "Table", digit: int, buffer: bytearray) -> "Point":
    """The row that a column of the comb picks, cached, with its sign."""
    table.row(digit & 15 if digit < 32 else 16, buffer)
    plus = int.from_bytes(buffer[:32], "big")
    minus = int.from_bytes(buffer[32:64], "big")
    t2d = int.from_bytes(buffer[64:], "big")
    return (plus, minus, t2d, 2) if digit & 16 else (minus, plus, -t2d, 2)


def _combine(s: int, k: int, table: "Table") -> "Point":
    """[s]B - [k]A."""
    from heirloom.device.comb_ed25519 import BASE

    base = MemoryTable(BASE, ROW_LENGTH)
    # B has order L, so s may become odd by adding L. Of A's order nothing is known.
    s_columns = columns(s if s & 1 else s + _L, _SPACING)
    k_columns = columns(k | 1, _SPACING, 16)
    buffer = bytearray(ROW_LENGTH)
    total = (0, 1, 1, 0)
    for column in range(_SPACING - 1, -1, -1):
        total = _double(total)
        total = _add(total, _load(base, s_columns[column], buffer))
        total = _add(total, _load(table, k_columns[column], buffer))
    return total if k & 1 else _add(total, _load(table, _KEY_DIGIT, buffer))
