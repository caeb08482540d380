"""A Store of the verification core in a plain directory, for programs on the unix port and for tests."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_TEMPORARY = ".temporary"
_NOTES = ".notes"
_HIGHEST = ".highest-root"


class DirectoryStore:
    """Files ROLE.json in one directory; notes and the highest root version in files that begin with a dot."""

    def __init__(self, directory: str, provisioned: "Optional[str]" = None) -> None:
        """provisioned: path of the root that was provisioned."""
        self._directory = directory
        self._provisioned = provisioned

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"

    def open(self, name: str) -> "Any":
        """See protocols.Store."""
        return _open(self._path(name + ".json"))

    def provisioned_root(self) -> "Any":
        """See protocols.Store."""
        return _open(self._provisioned) if self._provisioned else None

    def temporary(self) -> "Any":
        """See protocols.Store."""
        return open(self._path(_TEMPORARY), "w+b")

    def commit(self, name: str, temporary: "Any") -> None:
        """See protocols.Store."""
        temporary.close()
        os.rename(self._path(_TEMPORARY), self._path(name + ".json"))

    def discard(self, temporary: "Any") -> None:
        """See protocols.Store."""
        temporary.close()
        _remove(self._path(_TEMPORARY))

    def remove(self, name: str) -> None:
        """See protocols.Store."""
        _remove(self._path(name + ".json"))

    def load_notes(self) -> bytes:
        """See protocols.Store."""
        return self._read(_NOTES)

    def save_notes(self, data: bytes) -> None:
        """See protocols.Store."""
        self._write(_NOTES, data)

    def highest_root(self) -> int:
        """See protocols.Store."""
        return int(self._read(_HIGHEST) or b"0")

    def remember_root(self, version: int) -> None:
        """See protocols.Store."""
        if version > self.highest_root():
            self._write(_HIGHEST, str(version).encode())

    def _read(self, name: str) -> bytes:
        stream = _open(self._path(name))
        if stream is None:
            return b""
        data: bytes = stream.read()
        stream.close()
        return data

    def _write(self, name: str, data: bytes) -> None:
        with open(self._path(name), "wb") as file:
            file.write(data)


def _open(path: str) -> "Any":
    try:
        return open(path, "rb")
    except OSError:
        return None


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass
