"""Puts a small document whose members are in another order into the order of the canonical form.

The slow path: other publishers write such files, and they must get the same verdict. Memory grows with the
document, so its length is bounded.
"""

from heirloom.device.compat import const
from heirloom.device.errors import E_LIMIT, UpdateError
from heirloom.device.jsonscan import BEGIN, DONE, KEY, MAX_DEPTH, Scanner

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from heirloom.device.protocols import Stream

    Member = list[Any]  # name, and where in the output its value begins and ends

MAX_UNORDERED = const(65_536)  # bytes of a document whose members are not in canonical order


def reordered(name: str, stream: "Stream", length: int) -> bytes:
    """The canonical form of the document in the first length bytes of the stream.

    A name that occurs twice stays twice, so that the next scan refuses it. Raises UpdateError as Scanner does, and
    E_LIMIT for a document over 64 KiB.
    """
    if length > MAX_UNORDERED:
        raise UpdateError(E_LIMIT, f"{name} is not in canonical order and over {MAX_UNORDERED} bytes")
    scanner = Scanner()
    scanner.start(name, stream, 0, length, MAX_DEPTH + 1, ordered=False)
    out = bytearray()
    open_values: "list[tuple[int, list[Member]]]" = []  # where it begins in out, its members
    scanner.emit(out.extend)
    while True:
        event = scanner.step()
        if event == DONE:
            return _escaped(bytes(out))
        scanner.flush()
        if event == KEY:
            open_values[-1][1].append([scanner.key(), 0, 0])
        elif event == BEGIN:
            open_values.append((len(out), []))
        else:
            begin, members = open_values.pop()
            if members:
                out[begin:] = _sorted(out, members)
            if open_values and open_values[-1][1]:
                open_values[-1][1][-1][1:] = [begin, len(out)]


def _sorted(out: bytearray, members: "list[Member]") -> bytes:
    """The object with these members, in order."""
    members.sort(key=lambda member: member[0])
    pieces = []
    for name, begin, end in members:
        escaped = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        pieces.append(b'"' + escaped + b'":' + bytes(out[begin:end]))
    return b"{" + b",".join(pieces) + b"}"


def _escaped(data: bytes) -> bytes:
    """The same with the control characters escaped, which the canonical form leaves as they are and JSON forbids."""
    for c in range(0x20):
        if c in data:
            data = data.replace(bytes([c]), b"\\u00%02x" % c)
    return data
