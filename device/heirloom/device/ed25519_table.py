"""Comb tables of Ed25519 keys; see comb.py."""

from heirloom.device.comb import MemoryTable, const
from heirloom.device.ed25519 import KEY_ROW, ROW_LENGTH, SPACING, TEETH, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.edwards import Sum
    from heirloom.device.protocols import Update

_P = const((1 << 255) - 19)
_2D = const(16295367250680780974490674513165176452449235426866156013048779062215315747161)
_ROOT_OF_MINUS_ONE = const(19681161376707505956807079304988542015446066515923890162744021073123829784752)


def make(public: bytes, write: "Update") -> None:
    """Write the comb table of a key: 17 rows of ROW_LENGTH bytes, one by one.

    Raises ValueError when the key is not the canonical encoding of a point.
    """
    x, y = _decode(public)
    last = _row(x, y)
    key = MemoryTable(last)
    steps = _steps(key)
    total = nothing()
    for _ in range(TEETH - 1):
        total.add(key, 0, True)
        _double(total, SPACING)
    total.add(key, 0, True)
    for tooth in range(TEETH - 1):
        total.add(steps, tooth, False)
    # Now only the last tooth is positive: row 0. Each row differs from the one before in the signs of some.
    for row in range(KEY_ROW):
        for tooth in range(TEETH - 1):
            if row and (row ^ row - 1) >> tooth & 1:
                total.add(steps, tooth, bool(row >> tooth & 1))
        x, y = total.affine()
        write(_row(x, y))
    write(last)


def _steps(key: MemoryTable) -> MemoryTable:
    """Twice each tooth but the last."""
    steps = bytearray(ROW_LENGTH * (TEETH - 1))
    total = nothing()
    total.add(key, 0, True)
    _double(total, 1)
    for tooth in range(TEETH - 1):
        if tooth:
            _double(total, SPACING)
        x, y = total.affine()
        steps[tooth * ROW_LENGTH : (tooth + 1) * ROW_LENGTH] = _row(x, y)
    return MemoryTable(steps)


def _double(total: "Sum", times: int) -> None:
    for _ in range(times):
        total.double()


def _row(x: int, y: int) -> bytes:
    """The row of an affine point."""
    return b"".join([(number % _P).to_bytes(32, "little") for number in (y + x, y - x, _2D * x * y)])


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
