"""One metadata file: checked, hashed in its canonical form and looked into, without ever being loaded whole.

What is read from a document is what was hashed: the scanner has accepted every byte of it, finds the places of its
values, and gives the text of those in which escapes occur. Offsets and slices count bytes of the stream.
"""

import hashlib
import io
from array import array

from heirloom.device.compat import collect, const, loads
from heirloom.device.errors import E_FORMAT, E_LIMIT, UpdateError
from heirloom.device.jsonscan import BEGIN, DONE, KEY, Scanner, Unordered

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

    from heirloom.device.protocols import Stream, Update

    Slice = tuple[int, int]

MAX_VALUE = const(16_384)  # bytes of a value that is loaded

# Members of `signed` whose places are noted while it is hashed. A few words in one piece: small objects that live long
# among short-lived ones would leave a small heap without room for anything larger.
_NOTED = const(
    (
        b"_type",
        b"spec_version",
        b"version",
        b"expires",
        b"x-heirloom-signed-at",
        b"consistent_snapshot",
        b"keys",
        b"roles",
        b"meta",
        b"targets",
        b"delegations",
    )
)

_OBJECT = const(0x7B)
_ARRAY = const(0x5B)

_scanners: "list[Scanner]" = []  # those that nobody uses now


def tidy() -> None:
    """Collects garbage, and what is only kept to be used again: a kilobyte for each scanner."""
    _scanners.clear()
    collect()


class Document:
    """A TUF metadata file. Call check() first: it gives the other attributes.

    signed, signatures: their slices. digest: SHA-256 of the canonical form of `signed`.
    """

    signed: "Slice"
    signatures: "Slice"
    digest: bytes
    ordered = True  # as it lies in the file; else it was put in order in memory

    def __init__(self, name: str, stream: "Stream", length: int) -> None:
        """name: for error sentences. length: of the file in the stream, which may go on behind it."""
        self.name = name
        self.length = length
        self._file = stream
        self._stream = stream  # the same, or what was put in order
        self._noted = array("I", [0] * (2 * len(_NOTED)))  # where each begins and ends

    def again(self, stream: "Any") -> "Document":
        """The same document, checked already and found in order, in another stream of the same file.

        stream: None for one that is only remembered.
        """
        copy = Document(self.name, stream, self.length)
        copy.signed, copy.signatures, copy.digest, copy._noted = self.signed, self.signatures, self.digest, self._noted
        return copy

    def close(self) -> None:
        """Closes the stream."""
        self._file.close()

    def malformed(self, complaint: str) -> UpdateError:
        """The error to raise when something in the document is not as it should be."""
        return UpdateError(E_FORMAT, f"{self.name} {complaint}")

    def check(self) -> None:
        """Reads the whole file once, strictly. Raises UpdateError E_FORMAT or E_LIMIT."""
        try:
            self._check(self.length)
        except Unordered:
            from heirloom.device.reorder import reordered

            self.ordered = False
            data = reordered(self.name, self._file, self.length)
            self._stream = io.BytesIO(data)
            self._check(len(data))

    def _check(self, length: int) -> None:
        scanner = self._scanner((0, length), 2)
        found: "dict[bytes, Slice]" = {}
        digest = hashlib.sha256()
        key = b""
        begin = 0
        while True:
            event = scanner.step()
            depth = scanner.depth()
            if event == DONE:
                break
            if event == KEY:
                key = scanner.key()
            elif event == BEGIN:
                begin = scanner.position()
                if depth == 1 and key == b"signed":
                    self._fields(scanner, digest.update)
                    found[key] = (begin, scanner.position())
            elif depth == 1:
                found[key] = (begin, scanner.position())
        _scanners.append(scanner)
        if b"signed" not in found or b"signatures" not in found:
            raise self.malformed("is not TUF metadata: it needs signed and signatures")
        self.signed = found[b"signed"]
        self.signatures = found[b"signatures"]
        self.digest = digest.digest()

    def _fields(self, scanner: Scanner, update: "Update") -> None:
        """Reads `signed`: hashes it and notes where its members lie."""
        scanner.watch(3)
        scanner.emit(update)
        key = b""
        begin = 0
        while True:
            event = scanner.step()
            if event == KEY:
                key = scanner.key()
            elif event == BEGIN:
                begin = scanner.position()
            elif scanner.depth() == 1:
                break
            elif key in _NOTED:
                at = 2 * _NOTED.index(key)
                self._noted[at] = begin
                self._noted[at + 1] = scanner.position()
        scanner.emit(None)
        scanner.watch(2)

    def hash_file(self, update: "Update") -> None:
        """Sends the bytes of the file as they are to update, piece by piece."""
        buffer = bytearray(512)
        self._file.seek(0)
        left = self.length
        while left > 0:
            got = min(self._file.readinto(buffer) or 0, left)
            if not got:
                break
            update(memoryview(buffer)[:got])
            left -= got

    def feed(self, update: "Update") -> None:
        """Sends the canonical bytes of `signed` to update, piece by piece."""
        self._emit(self.signed, update)

    def read(self, where: "Slice") -> bytearray:
        """The text of the value in a slice, as it stands there. Raises UpdateError E_LIMIT beyond 16 KiB."""
        if where[1] - where[0] > MAX_VALUE:
            raise UpdateError(E_LIMIT, f"{self.name} has a value over {MAX_VALUE} bytes")
        data = bytearray(where[1] - where[0])
        self._stream.seek(where[0])
        self._stream.readinto(data)
        return data

    def load(self, where: "Optional[Slice]") -> object:
        """The value in a slice; None without one. Raises UpdateError as read() does."""
        if not where:
            return None
        data = self.read(where)
        text = data.decode()
        if "\\" in text:  # what escapes stand for, only the scanner knows: parsers do not agree on surrogates
            data = bytearray()
            self._emit(where, data.extend)
            # The canonical form escapes no control characters; MicroPython's parser takes all of them but NUL.
            text = data.decode().replace("\0", "\\u0000")
        return loads(text)

    def find(self, where: "Slice", *path: str) -> "Optional[Slice]":
        """The slice of the member that the names lead to, from the object in a slice; None when absent.

        Raises UpdateError E_FORMAT when something on the way is not an object.
        """
        for name in path:
            scanner = self._scanner(where, 2, _OBJECT)
            wanted = name.encode()
            while True:
                event = scanner.step()
                if event == KEY and scanner.key() == wanted:
                    break
                if event == DONE:
                    _scanners.append(scanner)
                    return None
            scanner.step()
            begin = scanner.position()
            scanner.step()
            where = (begin, scanner.position())
            _scanners.append(scanner)
        return where

    def field(self, *path: str) -> "Optional[Slice]":
        """The slice of a member of `signed`, or None."""
        name = path[0].encode()
        if name not in _NOTED:
            return self.find(self.signed, *path)
        at = 2 * _NOTED.index(name)
        return self.find((self._noted[at], self._noted[at + 1]), *path[1:]) if self._noted[at] else None

    def value(self, *path: str) -> object:
        """The value of a member of `signed`, or None."""
        return self.load(self.field(*path))

    def members(self, where: "Slice") -> "Iterator[tuple[str, Slice]]":
        """Names and slices of the members of an object, in ascending order of their UTF-8.

        Raises UpdateError E_FORMAT for anything but an object.
        """
        return self._items(where, _OBJECT)

    def elements(self, where: "Slice") -> "Iterator[Slice]":
        """Slices of the elements of an array, in order. Raises UpdateError E_FORMAT for anything but an array."""
        for _, value in self._items(where, _ARRAY):
            yield value

    def _items(self, where: "Slice", bracket: int) -> "Iterator[tuple[str, Slice]]":
        scanner = self._scanner(where, 2, bracket)
        key = ""
        begin = 0
        while True:
            event = scanner.step()
            if event == KEY:
                key = scanner.key().decode()
            elif event == BEGIN:
                begin = scanner.position()
            elif event == DONE:
                break
            elif scanner.depth() == 1:
                yield key, (begin, scanner.position())
        _scanners.append(scanner)

    def _emit(self, where: "Slice", update: "Update") -> None:
        scanner = self._scanner(where, 0)
        scanner.emit(update)
        scanner.step()
        _scanners.append(scanner)

    def _scanner(self, where: "Slice", watch: int, bracket: int = 0) -> Scanner:
        """A scanner at the slice, which must begin with the bracket if one is given."""
        scanner = _scanners.pop() if _scanners else Scanner()
        scanner.start(self.name, self._stream, where[0], where[1], watch)
        if bracket and scanner.peek() != bracket:
            raise self.malformed(f"has the wrong type of value (at byte {where[0]})")
        return scanner
