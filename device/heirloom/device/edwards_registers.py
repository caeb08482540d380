"""Sums of points of edwards25519 on a board: the arithmetic of `edwards`, in a small part of its time.

Numbers modulo p are 32 bytes, little-endian, and may be any that fit: 2^256 is 38. They lie in registers, and the
formulas are programs over these: a few bytes to interpret are nothing beside what a multiplication costs. Programs run
in `edwards_thumb` on an RP2040, in `edwards_viper` elsewhere; with neither, importing this raises ImportError.
"""

from micropython import const

try:
    from heirloom.device.edwards_thumb import run
except (ImportError, SyntaxError, ValueError):  # source or code for another processor
    from heirloom.device.edwards_viper import run  # type: ignore[assignment]

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from heirloom.device.protocols import Table

_P = const((1 << 255) - 19)
_SIZE = const(32)  # bytes of a register
# A register goes by a letter whose low four bits are its number. X, Y, Z, T: extended coordinates of the sum
# (RFC 8032, 5.1.4). K, L, M: a row, as the table has it: y + x, y - x, 2 d x y of an affine point. B, C, E, F, G: at
# hand. The first two, P and Q, are the product before it is reduced.
_X = const(8)
_Y = const(9)
_Z = const(10)
_ROW = const(11)

# Each operation: what it does, where to, on what. The formulas are those of `edwards.double` and `edwards.add`.
_DOUBLE = const(b"*FXX*BYY*ZZZ+ZZZ+XXY*XXX+CFB-XCX-GFB+ZZG*TXC*YGC*XXZ*ZZG")
_ADD = const(b"-FYX*FFL+BYX*BBK*TTM+ZZZ-EBF+CBF-FZT+GZT*YGC*XEF*ZFG*TEC")
_SUBTRACT = const(b"-FYX*FFK+BYX*BBL*TTM+ZZZ-EBF+CBF+FZT-GZT*YGC*XEF*ZFG*TEC")

# 1 / Z is Z^(p - 2), p - 2 is 2^255 - 21. First Z^11 in B, Z^(2^5 - 1) in C. Then each step squares, so many times five
# times in all, and multiplies: E becomes Z^(2^10 - 2^5), C Z^(2^10 - 1), and so on to Z^(2^250 - 1).
_BEGIN = const(b"*BZZ*CBB*CCC*CCZ*BBC*EBB*CEC")
_SQUARES = const(b"*EEE*EEE*EEE*EEE*EEE")
_POWERS = const(b"*ECC*CEC\x01*ECC*FEC\x02*EFF*EEF\x04*EEE*CEC\x02*ECC*FEC\x0a*EFF*EEF\x14*EEE*EEC\x0a*EEE*EEB\x01")
_SCALE = const(b"*KXE*LYE")


class Sum:
    """A point to which rows of tables are added; at first the neutral one."""

    def __init__(self) -> None:
        self._registers = bytearray((_ROW + 3) * _SIZE)
        self._registers[_Y * _SIZE] = self._registers[_Z * _SIZE] = 1
        self._row = memoryview(self._registers)[_ROW * _SIZE : (_ROW + 3) * _SIZE]

    def double(self) -> None:
        """Doubles it."""
        run(self._registers, _DOUBLE, len(_DOUBLE))

    def add(self, table: "Table", index: int, positive: bool) -> None:
        """Adds a row of a table, or its opposite."""
        table.row(index, self._row)
        run(self._registers, _ADD if positive else _SUBTRACT, len(_ADD))

    def affine(self) -> "tuple[int, int]":
        """Its affine coordinates, X / Z and Y / Z modulo p."""
        registers = self._registers
        run(registers, _BEGIN, len(_BEGIN))
        for at in range(0, len(_POWERS), 9):
            run(registers, _POWERS[at : at + 4], 4)
            run(registers, _SQUARES, 16)
            for _ in range(1, _POWERS[at + 8]):
                run(registers, _SQUARES, 20)
            run(registers, _POWERS[at + 4 : at + 8], 4)
        run(registers, _SCALE, len(_SCALE))
        x, y = [int.from_bytes(registers[i * _SIZE : (i + 1) * _SIZE], "little") % _P for i in (_ROW, _ROW + 1)]
        return x, y
