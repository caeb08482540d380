"""ECDSA signature verification on P-256 (FIPS 186-5, 6.4.2; SEC 1, 4.1.4), for SHA-256 digests.

Built like the Ed25519 verifier: plain integers, few operations, two combs that share their doublings. A point is a
tuple (x, y, zz, zzz) with zz^3 = zzz^2 for the affine point (x / zz, y / zzz), or None at infinity; an affine one is a
tuple (x, y). The formulas are Sutherland's, by their names in the Explicit-Formulas Database.
"""

from heirloom.device import asn1
from heirloom.device.comb import MemoryTable, columns, const, inverse, memory_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.protocols import Table, Update

    Affine = tuple[int, int]
    Point = Optional[tuple[int, int, int, int]]

ROW_LENGTH = 64  # bytes: x and y of an affine point, big-endian

TEETH = 6
SPACING = 44  # columns of the comb: scalars below n, plus n where that makes them odd, have 257 bits
KEY_ROW = 32

# SP 800-186, 3.2.1.3
_P = const((1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1)
_N = const(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)


def verify(point: bytes, signature_der: bytes, digest: bytes, table: "Optional[Table]" = None) -> bool:
    """Say whether the signature is the key's on the message with this SHA-256 digest.

    Args:
        point: the key, 65 bytes (SEC 1, 2.3.3, uncompressed).
        signature_der: r and s as RFC 3279, 2.2.3 encodes them; only DER, so every signature has one encoding.
        digest: 32 bytes.
        table: what `make_table` wrote for this key; without it, making one costs 0.8 s on an RP2040.
    """
    try:
        r, s = asn1.two_integers(signature_der, 0, len(signature_der))
        if not (0 < r < _N and 0 < s < _N and len(digest) == 32):
            return False
        rows = _checked(table, point) if table else memory_table(make_table, point, (KEY_ROW + 1) * ROW_LENGTH)
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
    """Write the comb table of a key: 33 rows of ROW_LENGTH bytes, one by one; each may be kept.

    Raises ValueError when the key is not the uncompressed encoding of a point of the curve.
    """
    from heirloom.device import p256_table

    p256_table.make(point, write)


def _checked(table: "Table", point: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    buffer = bytearray(ROW_LENGTH)
    table.row(KEY_ROW, buffer)
    if len(point) != 65 or point[0] != 4 or buffer != point[1:]:
        raise ValueError("the table is of another key")
    return table


def finite(point: "Point") -> "tuple[int, int, int, int]":
    """Raises ValueError for the point at infinity."""
    if point is None:
        raise ValueError("the point at infinity")
    return point


def double(point: "Point") -> "Point":
    """dbl-2008-s-1, with a = -3. Raises ValueError for the point at infinity."""
    x, y, zz, zzz = finite(point)
    p = _P
    u = y + y
    v = u * u % p
    w = u * v % p
    s = x * v % p
    m = 3 * (x - zz) * (x + zz) % p
    x = (m * m - s - s) % p
    return x, (m * (s - x) - w * y) % p, v * zz % p, w * zzz % p


def add(point: "Point", other: "Affine") -> "Point":
    """madd-2008-s, and what it leaves out: equal points, opposite ones, the point at infinity."""
    if point is None:
        return other[0], other[1], 1, 1
    x, y, zz, zzz = point
    p = _P
    h = (other[0] * zz - x) % p
    r = (other[1] * zzz - y) % p
    if not h:  # the two have the same x
        return None if r else double(point)
    hh = h * h % p
    hhh = h * hh % p
    q = x * hh % p
    x = (r * r - hhh - q - q) % p
    return x, (r * (q - x) - y * hhh) % p, zz * hh % p, zzz * hhh % p


def _combine(u1: int, u2: int, table: "Table") -> "Point":
    """u1 G + u2 Q."""
    from heirloom.device.comb_p256 import BASE

    # Both points have the order n, which is odd.
    columns_1 = columns(u1 if u1 & 1 else u1 + _N, TEETH, SPACING)
    columns_2 = columns(u2 if u2 & 1 else u2 + _N, TEETH, SPACING)
    pairs = ((columns_1, MemoryTable(BASE)), (columns_2, table))
    buffer = bytearray(ROW_LENGTH)
    x_part = memoryview(buffer)[:32]
    y_part = memoryview(buffer)[32:]
    total: "Point" = None
    for i in range(SPACING):
        if total:
            total = double(total)
        for digits, rows in pairs:
            digit = digits[i]
            rows.row(digit & 31, buffer)
            y = int.from_bytes(y_part, "big")
            total = add(total, (int.from_bytes(x_part, "big"), y if digit & 32 else -y))
    return total
