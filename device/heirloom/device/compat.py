"""What differs between MicroPython and CPython, where the pure modules run for the host and under the fuzzer.

The compiler of MicroPython knows const and viper's names by itself; CPython has to be told.
"""

import gc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def collect() -> None:
    """Collects garbage on a board, where memory is one small piece; elsewhere it would only cost time."""
    if hasattr(gc, "mem_free"):
        gc.collect()


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
