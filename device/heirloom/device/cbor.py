"""Deterministic CBOR: the part of RFC 8949 that devices read and write themselves.

Integers, byte and text strings, arrays, maps, booleans and null, in the one form that
RFC 8949 4.2.1 allows: shortest heads, definite lengths, map keys in bytewise order of their
encoding. Whatever is not in that form is refused, so a value has exactly one encoding and
equal bytes mean equal values. Pure: runs under CPython and MicroPython.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

MAX_LENGTH = 16384
MAX_DEPTH = 8

_UINT = 0
_NINT = 1
_BYTES = 2
_TEXT = 3
_ARRAY = 4
_MAP = 5
_SIMPLE = 7


class CborError(ValueError):
    """The bytes are not deterministic CBOR, or the value has no encoding in it."""


def encode(value: object) -> bytes:
    """The deterministic encoding of a value made of int, bytes, str, list, tuple, dict, bool and None.

    Raises CborError for any other type, an integer over 64 bits, or a map key that is not int, bytes or str.
    """
    out = bytearray()
    _append(out, value, MAX_DEPTH)
    return bytes(out)


def _append(out: bytearray, value: object, depth: int) -> None:
    if depth < 0:
        raise CborError("nested too deep")
    if value is None or value is True or value is False:
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _append_head(out, _UINT if value >= 0 else _NINT, value if value >= 0 else -1 - value)
    elif isinstance(value, str):
        _append_string(out, _TEXT, value.encode())
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _append_string(out, _BYTES, value)
    elif isinstance(value, (list, tuple)):
        _append_head(out, _ARRAY, len(value))
        for item in value:
            _append(out, item, depth - 1)
    elif isinstance(value, dict):
        _append_map(out, value, depth)
    else:
        raise CborError("no encoding for " + str(type(value)))


def _append_head(out: bytearray, major: int, number: int) -> None:
    major <<= 5
    if number < 24:
        out.append(major | number)
        return
    size = 1 if number < 0x100 else 2 if number < 0x10000 else 4 if number < 0x100000000 else 8
    if size == 8 and number >> 64:
        raise CborError("integer over 64 bits")
    out.append(major | {1: 24, 2: 25, 4: 26, 8: 27}[size])
    out.extend(number.to_bytes(size, "big"))


def _append_string(out: bytearray, major: int, data: "Buffer") -> None:
    if major == _TEXT:
        check_utf8(data)
    _append_head(out, major, len(data))
    out.extend(data)


def _append_map(out: bytearray, value: "dict[object, object]", depth: int) -> None:
    entries = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, (int, str, bytes)):
            raise CborError("map keys are int, bytes or str")
        encoded = bytearray()
        _append(encoded, key, 0)
        entries.append((bytes(encoded), item))
    entries.sort(key=lambda entry: entry[0])
    _append_head(out, _MAP, len(entries))
    for encoded_key, item in entries:
        out.extend(encoded_key)
        _append(out, item, depth - 1)


# RFC 3629, section 4: the second byte is narrower after these first bytes.
_SECOND_LOWEST = {0xE0: 0xA0, 0xF0: 0x90}
_SECOND_HIGHEST = {0xED: 0x9F, 0xF4: 0x8F}


def check_utf8(data: "Buffer") -> None:
    """Raise CborError unless `data` is UTF-8 as RFC 3629 has it: no surrogate, no longer form than needed."""
    position, end = 0, len(data)
    while position < end:
        first = data[position]
        position += 1
        if first < 0x80:
            continue
        extra = 1 if 0xC2 <= first <= 0xDF else 2 if first & 0xF0 == 0xE0 else 3 if 0xF0 <= first <= 0xF4 else 0
        if not extra or position + extra > end:
            raise CborError("not UTF-8")
        second = data[position]
        if not _SECOND_LOWEST.get(first, 0x80) <= second <= _SECOND_HIGHEST.get(first, 0xBF):
            raise CborError("not UTF-8")
        for index in range(position + 1, position + extra):
            if data[index] & 0xC0 != 0x80:
                raise CborError("not UTF-8")
        position += extra


def decode(data: "Buffer", max_length: int = MAX_LENGTH, max_depth: int = MAX_DEPTH) -> object:
    """The value that `data` encodes; raises CborError unless it is exactly one deterministic item.

    At most `max_length` bytes and `max_depth` levels of arrays and maps are accepted.
    """
    reader = Reader(data, max_length, max_depth)
    value = reader.item()
    reader.finish()
    return value


class Reader:
    """Reads items one after the other, for callers that do not want the whole document as objects."""

    def __init__(self, data: "Buffer", max_length: int = MAX_LENGTH, max_depth: int = MAX_DEPTH) -> None:
        if len(data) > max_length:
            raise CborError("longer than " + str(max_length) + " bytes")
        self._data = data
        self.position = 0
        self._max_depth = max_depth

    def finish(self) -> None:
        """Raise CborError when bytes are left after the last item."""
        if self.position != len(self._data):
            raise CborError("bytes after the end")

    def array(self) -> int:
        """Read the head of an array; returns the number of items that follow."""
        return self._sized(_ARRAY)

    def map(self) -> int:
        """Read the head of a map; returns the number of pairs that follow. The caller checks their order."""
        return self._sized(_MAP)

    def _sized(self, wanted: int) -> int:
        major, number = self._head()
        if major != wanted:
            raise CborError("an array was expected" if wanted == _ARRAY else "a map was expected")
        self._check_left(number)
        return number

    def item(self, depth: int = 0) -> object:
        """Read one item; `depth` is how many arrays and maps are already around it."""
        if depth > self._max_depth:
            raise CborError("nested too deep")
        major, number = self._head()
        if major == _UINT:
            return number
        if major == _NINT:
            return -1 - number
        if major == _SIMPLE:
            return _simple(number)
        self._check_left(number)
        if major == _BYTES or major == _TEXT:
            return self._string(major, number)
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in range(number)]
        return self._map(number, depth + 1)

    def _check_left(self, number: int) -> None:
        # Every byte of a string and every item takes at least one byte: no huge allocation for a lie.
        if number > len(self._data) - self.position:
            raise CborError("cut short")

    def _head(self) -> "tuple[int, int]":
        data, position = self._data, self.position
        if position >= len(data):
            raise CborError("cut short")
        major, short = data[position] >> 5, data[position] & 31
        self.position = position + 1
        if major == 6:
            raise CborError("tags are not used")
        if short < 24:
            return major, short
        if short > 27 or major == _SIMPLE:
            raise CborError("not in the deterministic subset")
        size = 1 << (short - 24)
        end = position + 1 + size
        if end > len(data):
            raise CborError("cut short")
        number = int.from_bytes(bytes(data[position + 1 : end]), "big")
        if number < (24, 0x100, 0x10000, 0x100000000)[short - 24]:
            raise CborError("not the shortest form")
        self.position = end
        return major, number

    def _string(self, major: int, length: int) -> object:
        start = self.position
        self.position = start + length
        data = bytes(self._data[start : start + length])
        if major == _BYTES:
            return data
        check_utf8(data)
        return str(data, "utf-8")

    def _map(self, pairs: int, depth: int) -> "dict[object, object]":
        result: "dict[object, object]" = {}
        last = b""
        for _ in range(pairs):
            start = self.position
            key = self.item(self._max_depth)
            encoded = bytes(self._data[start : self.position])
            if isinstance(key, bool) or not isinstance(key, (int, str, bytes)):
                raise CborError("map keys are int, bytes or str")
            if encoded <= last:
                raise CborError("map keys out of order or twice")
            last = encoded
            result[key] = self.item(depth)
        return result


def _simple(number: int) -> object:
    if number == 20 or number == 21:
        return number == 21
    if number == 22:
        return None
    raise CborError("not in the deterministic subset")
