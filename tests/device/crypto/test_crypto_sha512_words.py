"""The viper code of SHA-512 on machine words of 32 and of 64 bits, played on CPython.

The unix port has words of 64 bits only; the boards have 32, where carries show in another way.
"""

import hashlib
import inspect
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "device" / "heirloom" / "device" / "sha512_viper.py"


def word_type(bits: int) -> type[int]:
    """An unsigned machine word. Shifts are by less than 32, whatever the machine."""
    mask = (1 << bits) - 1

    def operator(name: str) -> Callable[[int, int], int]:
        plain = getattr(int, name)

        def apply(left: int, right: int) -> int:
            assert "shift" not in name or 0 <= right < 32
            return Word(plain(left, right) & mask)

        return apply

    class Word(int):
        __slots__ = ()

    for name in ("add", "radd", "and", "rand", "or", "ror", "xor", "rxor", "lshift", "rshift"):
        setattr(Word, f"__{name}__", operator(f"__{name}__"))
    return Word


class Pointer32:
    """A ptr32 into a bytearray, little-endian as all machines of MicroPython here."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("<I", self.data, 4 * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("<I", self.data, 4 * index, value & 0xFFFFFFFF)


class Pointer8:
    def __init__(self, data: Any) -> None:
        self.data = data

    def __getitem__(self, index: int) -> int:
        assert index >= 0
        return int(self.data[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.data[index] = value & 0xFF


@pytest.fixture(params=[32, 64])
def sha512(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """The class of the module, on words of so many bits."""
    word = word_type(request.param)

    def viper(function: Callable[..., object]) -> Callable[..., object]:
        casts = [p.annotation for p in inspect.signature(function).parameters.values()]
        return lambda *arguments: function(*(cast(a) for cast, a in zip(casts, arguments, strict=True)))

    micropython = ModuleType("micropython")
    vars(micropython).update(viper=viper, const=lambda value: value)
    monkeypatch.setitem(sys.modules, "micropython", micropython)
    names = {"ptr32": Pointer32, "ptr8": Pointer8, "uint": word, "__name__": "sha512_viper"}
    exec(compile(SOURCE.read_text(), str(SOURCE), "exec"), names)
    return names["Sha512"]


def test_words(sha512: type[Any]) -> None:
    random = Random(515)
    messages = [random.randbytes(length) for length in (0, 1, 111, 112, 127, 128, 129, 300)]
    messages += [bytes([byte]) * 200 for byte in (0, 0xFF, 0x80)]
    messages += [random.randbytes(128) for _ in range(20)]
    for message in messages:
        digest = sha512()
        digest.update(message[:50])
        digest.update(message[50:])
        assert bytes(digest.digest()) == hashlib.sha512(message).digest(), message
