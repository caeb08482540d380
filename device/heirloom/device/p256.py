"""ECDSA signature verification on P-256 (FIPS 186-5, 6.4.2; SEC 1, 4.1.4), for SHA-256 digests.

Built like the Ed25519 verifier: plain integers, few operations, two combs that share their doublings. A point is a
tuple (x, y, zz, zzz) with zz^3 = zzz^2 for the affine point (x / zz, y / zzz), or None at infinity; an affine one is a
tuple (x, y). The formulas are Sutherland's (dbl-2008-s-1, madd-2008-s of the Explicit-Formulas Database).
"""

from heirloom.device import der
from heirloom.device.comb import MemoryTable, columns, const, inverse, invert_all, sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.protocols import Buffer, Table, Update

    Affine = tuple[int, int]
    Point = Optional[tuple[int, int, int, int]]

ROW_LENGTH = 64  # bytes: x and y of an affine point, big-endian

_TEETH = const(6)
_SPACING = const(44)  # columns of the comb: scalars below n, plus n where that makes them odd, have 257 bits
_KEY_ROW = const(32)

# SP 800-186, 3.2.1.3
_P = const((1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1)
_N = const(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)
_B = const(0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B)


def verify(point: bytes, signature_der: bytes, digest: bytes, table: "Optional[Table]" = None) -> bool:
    """Say whether the signature is the key's on the message with this SHA-256 digest.

    Args:
        point: the key, 65 bytes (SEC 1, 2.3.3, uncompressed).
        signature_der: r and s as RFC 3279, 2.2.3 encodes them; only DER, so every signature has one encoding.
        digest: 32 bytes.
        table: what `make_table` wrote for this key; without it, making one costs 0.5 s on an RP2040.
    """
    try:
        r, s = der.two_integers(signature_der, 0, len(signature_der))
        if not (0 < r < _N and 0 < s < _N and len(digest) == 32):
            return False
        rows = _checked(table, point) if table else _memory_table(point)
    except ValueError:
        return False
    w = inverse(s, _N)
    total = _combine(int.from_bytes(digest, "big") * w % _N, r * w % _N, rows)
    if total is None:
        return False
    # r is x / zz modulo n: so x / zz is r, or r + n where that is below p.
    x, _, zz, _ = total
    return r * zz % _P == x or (r < _P - _N and (r + _N) * zz % _P == x)


def make_table(point: bytes, write: "Update") -> None:
    """Write the comb table of a key: 33 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the uncompressed encoding of a point of the curve.
    """
    x, y = _decode(point)
    table = bytearray(ROW_LENGTH * (_KEY_ROW + 1))
    scales = bytearray(32 * _KEY_ROW)
    for row, total in sums((x, y, 1, 1), None, _TEETH, _SPACING, _double, _affine, _negative, _add):
        x, y, zz, zzz = _finite(total)
        # 1 / zzz gives both: 1 / zz = zz^2 / zzz^2.
        _put(table, row, x * zz % _P * zz % _P, y)
        scales[32 * row : 32 * row + 32] = zzz.to_bytes(32, "big")
    invert_all(scales, _P)
    for row in range(_KEY_ROW):
        scale = int.from_bytes(scales[32 * row : 32 * row + 32], "big")
        start = ROW_LENGTH * row
        x = int.from_bytes(table[start : start + 32], "big")
        y = int.from_bytes(table[start + 32 : start + 64], "big")
        _put(table, row, x * scale % _P * scale % _P, y * scale % _P)
    table[ROW_LENGTH * _KEY_ROW :] = point[1:]
    write(table)


def _put(table: bytearray, row: int, x: int, y: int) -> None:
    start = ROW_LENGTH * row
    table[start : start + 32] = x.to_bytes(32, "big")
    table[start + 32 : start + 64] = y.to_bytes(32, "big")


def _memory_table(point: bytes) -> MemoryTable:
    pieces: "list[Buffer]" = []
    make_table(point, pieces.append)
    return MemoryTable(pieces[0])


def _checked(table: "Table", point: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    buffer = bytearray(ROW_LENGTH)
    table.row(_KEY_ROW, buffer)
    if len(point) != 65 or point[0] != 4 or buffer != point[1:]:
        raise ValueError("the table is of another key")
    return table


def _decode(point: bytes) -> "Affine":
    """SEC 1, 2.3.4 and 3.2.2.1; the curve has cofactor 1. Raises ValueError."""
    if len(point) != 65 or point[0] != 4:
        raise ValueError("not an uncompressed point")
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= _P or y >= _P or (y * y - (x * x - 3) * x - _B) % _P:
        raise ValueError("not a point of P-256")
    return x, y


def _finite(point: "Point") -> "tuple[int, int, int, int]":
    if point is None:
        raise ValueError("the point at infinity")
    return point


def _double(point: "Point") -> "Point":
    x, y, zz, zzz = _finite(point)
    p = _P
    u = y + y
    v = u * u % p
    w = u * v % p
    s = x * v % p
    m = 3 * (x - zz) * (x + zz) % p
    x = (m * m - s - s) % p
    return x, (m * (s - x) - w * y) % p, v * zz % p, w * zzz % p


def _add(point: "Point", other: "Affine") -> "Point":
    if point is None:
        return other[0], other[1], 1, 1
    x, y, zz, zzz = point
    p = _P
    h = (other[0] * zz - x) % p
    r = (other[1] * zzz - y) % p
    if not h:  # the two have the same x
        return None if r else _double(point)
    hh = h * h % p
    hhh = h * hh % p
    q = x * hh % p
    x = (r * r - hhh - q - q) % p
    return x, (r * (q - x) - y * hhh) % p, zz * hh % p, zzz * hhh % p


def _affine(point: "Point") -> "Affine":
    x, y, zz, zzz = _finite(point)
    scale = inverse(zzz, _P)
    y = y * scale % _P
    scale = scale * zz % _P
    return x * scale % _P * scale % _P, y


def _negative(point: "Affine") -> "Affine":
    return point[0], -point[1]


def _combine(u1: int, u2: int, table: "Table") -> "Point":
    """u1 G + u2 Q."""
    from heirloom.device.comb_p256 import BASE

    # Both points have the order n, which is odd.
    columns_1 = columns(u1 if u1 & 1 else u1 + _N, _TEETH, _SPACING)
    columns_2 = columns(u2 if u2 & 1 else u2 + _N, _TEETH, _SPACING)
    pairs = ((columns_1, MemoryTable(BASE)), (columns_2, table))
    buffer = bytearray(ROW_LENGTH)
    x_part = memoryview(buffer)[:32]
    y_part = memoryview(buffer)[32:]
    total: "Point" = None
    for i in range(_SPACING):
        if total:
            total = _double(total)
        for digits, rows in pairs:
            digit = digits[i]
            rows.row(digit & 31, buffer)
            y = int.from_bytes(y_part, "big")
            total = _add(total, (int.from_bytes(x_part, "big"), y if digit & 32 else -y))
    return total
