"""ECDSA signature verification on P-256 (FIPS 186-5, 6.4.2; SEC 1, 4.1.4), for SHA-256 digests.

Built like the Ed25519 verifier: plain integers, few operations, two combs that share their doublings. Points in the
computation are in Jacobian coordinates (x / z^2, y / z^3), None is the point at infinity; points of tables are affine.
"""

from heirloom.device import der
from heirloom.device.comb import ROWS, MemoryTable, columns, const, inverse, invert_all, sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.protocols import Buffer, Table, Update

    Affine = tuple[int, int]
    Point = Optional[tuple[int, int, int]]

ROW_LENGTH = 64  # bytes: x and y of an affine point, big-endian

# SP 800-186, 3.2.1.3
_P = const((1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1)
_N = const(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)
_B = const(0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B)
_SPACING = const(52)  # columns of the comb: scalars up to 2 n have 257 bits


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
    # x / z^2 modulo n is r: so x / z^2 is r, or r + n where that is below p.
    x, _, z = total
    z = z * z % _P
    return r * z % _P == x or (r < _P - _N and (r + _N) * z % _P == x)


def make_table(point: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the uncompressed encoding of a point of the curve.
    """
    x, y = _decode(point)
    table = bytearray(ROW_LENGTH * (ROWS + 1))
    scales = bytearray(32 * ROWS)
    for row, total in sums((x, y, 1), None, _SPACING, _double, _affine, _negative, _add):
        # The order of the point is a prime greater than any sum of teeth: none is infinite.
        x, y, z = total  # type: ignore[misc]
        _put(table, row, x, y)
        scales[32 * row : 32 * row + 32] = z.to_bytes(32, "big")
    invert_all(scales, _P)
    for row in range(ROWS):
        scale = int.from_bytes(scales[32 * row : 32 * row + 32], "big")
        square = scale * scale % _P
        x, y = _get(table, row)
        _put(table, row, x * square % _P, y * square * scale % _P)
    table[ROW_LENGTH * ROWS :] = point[1:]
    write(table)


def _put(table: bytearray, row: int, x: int, y: int) -> None:
    start = ROW_LENGTH * row
    table[start : start + 32] = x.to_bytes(32, "big")
    table[start + 32 : start + 64] = y.to_bytes(32, "big")


def _get(table: bytearray, row: int) -> "Affine":
    start = ROW_LENGTH * row
    return int.from_bytes(table[start : start + 32], "big"), int.from_bytes(table[start + 32 : start + 64], "big")


def _memory_table(point: bytes) -> MemoryTable:
    pieces: "list[Buffer]" = []
    make_table(point, pieces.append)
    return MemoryTable(pieces[0], ROW_LENGTH)


def _checked(table: "Table", point: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    buffer = bytearray(ROW_LENGTH)
    table.row(ROWS, buffer)
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


def _double(point: "Point") -> "Point":
    """SEC 1, 2.2.1 for x / z^2, y / z^3 and a = -3 (Bernstein and Lange's dbl-2001-b)."""
    if point is None:
        return None
    x, y, z = point
    p = _P
    delta = z * z % p
    gamma = y * y % p
    beta = 4 * x * gamma % p
    alpha = 3 * (x - delta) * (x + delta) % p
    x = (alpha * alpha - beta - beta) % p
    return x, (alpha * (beta - x) - 8 * gamma * gamma) % p, 2 * y * z % p


def _add(point: "Point", other: "Affine") -> "Point":
    """SEC 1, 2.2.1 for x / z^2, y / z^3; all cases."""
    if point is None:
        return other[0], other[1], 1
    x, y, z = point
    p = _P
    square = z * z % p
    h = (other[0] * square - x) % p
    r = (square * z % p * other[1] - y) % p
    if not h:
        return None if r else _double(point)
    hh = h * h % p
    hhh = h * hh % p
    v = x * hh % p
    x = (r * r - hhh - v - v) % p
    return x, (r * (v - x) - y * hhh) % p, z * h % p


def _affine(point: "Point") -> "Affine":
    x, y, z = point  # type: ignore[misc]  # teeth are never infinite
    z = inverse(z, _P)
    square = z * z % _P
    return x * square % _P, y * square * z % _P


def _negative(point: "Affine") -> "Affine":
    return point[0], -point[1]


def _load(table: "Table", digit: int, buffer: bytearray) -> "Affine":
    """The row that a column of the comb picks, with its sign."""
    table.row(digit & 15, buffer)
    y = int.from_bytes(buffer[32:], "big")
    return int.from_bytes(buffer[:32], "big"), y if digit & 16 else -y


def _combine(u1: int, u2: int, table: "Table") -> "Point":
    """u1 G + u2 Q."""
    from heirloom.device.comb_p256 import BASE

    base = MemoryTable(BASE, ROW_LENGTH)
    # The order of both points is n, which is odd.
    columns_1 = columns(u1 if u1 & 1 else u1 + _N, _SPACING)
    columns_2 = columns(u2 if u2 & 1 else u2 + _N, _SPACING)
    buffer = bytearray(ROW_LENGTH)
    total: "Point" = None
    for column in range(_SPACING - 1, -1, -1):
        total = _double(total)
        total = _add(total, _load(base, columns_1[column], buffer))
        total = _add(total, _load(table, columns_2[column], buffer))
    return total
