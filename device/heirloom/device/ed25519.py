"""Ed25519 signature verification (RFC 8032, 5.1.7), as strict as it can be.

The verdict is OpenSSL's (without cofactor: [S]B = R + [k]A, compared as encoded), and what OpenSSL lets pass
but no honest signer produces is refused too: public keys in non-canonical encoding, and public keys and
R of small order.

Field elements are plain integers. On a microcontroller the number of operations counts more than their
kind; both scalars go through combs that share their doublings. A point is a tuple (x, y, z, t) in
extended coordinates (RFC 8032, 5.1.4); one that is going to be added often is *cached* as a tuple
(y + x, y - x, 2 d t, 2 z).
"""

from heirloom.device.comb import ROWS, MemoryTable, columns, const, inverse
from heirloom.device.sha512 import Sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from heirloom.device.protocols import Table, Update

    Point = tuple[int, int, int, int]

ROW_LENGTH = 96  # bytes: y + x, y - x and 2 d x y of an affine point, 32 bytes each, little-endian

_P = const((1 << 255) - 19)
_L = const((1 << 252) + 27742317777372353535851937790883648493)
_2D = const(16295367250680780974490674513165176452449235426866156013048779062215315747161)
_ROOT_OF_MINUS_ONE = const(19681161376707505956807079304988542015446066515923890162744021073123829784752)
# y of two points of order 8; of the two others it is the negative.
_Y_OF_ORDER_8 = const(2707385501144840649318225287225658788936804267575313519463743609750303402022)
_SPACING = const(51)  # columns of the comb: scalars below L, plus L where that makes them odd, have 254 bits
_KEY_ROW = const(16)  # after the comb's rows, a table has the key itself


def verify(public: bytes, signature: bytes, feed: "Callable[[Update], object]", table: "Optional[Table]" = None) -> bool:
    """Say whether the signature is the key's on the message.

    Args:
        public: the key, 32 bytes.
        signature: R and S, 64 bytes.
        feed: is called once, with a function that it calls with the message in pieces; not at all
            when the signature is refused for its form.
        table: what `make_table` wrote for this key; without it, making one costs 0.5 s on an RP2040.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= _L or not _acceptable(public) or not _acceptable(signature[:32]):
        return False
    try:
        rows = table if table else _memory_table(public)
    except ValueError:
        return False
    digest = Sha512()
    digest.update(signature[:32])
    digest.update(public)
    feed(digest.update)
    k = int.from_bytes(digest.digest(), "little") % _L
    return _encode(_combine(s, k, rows)) == signature[:32]


def make_table(public: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    point = _decode(public)
    buffer = bytearray(ROW_LENGTH * (ROWS + 1))
    _put(buffer, _KEY_ROW, point)
    steps = []  # twice each tooth but the last, cached
    total = (0, 1, 1, 0)
    for tooth in range(5):
        if tooth < 4:
            total = _add(total, _negative(_cache(point)))
            point = _double(point)
            steps.append(_cache(point))
            for _ in range(_SPACING - 1):
                point = _double(point)
    total = _add(total, _cache(point))
    # In the order of a Gray code, neighbouring rows differ in the sign of one tooth.
    row = 0
    _put(buffer, row, total)
    for i in range(1, ROWS):
        tooth = 0
        while not i >> tooth & 1:
            tooth += 1
        row ^= 1 << tooth
        step = steps[tooth]
        total = _add(total, step if row >> tooth & 1 else _negative(step))
        _put(buffer, row, total)
    _normalise(buffer)
    write(buffer)


def _memory_table(public: bytes) -> MemoryTable:
    pieces: "list[bytes]" = []
    make_table(public, pieces.append)
    return MemoryTable(pieces[0], ROW_LENGTH)


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
    x = u * v * v * v * pow(u * v * v * v * v * v * v * v % _P, (_P - 5) >> 3, _P) % _P
    check = v * x * x % _P
    if check != u:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if check != _P - u:
            raise ValueError("not a point of edwards25519")
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
    """RFC 8032, 5.1.4, with all signs turned so that fewer are needed."""
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
    f = (d - c) % p
    g = (d + c) % p
    return e * f % p, g * h % p, f * g % p, e * h % p


def _cache(point: "Point") -> "Point":
    x, y, z, t = point
    return y + x, y - x, t * _2D % _P, z + z


def _negative(cached: "Point") -> "Point":
    plus, minus, t2d, z2 = cached
    return minus, plus, -t2d, z2


def _put(buffer: bytearray, row: int, point: "Point") -> None:
    """Keep x, y, z of a point in a row, until `_normalise`."""
    for i in range(3):
        start = row * ROW_LENGTH + 32 * i
        buffer[start : start + 32] = point[i].to_bytes(32, "little")


def _normalise(buffer: bytearray) -> None:
    """Turn rows of x, y, z into rows as tables have them, with one inversion for all (Montgomery's trick)."""
    view = memoryview(buffer)
    prefix = bytearray(32 * (_KEY_ROW + 1))
    product = 1
    for row in range(_KEY_ROW + 1):
        prefix[32 * row : 32 * row + 32] = product.to_bytes(32, "little")
        product = product * int.from_bytes(view[96 * row + 64 : 96 * row + 96], "little") % _P
    rest = inverse(product, _P)
    for row in range(_KEY_ROW, -1, -1):
        here = view[ROW_LENGTH * row : ROW_LENGTH * row + ROW_LENGTH]
        z = rest * int.from_bytes(prefix[32 * row : 32 * row + 32], "little") % _P
        rest = rest * int.from_bytes(here[64:], "little") % _P
        x = z * int.from_bytes(here[:32], "little") % _P
        y = z * int.from_bytes(here[32:64], "little") % _P
        _put(buffer, row, ((y + x) % _P, (y - x) % _P, _2D * x * y % _P, 0))


def _row(table: "Table", index: int, buffer: bytearray) -> "Point":
    table.row(index, buffer)
    return (
        int.from_bytes(buffer[:32], "little"),
        int.from_bytes(buffer[32:64], "little"),
        int.from_bytes(buffer[64:], "little"),
        2,
    )


def _combine(s: int, k: int, table: "Table") -> "Point":
    """[s]B - [k]A."""
    from heirloom.device.comb_ed25519 import BASE

    base = MemoryTable(BASE, ROW_LENGTH)
    even = not k & 1
    # B has order L, so s may become odd by adding L; of A's order nothing is known.
    s_columns = columns(s if s & 1 else s + _L, _SPACING)
    k_columns = columns(k | 1, _SPACING)
    buffer = bytearray(ROW_LENGTH)
    total = (0, 1, 1, 0)
    for column in range(_SPACING - 1, -1, -1):
        total = _double(total)
        digit = s_columns[column]
        cached = _row(base, digit & 15, buffer)
        total = _add(total, cached if digit & 16 else _negative(cached))
        digit = k_columns[column]
        cached = _row(table, digit & 15, buffer)
        total = _add(total, _negative(cached) if digit & 16 else cached)
    if even:
        total = _add(total, _row(table, _KEY_ROW, buffer))
    return total
