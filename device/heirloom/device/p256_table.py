"""Comb tables of P-256 keys; see comb.py. Points are as in p256.py."""

from heirloom.device.comb import const, inverse
from heirloom.device.comb_build import invert_all, sums
from heirloom.device.p256 import KEY_ROW, ROW_LENGTH, SPACING, TEETH, add, double, finite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.p256 import Affine, Point

# SP 800-186, 3.2.1.3
_P = const((1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1)
_B = const(0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B)


def make(point: bytes) -> bytearray:
    """Return the comb table of a key: 33 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the uncompressed encoding of a point of the curve.
    """
    x, y = _decode(point)
    table = bytearray(ROW_LENGTH * (KEY_ROW + 1))
    scales = bytearray(32 * KEY_ROW)
    for row, total in sums((x, y, 1, 1), None, TEETH, SPACING, double, _affine, _negative, add):
        x, y, zz, zzz = finite(total)
        # 1 / zzz gives both: 1 / zz = zz^2 / zzz^2.
        _put(table, row, x * zz % _P * zz % _P, y)
        scales[32 * row : 32 * row + 32] = zzz.to_bytes(32, "big")
    invert_all(scales, _P)
    for row in range(KEY_ROW):
        scale = int.from_bytes(scales[32 * row : 32 * row + 32], "big")
        start = ROW_LENGTH * row
        x = int.from_bytes(table[start : start + 32], "big")
        y = int.from_bytes(table[start + 32 : start + 64], "big")
        _put(table, row, x * scale % _P * scale % _P, y * scale % _P)
    table[ROW_LENGTH * KEY_ROW :] = point[1:]
    return table


def _put(table: bytearray, row: int, x: int, y: int) -> None:
    start = ROW_LENGTH * row
    table[start : start + 32] = x.to_bytes(32, "big")
    table[start + 32 : start + 64] = y.to_bytes(32, "big")


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
