"""What the compiler of MicroPython knows by itself and CPython has to be told: viper's names.

Imported under CPython only, where the pure modules run for the host and under the fuzzer.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def const(value: int) -> int:
    """The value: only a compiler gains by knowing that it never changes."""
    return value


def viper(function: "Any") -> "Any":
    """The function: slower here, but the same."""
    return function


def ptr8(buffer: "Any") -> "Any":
    """The buffer: indexing gives bytes."""
    return buffer


def ptr32(buffer: "Any") -> "Any":
    """The array: indexing gives words."""
    return buffer
