"""What differs between MicroPython and CPython, where the pure modules run for the host and under the fuzzer.

The compiler of MicroPython knows const and viper's names by itself; CPython has to be told.
"""

import gc
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Constant = TypeVar("Constant")


def collect() -> None:
    """Collects garbage on a board, where memory is one small piece; elsewhere it would only cost time."""
    if hasattr(gc, "mem_free"):
        gc.collect()


def loads(text: str) -> "Any":
    """The value of a JSON document. MicroPython takes raw control characters in strings, CPython when asked."""
    if hasattr(json, "JSONDecoder"):
        return json.JSONDecoder(strict=False).decode(text)
    return json.loads(text)


def const(value: "Constant") -> "Constant":
    """The value: only a compiler gains by knowing that it never changes."""
    return value


def viper(function: "Any") -> "Any":
    """The function: slower here, but the same."""
    return function


if TYPE_CHECKING:

    class ptr8:
        """Bytes of a buffer."""

        def __init__(self, __buffer: Any) -> None: ...  # noqa: PYI063 - MicroPython has no "/"
        def __getitem__(self, __index: int) -> int: ...  # noqa: PYI063
        def __setitem__(self, __index: int, __value: int) -> None: ...  # noqa: PYI063

    class ptr32(ptr8):
        """Words of an array."""

else:

    def ptr8(buffer):
        """The buffer: indexing gives bytes."""
        return buffer

    def ptr32(buffer):
        """The array: indexing gives words."""
        return buffer
