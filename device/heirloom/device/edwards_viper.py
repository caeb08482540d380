"""The programs of `edwards_registers` in viper, for every processor that MicroPython has one for."""

# mypy: disable-error-code="return"
# Viper knows no `-> None`.

import micropython
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    ptr8 = Any
    ptr16 = Any
    uint = Any


def run(registers: bytearray, program: bytes, length: int) -> None:
    """Runs the first `length` bytes of a program on the registers."""
    _run(0, 0, registers, program, length)


@micropython.viper
def _run(  # noqa: PLR0915 - calls are dear
    t: uint, x: uint, registers: ptr16, program: ptr8, length: int
) -> object:
    """Runs a program. t, x: only variables: the first two of a viper function live in registers of the processor.

    Products of 16-bit digits: x * b + c + t, each at its largest, just fit 32 bits. A store takes the low 16 bits.
    """
    base = uint(registers)
    at = 0
    while at < length:
        kind = int(program[at])
        c = ptr16(base + ((uint(program[at + 1]) & 15) << 5))
        a = ptr16(base + ((uint(program[at + 2]) & 15) << 5))
        b = ptr16(base + ((uint(program[at + 3]) & 15) << 5))
        carry = 0
        if kind == 42:  # *
            row = ptr16(base)
            for i in range(16):
                row[i] = 0
            for i in range(16):
                x = uint(a[i])
                t = uint(row[0]) + x * uint(b[0])
                row[0] = t
                t = (t >> 16) + uint(row[1]) + x * uint(b[1])
                row[1] = t
                t = (t >> 16) + uint(row[2]) + x * uint(b[2])
                row[2] = t
                t = (t >> 16) + uint(row[3]) + x * uint(b[3])
                row[3] = t
                t = (t >> 16) + uint(row[4]) + x * uint(b[4])
                row[4] = t
                t = (t >> 16) + uint(row[5]) + x * uint(b[5])
                row[5] = t
                t = (t >> 16) + uint(row[6]) + x * uint(b[6])
                row[6] = t
                t = (t >> 16) + uint(row[7]) + x * uint(b[7])
                row[7] = t
                t = (t >> 16) + uint(row[8]) + x * uint(b[8])
                row[8] = t
                t = (t >> 16) + uint(row[9]) + x * uint(b[9])
                row[9] = t
                t = (t >> 16) + uint(row[10]) + x * uint(b[10])
                row[10] = t
                t = (t >> 16) + uint(row[11]) + x * uint(b[11])
                row[11] = t
                t = (t >> 16) + uint(row[12]) + x * uint(b[12])
                row[12] = t
                t = (t >> 16) + uint(row[13]) + x * uint(b[13])
                row[13] = t
                t = (t >> 16) + uint(row[14]) + x * uint(b[14])
                row[14] = t
                t = (t >> 16) + uint(row[15]) + x * uint(b[15])
                row[15] = t
                row[16] = t >> 16
                row = ptr16(uint(row) + 2)
            row = ptr16(base)
            for i in range(16):
                carry = int(row[i]) + 38 * int(row[i + 16]) + (carry >> 16)
                c[i] = carry
        elif kind == 43:  # +
            for i in range(16):
                carry = int(a[i]) + int(b[i]) + (carry >> 16)
                c[i] = carry
        else:  # -
            for i in range(16):
                carry = int(a[i]) - int(b[i]) + (carry >> 16)
                c[i] = carry
        # What went over is a multiple of 2^256, or one below zero.
        carry = 38 * (carry >> 16)
        i = 0
        while carry != 0 and i < 16:
            carry += int(c[i])
            c[i] = carry
            carry = carry >> 16
            i += 1
        c[0] = int(c[0]) + 38 * carry  # if it went over again, what is left is so small (or large) that this does not
        at += 4
