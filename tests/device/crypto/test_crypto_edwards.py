"""The arithmetic of Ed25519 in viper and in machine code gives what plain integers give."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crypto_thumb import Thumb, unavailable_reason

from heirloom.device import ed25519, edwards
from heirloom.device.comb import MemoryTable

HERE = Path(__file__).resolve().parent
P = 2**255 - 19
EDGES = [0, 1, 37, 38, 39, 0xFFFF, 1 << 255, P - 1, P, P + 1, 2 * P - 1, 2 * P, 2**256 - 39, 2**256 - 38, 2**256 - 1]
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "*": lambda x, y: x * y,
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
}
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1


def test_viper_and_integers_give_the_same_sums(micropython: Path) -> None:
    """Also for tables that are damaged, on the real interpreter."""
    done = subprocess.run(
        [micropython, "-X", "heapsize=400k", HERE / "edwards_on_board.py"],
        env={"MICROPYPATH": f"{HERE.parents[2] / 'device'}:.frozen"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "same 40\n", done.stdout + done.stderr


@pytest.fixture(scope="module")
def thumb() -> Any:
    reason = unavailable_reason()
    if reason:
        pytest.skip(reason)
    return Thumb()


def test_operations_in_machine_code(thumb: Thumb) -> None:
    """On the processor of the RP2040 emulator: numbers at the edges, and results that replace an operand."""
    random = Random(1)
    numbers = [*EDGES, *(random.getrandbits(256) for _ in range(3))]
    for sign, operation in OPERATIONS.items():
        for x in numbers:
            for y in numbers if sign == "*" else numbers[::2]:
                for to in random.sample(["E", "B", "C"], 1):
                    thumb.put("B", x)
                    thumb.put("C", y)
                    thumb.run(f"{sign}{to}BC".encode())
                    assert thumb.get(to) % P == operation(x, y) % P, (sign, to, hex(x), hex(y))


def test_a_whole_combination_in_machine_code(thumb: Thumb) -> None:
    random = Random(2)
    rows: list[bytes] = []
    ed25519.make_table(KEY, rows.append)
    table = MemoryTable(b"".join(rows))
    s, k = random.getrandbits(252), random.getrandbits(252) & ~1
    assert ed25519.combine(s, k, table, thumb.sum()) == ed25519.combine(s, k, table, edwards.Sum())
