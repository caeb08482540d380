"""Comb tables of P-256 keys; see comb.py. Points are as in p256.py."""

from heirloom.device.comb import const, inverse
from heirloom.device.comb_build import get, invert_all, put
from heirloom.device.p256 import KEY_ROW, ROW_LENGTH, SPACING, TEETH, add, double, finite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from heirloom.device.p256 import Affine, Point
    from heirloom.device.protocols import Update

# SP 800-186, 3.2.1.3
_P = const((1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1)
_B = const(0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B)


def make(point: bytes, write: "Update") -> None:
    """Write the comb table of a key: 33 rows of ROW_LENGTH bytes, one by one; each may be kept.

    Raises ValueError when the key is not the uncompressed encoding of a point of the curve.
    """
    x, y = _decode(point)
    rows = [bytearray(ROW_LENGTH) for _ in range(KEY_ROW)]
    scales = [bytearray(32) for _ in range(KEY_ROW)]
    for row, total in _sums((x, y, 1, 1)):
        x, y, zz, zzz = finite(total)
        # 1 / zzz gives both: 1 / zz = zz^2 / zzz^2.
        _put(rows[row], x * zz % _P * zz % _P, y)
        put(scales[row], 0, zzz)
    invert_all(scales, 0, _P)
    for row in range(KEY_ROW):
        scale = get(scales[row], 0)
        _put(rows[row], get(rows[row], 0) * scale % _P * scale % _P, get(rows[row], 1) * scale % _P)
        write(rows[row])
    write(point[1:])


def _sums(point: "Point") -> "Iterator[tuple[int, Point]]":
    """Compute the rows of a table: pairs of a row number and a point, each row once, in no useful order."""
    total: "Point" = None
    steps = []  # twice each tooth but the last
    for _ in range(TEETH - 1):
        total = add(total, _negative(_affine(point)))
        point = double(point)
        steps.append(_affine(point))
        for _ in range(SPACING - 1):
            point = double(point)
    total = add(total, _affine(point))
    yield 0, total
    row = 0
    # In the order of a Gray code, each row differs from the one before in the sign of one tooth.
    for i in range(1, 1 << TEETH - 1):
        tooth = 0
        while not i >> tooth & 1:
            tooth += 1
        row ^= 1 << tooth
        total = add(total, steps[tooth] if row >> tooth & 1 else _negative(steps[tooth]))
        yield row, total


def _put(row: bytearray, x: int, y: int) -> None:
    put(row, 0, x)
    put(row, 1, y)


def _decode(point: bytes) -> "Affine":
    """SEC 1, 2.3.4 and 3.2.2.1; the curve has cofactor 1. Raises ValueError."""
    if len(point) != 65 or point[0] != 4:
        raise ValueError("not an uncompressed point")
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= _P or y >= _P or (y * y - (x * x - 3) * x - _B) % _P:
        raise ValueError("not a point of P-256")
    return x, y


def _affine(point: "Point") -> "Affine":
    x, y, zz, zzz = finite(point)
    scale = inverse(zzz, _P)
    y = y * scale % _P
    scale = scale * zz % _P
    return x * scale % _P * scale % _P, y


def _negative(point: "Affine") -> "Affine":
    return point[0], -point[1]
