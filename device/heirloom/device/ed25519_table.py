"""Comb tables of Ed25519 keys; see comb.py. Points are as in ed25519.py."""

from heirloom.device.comb import const
from heirloom.device.comb_build import get, invert_all, put, sums
from heirloom.device.ed25519 import KEY_ROW, NOTHING, ROW_LENGTH, SPACING, TEETH, add, double, negative

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.ed25519 import Point
    from heirloom.device.protocols import Update

_P = const((1 << 255) - 19)
_2D = const(16295367250680780974490674513165176452449235426866156013048779062215315747161)
_ROOT_OF_MINUS_ONE = const(19681161376707505956807079304988542015446066515923890162744021073123829784752)


def make(public: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes, one by one; each may be kept.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    x, y = _decode(public)
    rows = [bytearray(ROW_LENGTH) for _ in range(KEY_ROW + 1)]
    _put(rows[KEY_ROW], x, y, 1)
    for row, (e, f, g, h) in sums((x, 1, 1, y), NOTHING, TEETH, SPACING, double, _cache, negative, add):
        _put(rows[row], e * f % _P, g * h % _P, f * g % _P)
    invert_all(rows, 2, _P)
    for done in rows:
        scale = get(done, 2)
        x = get(done, 0) * scale % _P
        y = get(done, 1) * scale % _P
        _put(done, (y + x) % _P, (y - x) % _P, _2D * x * y % _P)
        write(done)


def _put(row: bytearray, first: int, second: int, third: int) -> None:
    put(row, 0, first)
    put(row, 1, second)
    put(row, 2, third)


def _decode(encoded: bytes) -> "tuple[int, int]":
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
    return x, y


def _cache(point: "Point") -> "Point":
    e, f, g, h = point
    x = e * f % _P
    y = g * h % _P
    return y + x, y - x, e * h % _P * _2D % _P, 2 * f * g % _P
