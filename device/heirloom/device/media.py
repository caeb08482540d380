"""A place that is no server: a folder on a card or a stick, the host's folder over serial, or one bundle file.

Stands where http.Http stands, so that all checks are the same. A folder holds what a web host would serve; a file is
a tar whose first member says where the others lie (docs/bundle.cddl), read where it lies. Nothing found there is
believed: a file is a number of bytes that somebody else verifies. Nothing is ever written there.
"""

import binascii
import hashlib
import os

from micropython import const

from heirloom.device.errors import E_NETWORK, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import IO, Optional, Union

_FOLDER = const(0x4000)
_REGULAR = const(0x8000)
_PATH_BYTES = const(255)
_BLOCK = const(512)  # of a tar
_INDEX_BYTES = const(65536)
_MEMBERS = const(2048)
_ENTRY_BYTES = const(192)  # the longest key, and two numbers
_FILE_NAME = "heirloom.tar"
_TIMESTAMP = "metadata/timestamp.json"


class Media:
    """One folder or bundle file; `base` is its URL for Places.

    A folder without metadata that holds a file heirloom.tar means that file. Raises UpdateError E_NETWORK when there
    is nothing at the path.
    """

    date = ""  # nobody says here what time it is

    def __init__(self, path: str) -> None:
        self.requests = 0
        self._file: "Optional[IO[bytes]]" = None
        self._start = 0  # of the members of a bundle file; 0: it is a folder
        self._entries = 0  # where they are described
        self._index_end = 0
        path = path_of(path)
        if not mode(path):
            raise UpdateError(E_NETWORK, f"there is nothing at {path}: no card, or it is not mounted")
        if not mode(path + "/metadata") and mode(path + "/" + _FILE_NAME):
            path += "/" + _FILE_NAME
        self.base = path + "/"
        if mode(path) & _REGULAR:
            self._open_bundle(path)

    def get(self, url: str, offset: int = 0, _etag: str = "", _tls_only: bool = False) -> "Answer":
        """Opens a file from byte `offset` on. Raises UpdateError E_NETWORK when the medium cannot be read."""
        self.close()
        self.requests += 1
        path = url[len(self.base) :]
        if path.endswith(".z"):  # a twin spares the network bytes; here it would only cost memory
            return Answer(None, 404, 0, 0)
        try:
            place = self._look_up(path) if self._start else self._find(path)
            if place is None:
                return Answer(None, 404, 0, 0)
            file, start, length = place
            offset = offset if offset <= length else 0
            file.seek(start + offset)
        except OSError as error:
            raise _unreadable(self.base, error) from None
        self._file = file
        return Answer(file, 206 if offset else 200, offset, length - offset)

    def close(self) -> None:
        """Closes the file that is open, if there is one."""
        file, self._file = self._file, None
        if file:
            try:
                file.close()
            except OSError:
                pass

    def news(self) -> str:
        """What tells this timestamp from others; "" when there is none to read."""
        try:
            answer = self.get(self.base + _TIMESTAMP)
            digest, chunk = hashlib.sha256(), memoryview(bytearray(256))
            for _ in range(64):  # of what is longer, the beginning does
                count = answer.readinto(chunk)
                if not count:
                    break
                digest.update(chunk[:count])
            return str(binascii.hexlify(digest.digest()[:8]), "ascii") if answer.status == 200 else ""
        except UpdateError:
            return ""
        finally:
            self.close()

    def _find(self, path: str) -> "Optional[tuple[IO[bytes], int, int]]":
        """The plain file of this name in a folder."""
        # A name from signed metadata stays inside, whoever signed it.
        if len(path) > _PATH_BYTES or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
            return None
        full = self.base + path
        if not mode(full) & _REGULAR:
            return None
        file = open(full, "rb")  # noqa: SIM115 - the answer reads from it
        return file, 0, file.seek(0, 2)

    def _open_bundle(self, path: str) -> None:
        """Reads where the index lies and how it begins: a map whose second entry, 2, is the map of members."""
        head = bytearray(_BLOCK)
        try:
            with open(path, "rb") as file:
                file.readinto(head)
                size = int(bytes(head[124:135]).strip(b" \0") or b"0", 8)
                file.readinto(head)
            if head[0] >> 5 == 5 and head[1:4] == b"\x01\x01\x02" and 0 < size <= _INDEX_BYTES:
                self._index_end = _BLOCK + size
                self._start = _BLOCK + (size + _BLOCK - 1) // _BLOCK * _BLOCK
                self._entries = _BLOCK + _head(head, 4)[0]
                return
        except OSError as error:
            raise _unreadable(path, error) from None
        except (ValueError, IndexError):
            pass
        raise UpdateError(E_NETWORK, f"{path} is no bundle that this version can read")

    def _look_up(self, path: str) -> "Optional[tuple[IO[bytes], int, int]]":
        """The member of this name in a bundle file."""
        wanted = key(path)
        entry = bytearray(_ENTRY_BYTES)
        file = open(self.base[:-1], "rb")  # noqa: SIM115 - the answer reads from it
        at = self._entries
        try:
            for _ in range(_MEMBERS):
                if at >= self._index_end:
                    break
                file.seek(at)
                file.readinto(entry)
                # A key is a string: its head says how long it is.
                after, length = _head(entry, 0)
                found = bytes(entry[: after + length]) == wanted
                after, offset = _head(entry, after + length + 1)
                after, length = _head(entry, after)
                if found:
                    start = self._start + offset
                    if start + length <= file.seek(0, 2):
                        return file, start, length
                    break
                at += after
        except (IndexError, ValueError):
            pass  # an index that is none names nothing
        file.close()
        return None


class Answer:
    """What lies there, as http.Response gives what a server says; `length` bytes of it are left."""

    etag = ""

    def __init__(self, file: "Optional[IO[bytes]]", status: int, offset: int, length: int) -> None:
        self.status = status
        self.offset = offset
        self.length = length
        self._file = file

    def readinto(self, buffer: "Union[bytearray, memoryview]") -> int:
        """Reads the next bytes; 0 at the end. Raises UpdateError E_NETWORK when the medium cannot be read."""
        wanted = min(len(buffer), self.length)
        if not wanted or self._file is None:
            return 0
        try:
            count = self._file.readinto(buffer if wanted == len(buffer) else memoryview(buffer)[:wanted]) or 0
        except (OSError, ValueError) as error:
            raise _unreadable("the medium", error) from None
        if not count:
            raise _unreadable("the medium", OSError(5))
        self.length -= count
        return count


def path_of(place: str) -> str:
    """The path that a place names: "/sd", or "file:///sd"; without a slash at its end."""
    return (place[7:] if place.startswith("file://") else place).rstrip("/")


def mode(path: str) -> int:
    """The type of what lies at a path; 0 when there is nothing."""
    try:
        return os.stat(path)[0] & (_FOLDER | _REGULAR)
    except OSError:
        return 0


def key(path: str) -> bytes:
    """The name of a member in the index, encoded: a blob is called by its hash, anything else by its path."""
    if path.startswith("blobs/"):
        try:
            return b"\x58\x20" + binascii.unhexlify(path[6:])
        except ValueError:
            pass
    text = path.encode()
    return (bytes([0x60 + len(text)]) if len(text) < 24 else bytes([0x78, len(text) & 0xFF])) + text


def _head(data: bytearray, at: int) -> "tuple[int, int]":
    """The end and the number of the CBOR head at `at`. Raises IndexError or ValueError."""
    short = data[at] & 31
    if short < 24:
        return at + 1, short
    # Of four bytes only what a file on a board can be long: a larger number is none that it could seek to.
    if short > 26 or (short == 26 and data[at + 1] > 0x3F):
        raise ValueError(short)
    end = at + 1 + (1 << (short - 24))
    return end, int.from_bytes(bytes(data[at + 1 : end]), "big")


def _unreadable(what: str, error: Exception) -> UpdateError:
    return UpdateError(E_NETWORK, f"{what} cannot be read: {error!r}")
