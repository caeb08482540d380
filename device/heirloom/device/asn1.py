"""DER (X.690), as much as keys and ECDSA signatures need of it, and strict: every value has one encoding."""

SEQUENCE = 0x30
_INTEGER = 0x02


def value(data: bytes, start: int, end: int, tag: int) -> "tuple[int, int]":
    """Where the value with this tag lies that begins at `start` and ends by `end`: (first, past the last).

    Raises ValueError for another tag, a length not in its shortest form, or one that leads past `end`.
    """
    if end - start < 2 or data[start] != tag:
        raise ValueError("DER: unexpected tag")
    length = data[start + 1]
    start += 2
    if length > 0x80:
        size = length & 0x7F
        if size > 2 or end - start < size:
            raise ValueError("DER: bad length")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
        if length < 0x80 or (size == 2 and length < 0x100):
            raise ValueError("DER: length not minimal")
    elif length == 0x80:
        raise ValueError("DER: indefinite length")
    if length > end - start:
        raise ValueError("DER: truncated")
    return start, start + length


def whole(data: bytes, start: int, end: int, tag: int) -> int:
    """Like `value`, for one that must end exactly at `end`; returns where it begins."""
    start, stop = value(data, start, end, tag)
    if stop != end:
        raise ValueError("DER: trailing bytes")
    return start


def unsigned(data: bytes, start: int, end: int) -> "tuple[int, int]":
    """A non-negative INTEGER in its shortest form: (number, where it ends). Raises ValueError otherwise."""
    start, stop = value(data, start, end, _INTEGER)
    if start == stop or data[start] & 0x80:
        raise ValueError("DER: negative or empty integer")
    if stop - start > 1 and not data[start] and not data[start + 1] & 0x80:
        raise ValueError("DER: integer not minimal")
    return int.from_bytes(data[start:stop], "big"), stop


def two_integers(data: bytes, start: int, end: int) -> "tuple[int, int]":
    """A SEQUENCE of two non-negative INTEGERs and nothing else. Raises ValueError otherwise."""
    start = whole(data, start, end, SEQUENCE)
    first, start = unsigned(data, start, end)
    second, start = unsigned(data, start, end)
    if start != end:
        raise ValueError("DER: trailing bytes")
    return first, second
