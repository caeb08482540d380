"""Verified metadata and key tables on flash: the Store and the TableCache of the verification core (protocols.py)."""

import hashlib
import os
import sys

import heirloom_boot
from micropython import const

from heirloom.device.errors import E_SPACE, E_STATE, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import IO, Callable, Optional

    from heirloom.device.protocols import Buffer, Stream, Table, Temporary, Update

TRUST = "/heirloom/trust/"
_TABLES = TRUST + "tables/"
_MAX_TABLES = const(12)
_MAX_TABLE_BYTES = const(4096)
_HASH_BYTES = const(32)
_MAKERS = ("comb_build", "ed25519_table", "p256_table")  # modules that only make tables
_RARE = ("jsontext", "reorder", "rootchain")  # modules of the core that are loaded again when they are needed again
_NOTES_BYTES = const(1024)
_ENOSPC = const(28)


def flash_error(error: OSError, what: str) -> UpdateError:
    """What an OSError of the flash file system means for an update."""
    if error.errno == _ENOSPC:
        return UpdateError(E_SPACE, f"flash is full while writing {what}")
    return UpdateError(E_STATE, f"{what} cannot be written or read: {error!r}")


def remove(path: str) -> None:
    """Removes a file; no error when there is none."""
    try:
        os.remove(path)
    except OSError:
        pass


def write_atomic(path: str, data: bytes) -> None:
    """Replaces a file: after a power cut it is the old one or the new one, whole. Raises UpdateError."""
    try:
        with open(path + ".new", "wb") as file:
            file.write(data)
        os.rename(path + ".new", path)
    except OSError as error:
        raise flash_error(error, path) from None


def read(path: str, limit: int = 16384) -> bytes:
    """At most `limit` bytes of a file; b"" when there is none."""
    try:
        with open(path, "rb") as file:
            # read(limit) would take that much memory whatever the file holds.
            length = file.seek(0, 2)
            file.seek(0)
            return bytes(file.read(min(length, limit)))
    except OSError:
        return b""


class FlashTemporary:
    """A new file without a name of its own yet; errors are UpdateError."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file: "IO[bytes]" = open(path, "w+b")  # noqa: SIM115 - whoever asked for it closes it
        except OSError as error:
            raise flash_error(error, path) from None
        self.readinto = self._file.readinto
        self.seek = self._file.seek
        self.close = self._file.close

    def write(self, data: "Buffer") -> "Optional[int]":
        """Appends all of data. Raises UpdateError E_SPACE when flash is full."""
        try:
            return self._file.write(data)
        except OSError as error:
            raise flash_error(error, self.path) from None


class FlashStore:
    """The trusted metadata, one file each under /heirloom/trust, exactly as verified."""

    def open(self, name: str) -> "Optional[Stream]":
        """The file as last committed, or None."""
        try:
            return open(TRUST + name + ".json", "rb")  # type: ignore[no-any-return]
        except OSError:
            return None

    def provisioned_root(self) -> "Optional[Stream]":
        """The root this device was provisioned with."""
        return self.open("provisioned")

    def temporary(self) -> "Temporary":
        """A new empty temporary."""
        return FlashTemporary(TRUST + "tmp")

    def commit(self, name: str, temporary: "Temporary") -> None:
        """Gives the temporary its name. littlefs makes the rename atomic."""
        try:
            temporary.close()
            os.rename(TRUST + "tmp", TRUST + name + ".json")
        except OSError as error:
            raise flash_error(error, name) from None

    def discard(self, temporary: "Temporary") -> None:
        """Forgets a temporary."""
        temporary.close()
        remove(TRUST + "tmp")

    def remove(self, name: str) -> None:
        """Deletes a file of the store."""
        remove(TRUST + name + ".json")

    def load_notes(self) -> bytes:
        """The core's notes, or b""."""
        return read(TRUST + "time", _NOTES_BYTES)

    def save_notes(self, data: bytes) -> None:
        """Keeps the core's notes, when they changed."""
        if data != self.load_notes():
            write_atomic(TRUST + "time", data)

    def highest_root(self) -> int:
        """The highest root version the state remembers."""
        return int(heirloom_boot.current()["r"])

    def remember_root(self, version: int) -> None:
        """Never lowers it."""
        if version > self.highest_root():
            try:
                heirloom_boot.change(r=version)
            except OSError as error:
                raise flash_error(error, "state") from None


def _forget(modules: "tuple[str, ...]") -> None:
    names = [name.split(".")[-1] for name in sys.modules]
    heirloom_boot.forget(*[name for name in names if name not in modules])


class FlashTables:
    """Tables of keys, each file ending in the SHA-256 of the rest; at most a dozen are kept."""

    def get(self, name: str) -> "Optional[Table]":
        """The table kept under the name, or None when there is none or it is damaged."""
        try:
            with open(_TABLES + name, "rb") as file:
                data = bytearray(min(file.seek(0, 2), _MAX_TABLE_BYTES))
                file.seek(0)
                file.readinto(data)
        except OSError:
            return None
        intact = hashlib.sha256(memoryview(data)[:-_HASH_BYTES]).digest() == data[-_HASH_BYTES:]
        if not intact:
            return None
        from heirloom.device.comb import MemoryTable

        return MemoryTable(data)

    def put(self, name: str, make: "Callable[[Update], None]") -> None:
        """Keeps a table when there is room for it. A power cut leaves a file that `get` refuses."""
        try:
            if _TABLES[:-1].rsplit("/", 1)[1] not in os.listdir(TRUST):
                os.mkdir(_TABLES[:-1])
            names = os.listdir(_TABLES)
            if len(names) >= _MAX_TABLES:
                os.remove(_TABLES + names[0])
            digest = hashlib.sha256()
            _forget(_RARE)  # making a table takes more memory than anything else
            with open(_TABLES + name, "wb") as file:

                def write(data: "Buffer") -> None:
                    digest.update(data)
                    file.write(data)

                make(write)
                file.write(digest.digest())
            _forget(_MAKERS)
        except OSError:
            remove(_TABLES + name)

    def drop(self, name: str) -> None:
        """Forgets a table."""
        remove(_TABLES + name)
