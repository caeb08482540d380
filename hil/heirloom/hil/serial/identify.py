"""Who is at a port: asked of the firmware itself, and compared with what it should be."""

import json
from dataclasses import dataclass

from heirloom import boards
from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.units import Repl

#: The oldest MicroPython that the client runs on.
OLDEST = (1, 24)

# Simulated boards say in machine._board what the firmware of a board says in sys.implementation.
_ASK = """
import sys, json, machine
from binascii import hexlify
i = sys.implementation
print(json.dumps({
    "id": hexlify(machine.unique_id()).decode(),
    "machine": getattr(machine, "_board", None) or getattr(i, "_machine", ""),
    "build": getattr(i, "_build", ""),
    "version": list(i.version[:3]),
    "mpy": getattr(i, "_mpy", 0),
}))
"""
# py/persistentcode.h of MicroPython: MP_NATIVE_ARCH_*.
_ARCHITECTURES = (
    "none", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a unit says about itself.

    Attributes:
        id: `machine.unique_id()` in hexadecimal.
        machine: As in "Raspberry Pi Pico W with RP2040".
        build: The board that its MicroPython was built for, since 1.25; else empty.
        version: Of MicroPython, three numbers.
        mpy: Version of the .mpy format, as in "6.3".
        arch: `-march` of mpy-cross for native code, or "none".
    """

    id: str
    machine: str
    build: str
    version: tuple[int, ...]
    mpy: str
    arch: str

    @property
    def release(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def ask(repl: Repl, name: str) -> Said:
    """Ask a unit at its REPL.

    Raises:
        RigTrouble: What it says makes no sense.
    """
    answer = repl.exec(_ASK)
    try:
        said = json.loads(answer)
        word = int(said["mpy"])
        number = word >> 10 & 0xF
        return Said(
            id=bytes.fromhex(said["id"]).hex(),
            machine=str(said["machine"]),
            build=str(said["build"]),
            version=tuple(int(part) for part in said["version"]),
            mpy=f"{word & 0xFF}.{word >> 8 & 3}",
            arch=_ARCHITECTURES[number] if number < len(_ARCHITECTURES) else f"number {number}",
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise RigTrouble(f"device {name} does not say what it is: {answer.strip()[:100]!r}") from exc


def check(said: Said, board: Board, name: str) -> None:
    """Refuse a unit that is not what it should be.

    Args:
        said: By the unit.
        board: What it should be.
        name: The unit, for messages.

    Raises:
        HeirloomError: It is another board, or its firmware cannot run the client.
    """
    check_hardware(said, board, name)
    if said.version[:2] < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise HeirloomError(
            f"device {name} has MicroPython {said.release}; the client needs {wanted} or newer",
            "provision it with --firmware FILE, a newer one",
        )
    if (said.mpy, said.arch) != (board.mpy, board.arch):
        raise HeirloomError(
            f"device {name} loads .mpy {said.mpy} for {said.arch}, a {board.name} {board.mpy} for {board.arch}",
            "provision it with --firmware FILE, or say so in the definition of your board",
        )


def check_hardware(said: Said, board: Board, name: str) -> None:
    """As `check`, but whatever its firmware is, which is to be replaced.

    Raises:
        HeirloomError: It is another board.
    """
    if not _is(said, board):
        fitting = ", ".join(other for other in boards.names() if _is(said, boards.load(other)))
        raise HeirloomError(
            f"device {name} says that it is a {said.machine}, not a {board.name}",
            f"choose --board {fitting}" if fitting else "if that is your board, name its file in heirloom.toml",
        )


def _is(said: Said, board: Board) -> bool:
    """Whether the unit may be such a board: by its chip, and by the name of its hardware where the board has one."""
    mcu = board.hardware.mcu
    if not said.machine.endswith(f" with {mcu}"):
        return False
    if board.simulated:
        return said.machine == f"{board.name} with {mcu}"
    # Variants stand in between, as in "Generic ESP32 module with SPIRAM with ESP32".
    return board.machine is None or said.machine.startswith(f"{board.machine} with ")
