"""The patcher on MicroPython: what detools writes is applied, what somebody forged is refused and never runs away."""

import json
import random
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heirloom.signing import patching

HERE = Path(__file__).resolve().parent
Apply = Callable[[bytes, bytes, int], "bytes | str"]


@pytest.fixture(scope="module")
def apply(micropython: Path, compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apply]:
    """apply(patch, old, length) in one interpreter for all: the new file, or why not."""
    flash = tmp_path_factory.mktemp("patching") / "flash"
    flash.write_bytes(b"\xff" * 64 * 4096)
    command = [micropython, "-X", "heapsize=256k", HERE / "on_device" / "prelude.py", compiled, flash]
    worker = subprocess.Popen(
        [*command, "apply_patches", "answer_lines", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None

    def ask(patch: bytes, old: bytes, length: int) -> "bytes | str":
        print(json.dumps([patch.hex(), old.hex(), length]), file=worker.stdin, flush=True)
        answer = worker.stdout.readline().strip()  # type: ignore[union-attr]
        assert answer, "the interpreter ended"
        return bytes.fromhex(answer[2:]) if answer.startswith("=") else answer

    yield ask
    worker.stdin.close()
    assert worker.wait(20) == 0
    worker.stdout.close()


def packed(plain: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -10)
    return deflate.compress(plain) + deflate.flush()


def plain(patch: bytes) -> bytes:
    return zlib.decompress(patch, -10)


def number(value: int) -> bytes:
    """As detools packs it."""
    rest = abs(value)
    data = bytearray([(0x40 if value < 0 else 0) | (rest & 0x3F)])
    rest >>= 6
    while rest:
        data[-1] |= 0x80
        data.append(rest & 0x7F)
        rest >>= 7
    return bytes(data)


@st.composite
def edits(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An old file, and a new one with pieces of it in any order, changed bytes, and pieces that are new."""
    old = random.Random(draw(st.integers(0, 1 << 32))).randbytes(draw(st.integers(0, 5000)))
    new = bytearray()
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(old)))
        piece = bytearray(old[start : start + draw(st.integers(0, 3000))])
        for _ in range(draw(st.integers(0, 4)) if piece else 0):
            piece[draw(st.integers(0, len(piece) - 1))] = draw(st.integers(0, 255))
        new += piece + draw(st.binary(max_size=40))
    return old, bytes(new)


MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(edits())
def test_what_detools_writes_is_applied(apply: Apply, pair: tuple[bytes, bytes]) -> None:
    old, new = pair
    patch = patching.create(old, new)
    assert patch is not None
    assert apply(patch, old, len(new)) == new


@MANY
@given(edits(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_changed_patches_make_as_much_as_is_signed_or_are_refused(
    apply: Apply, pair: tuple[bytes, bytes], changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Near the beginning lie most numbers; also anywhere, before or after it is deflated."""
    old, new = pair
    body = bytearray(plain(patching.create(old, new) or b""))
    for at, value in changes:
        body[at % len(body)] = value
    patch = bytearray(packed(bytes(body)))
    if data.draw(st.booleans()):
        patch[data.draw(st.integers(0, len(patch) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    answer = apply(bytes(patch), old, len(new))
    assert (isinstance(answer, bytes) and len(answer) == len(new)) or str(answer).startswith(
        ("E_FORMAT: ", "E_LENGTH: ")
    )


OLD = bytes(range(256)) * 8
START = b"\x00" + number(100) + b"\x00"
WHOLE = START + number(100) + bytes(100) + number(0)
HOSTILE = {
    "nothing": (b"", "E_FORMAT"),
    "no deflate": (None, "E_FORMAT"),
    "another kind": (b"\x10" + WHOLE[1:], "E_FORMAT"),
    "another compression": (b"\x02" + WHOLE[1:], "E_FORMAT"),
    "a data format": (b"\x00" + number(100) + number(3) + b"\x00abc", "E_FORMAT"),
    "another length": (b"\x00" + number(101) + b"\x00", "E_LENGTH"),
    "a huge length": (b"\x00" + number(0x7FFFFFFF) + b"\x00", "E_LENGTH"),
    "a length below zero": (b"\x00" + number(-100) + b"\x00", "E_FORMAT"),
    "an endless number": (b"\x00" + b"\x80" * 5000 + b"\x01", "E_FORMAT"),
    "a number of 32 bits": (START + number(1 << 31), "E_FORMAT"),
    "a part below zero": (START + number(-5), "E_FORMAT"),
    "too much to add": (START + number(101) + bytes(101) + number(0) + number(0), "E_LENGTH"),
    "too much that is new": (START + number(60) + bytes(60) + number(41) + bytes(41) + number(0), "E_LENGTH"),
    "cut short": (WHOLE[:50], "E_FORMAT"),
    "no last number": (WHOLE, "E_FORMAT"),
    "more behind the end": (WHOLE + number(0) + b"x", "E_LENGTH"),
    "no progress": (START + (number(0) * 3) * 100_000, "E_FORMAT"),
    "no progress later": (START + number(1) + b"x" + (number(0) * 3) * 100_000, "E_FORMAT"),
    "before the beginning": (START + number(0) + number(0) + number(-1) + number(100) + bytes(100), "E_FORMAT"),
    "behind the end": (START + number(0) + number(0) + number(2000) + number(100) + bytes(100), "E_FORMAT"),
    "far behind the end": (START + number(0) + number(0) + number(0x7FFFFFFF) + number(100) + bytes(100), "E_FORMAT"),
    "ever farther": (START + (number(1) + b"x" + number(0) + number(0x7FFFFFFF)) * 100, "E_FORMAT"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_patches_are_refused(apply: Apply, name: str) -> None:
    body, code = HOSTILE[name]
    patch = b"\xff" * 40 if body is None else packed(body) if body else b""
    answer = apply(patch, OLD, 100)
    assert str(answer).startswith(f"{code}: "), answer
    assert apply(packed(WHOLE + number(0)), OLD, 100) == OLD[:100]  # and the next good one works


def test_rounds_that_only_move_are_taken_as_long_as_they_are_few(apply: Apply) -> None:
    """detools makes some between firmware images."""
    moves = (number(0) + number(0) + number(1)) * 500 + (number(0) + number(0) + number(-1)) * 500
    rest = number(100) + bytes(100) + number(0) + number(0)
    assert apply(packed(START + moves + rest), OLD, 100) == OLD[:100]
    assert str(apply(packed(START + moves + (number(0) * 3) + rest), OLD, 100)).startswith("E_FORMAT: ")


def test_a_megabyte_of_zeros_is_not_inflated_beyond_what_is_signed(apply: Apply) -> None:
    bomb = packed(START + number(100) + bytes(100) + number(0) + number(0) + bytes(1 << 20))
    assert len(bomb) < 2000
    assert str(apply(bomb, OLD, 100)).startswith("E_LENGTH: ")


def test_it_needs_little_memory(on_device: Callable[..., str], tmp_path: Path) -> None:
    """DESIGN: 6.3 KB on 32 bits; here objects have twice the size."""
    old = random.Random(1).randbytes(40_000)
    new = old[:10_000] + b"new" * 100 + old[9_000:30_000] + old[:5_000]
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "patch").write_bytes(patching.create(old, new) or b"")
    paths = str(tmp_path / "patch"), str(tmp_path / "old"), str(len(new))
    assert int(on_device("apply_patches", "it_needs_little_memory", *paths)) < 6300
