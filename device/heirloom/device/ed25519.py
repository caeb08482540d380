"""Ed25519 signature verification (RFC 8032, 5.1.7), as strict as it can be.

The verdict is OpenSSL's (without cofactor: [S]B = R + [k]A, compared as encoded), and what OpenSSL lets pass
but no honest signer produces is refused too: public keys in non-canonical encoding, and public keys and
R of small order.

Both scalars go through combs that share their doublings. The arithmetic is that of `edwards_registers` on a
board, that of `edwards` elsewhere: the verdicts are the same.
"""

from heirloom.device.comb import MemoryTable, columns, const, memory_table
from heirloom.device.sha512 import Sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from heirloom.device.edwards import Sum
    from heirloom.device.protocols import Table, Update

ROW_LENGTH = 96  # bytes: y + x, y - x and 2 d x y of an affine point, 32 bytes each, little-endian

TEETH = 5
SPACING = 51  # columns of the comb: scalars below L, plus L where that makes them odd, have 254 bits
KEY_ROW = 16

_P = const((1 << 255) - 19)
_L = const((1 << 252) + 27742317777372353535851937790883648493)
_HALF = const((1 << 254) - 9)
# y of two points of order 8; of the other two it is the negative.
_Y_OF_ORDER_8 = const(2707385501144840649318225287225658788936804267575313519463743609750303402022)


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
        rows = _checked(table, public) if table else memory_table(make_table, public, (KEY_ROW + 1) * ROW_LENGTH)
    except ValueError:
        return False
    return _encode(*combine(s, k, rows, nothing())) == r


def make_table(public: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    from heirloom.device import ed25519_table

    ed25519_table.make(public, write)


def _checked(table: "Table", public: bytes) -> "Table":
    """Raises ValueError unless the table is of this key."""
    row = bytearray(ROW_LENGTH)
    table.row(KEY_ROW, row)
    plus, minus = int.from_bytes(row[:32], "little"), int.from_bytes(row[32:64], "little")
    x = (plus - minus) * _HALF % _P
    y = (plus + minus) * _HALF % _P
    if _encode(x, y) != public:
        raise ValueError("the table is of another key")
    return table


def _acceptable(encoded: bytes) -> bool:
    """Whether y is canonical (RFC 8032, 5.1.3, 1) and no point with it has small order."""
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    return 1 < y < _P - 1 and y != _Y_OF_ORDER_8 and y != _P - _Y_OF_ORDER_8


def _encode(x: int, y: int) -> bytes:
    """Compress a point (RFC 8032, 5.1.2)."""
    return (y | (x & 1) << 255).to_bytes(32, "little")


def nothing() -> "Sum":
    """The neutral point, in the arithmetic that this machine has."""
    try:
        from heirloom.device.edwards_registers import Sum
    except (ImportError, ValueError):  # CPython, or code for another processor
        from heirloom.device.edwards import Sum  # type: ignore[assignment, unused-ignore]
    return Sum()  # type: ignore[return-value, unused-ignore]


def combine(s: int, k: int, table: "Table", total: "Sum") -> "tuple[int, int]":
    """[s]B - [k]A, affine. total: the neutral point, to add to."""
    from heirloom.device.comb_ed25519 import BASE

    # B has order L, so s may become odd by adding L. Of A's order nothing is known: an even k is taken one
    # too high, and A added in the end.
    pairs = (
        (columns(s if s & 1 else s + _L, TEETH, SPACING), MemoryTable(BASE)),
        (columns(k | 1, TEETH, SPACING, True), table),
    )
    for i in range(SPACING):
        total.double()
        for digits, rows in pairs:
            digit = digits[i]
            total.add(rows, digit & 15, bool(digit & 16))
    if not k & 1:
        total.add(table, KEY_ROW, True)
    return total.affine()
