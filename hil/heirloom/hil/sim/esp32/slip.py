"""SLIP framing (RFC 1055), as the serial protocol of Espressif's loaders uses it."""

import re

_END = b"\xc0"
_ESCAPES = {b"\xdb\xdc": b"\xc0", b"\xdb\xdd": b"\xdb"}
_ESCAPED = re.compile(rb"\xdb[\xdc\xdd]")
_WRONG = re.compile(rb"\xdb(?![\xdc\xdd])")


def encode(frame: bytes) -> bytes:
    """The frame as it goes over the line."""
    return _END + frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + _END


class Decoder:
    """Finds the frames in what comes over the line. What stands between two frames counts as one, too: it is noise.

    Args:
        limit: The longest frame; what grows longer is dropped, and so are frames with a wrong escape.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete with these bytes."""
        *pieces, rest = (self._rest + data).split(_END)
        self._rest = rest if len(rest) <= 2 * self._limit else b""
        whole = [_ESCAPED.sub(lambda match: _ESCAPES[match[0]], piece) for piece in pieces if not _WRONG.search(piece)]
        return [frame for frame in whole if 0 < len(frame) <= self._limit]
