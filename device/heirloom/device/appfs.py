"""The file system at /app: a release's paths, resolved to content-addressed blobs, read-only.

Files that the release names under `keep` belong to the application: they are read from the release
until the application first writes them, and live in /data from then on, through updates and rollbacks.
An entry of `keep` is a file or a folder. Everything else is read-only: OSError 30 (EROFS).

Resident are 4 bytes for each file and folder; the names stay in the manifest on flash.
"""

import binascii
import os
from array import array

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import IO, Any, Iterator

_ENOENT = const(2)
_EACCES = const(13)
_ENOTDIR = const(20)
_EISDIR = const(21)
_EROFS = const(30)
_FOLDER = const(0x4000)
_FILE = const(0x8000)
_RECORD_BYTES = const(176)  # the longest: 127 of path, 32 of hash, and heads
_KEY_FILES = const(11)
_KEY_KEEP = const(14)


class AppFS:
    """A MicroPython VFS. `manifest` is the path of a verified manifest, `blobs` and `data` end in a slash.

    Raises ValueError when the manifest is damaged and OSError when it cannot be read.
    """

    def __init__(self, manifest: str, blobs: str = "/heirloom/blobs/", data: str = "/data/") -> None:
        self._manifest = manifest
        self._blobs = blobs
        self._data = data
        self._cwd = ""
        self._keep: "tuple[str, ...]" = ()
        self._marks = array("H")  # a 16-bit mark of each path, to read the manifest only for likely hits
        self._offsets = array("H")  # where its record lies in the manifest
        self._folder_marks = array("H")
        self._folder_firsts = array("H")  # index of the first file inside
        self._told = False
        self._index()

    def _index(self) -> None:
        from heirloom.device.cbor import Reader

        with open(self._manifest, "rb") as file:
            reader = Reader(file.read())
        folders: "set[int]" = set()
        for _ in range(reader.map()):
            key = reader.item()
            if key == _KEY_KEEP:
                self._keep = tuple(reader.item())  # type: ignore[arg-type]
            elif key != _KEY_FILES:
                reader.item()
            else:
                for index in range(reader.array()):
                    self._offsets.append(reader.position)
                    path = reader.item()[0]  # type: ignore[index]
                    self._marks.append(_mark(path))
                    self._index_folders(path, index, folders)
        reader.finish()

    def _index_folders(self, path: str, index: int, known: "set[int]") -> None:
        end = path.find("/")
        while end > 0:
            mark = _mark(path[:end])
            if mark not in known:
                known.add(mark)
                self._folder_marks.append(mark)
                self._folder_firsts.append(index)
            end = path.find("/", end + 1)

    # The protocol of a MicroPython VFS.

    def mount(self, readonly: bool, mkfs: bool) -> None:
        """Nothing to prepare."""

    def umount(self) -> None:
        """Nothing to release."""

    def getcwd(self) -> str:
        """The working directory, from this file system's root."""
        return "/" + self._cwd

    def chdir(self, path: str) -> None:
        """Changes the working directory."""
        path = self._absolute(path)
        if self._stat(path)[0] != _FOLDER:
            raise OSError(_ENOTDIR)
        self._cwd = path

    def open(self, path: str, mode: str = "r") -> "IO[Any]":
        """Opens a file: a real file of the flash file system."""
        path = self._absolute(path)
        writes = "w" in mode or "a" in mode or "+" in mode or "x" in mode
        if not writes:
            return open(self._locate(path), mode)
        # Copied even when all of it gets replaced: littlefs makes a new file at once, empty, and fills it when it is
        # closed; an old one it replaces then. A power cut in between leaves what was there, never an empty file.
        self._own(path, copy=True)
        return open(self._data + path, mode)

    def stat(self, path: str) -> "tuple[int, ...]":
        """As os.stat: the type and the length in bytes are set."""
        return self._stat(self._absolute(path))

    def _stat(self, path: str) -> "tuple[int, ...]":
        if self._kept(path):
            try:
                return os.stat(self._data + path)
            except OSError:
                pass
        index = self._find(path)
        if index >= 0:
            return (_FILE, 0, 0, 0, 0, 0, self._record(index)[1], 0, 0, 0)
        if path and self._first_in(path) < 0 and not self._holds_kept(path):
            raise OSError(_ENOENT)
        return (_FOLDER, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def ilistdir(self, path: str) -> "Iterator[tuple[str, int, int, int]]":
        """As os.ilistdir: (name, type, 0, length in bytes)."""
        path = self._absolute(path)
        if self._stat(path)[0] != _FOLDER:
            raise OSError(_ENOTDIR)
        return self._entries(path)

    def statvfs(self, _path: str) -> "tuple[int, ...]":
        """As os.statvfs of the flash file system underneath."""
        return os.statvfs("/")

    def mkdir(self, path: str) -> None:
        """Makes a folder, under `keep` only."""
        path = self._absolute(path)
        self._own(path)
        os.mkdir(self._data + path)

    def remove(self, path: str) -> None:
        """Removes a file under `keep`; where the release has one of that name, it shows again."""
        path = self._absolute(path)
        self._own(path)
        os.remove(self._data + path)

    def rmdir(self, path: str) -> None:
        """Removes an empty folder under `keep`."""
        path = self._absolute(path)
        self._own(path)
        os.rmdir(self._data + path)

    def rename(self, old: str, new: str) -> None:
        """Renames a file or folder; both names are under `keep`."""
        old, new = self._absolute(old), self._absolute(new)
        self._own(old, copy=True)
        self._own(new)
        os.rename(self._data + old, self._data + new)

    # Paths here are relative to /app, without "." and "..".

    def _absolute(self, path: str) -> str:
        segments: "list[str]" = [] if path.startswith("/") else self._cwd.split("/")
        for segment in path.split("/"):
            if segment == "..":
                segments = segments[:-1]
            elif segment != ".":
                segments = segments + [segment]
        return "/".join([segment for segment in segments if segment])

    def _kept(self, path: str) -> bool:
        return any(path == keep or path.startswith(keep + "/") for keep in self._keep)

    def _holds_kept(self, path: str) -> bool:
        """Whether a folder that the release does not have holds a kept path that exists."""
        return any(keep.startswith(path + "/") and _exists(self._data + keep) for keep in self._keep)

    def _own(self, path: str, copy: bool = False) -> None:
        """Makes /data ready for a change of `path`: its folder is made, and the release's file copied if asked for.

        Raises OSError EROFS when the path is not kept.
        """
        if not self._kept(path):
            if not self._told:
                self._told = True
                import heirloom_boot

                heirloom_boot.log(
                    f'/app/{path} is read-only (EROFS): a release is signed; name it under "keep" or write to /data'
                )
            raise OSError(_EROFS)
        end = 0
        target = self._data + path
        while True:
            end = target.find("/", end + 1)
            if end < 0:
                break
            if not _exists(target[:end]):
                os.mkdir(target[:end])
        if copy and self._find(path) >= 0 and not _exists(target):
            self._copy(path, target)

    def _copy(self, path: str, target: str) -> None:
        chunk = bytearray(256)
        with open(self._locate(path), "rb") as source, open(target + ".new", "wb") as copy:
            while True:
                count = source.readinto(chunk)
                if not count:
                    break
                copy.write(memoryview(chunk)[:count])
        os.rename(target + ".new", target)

    def _locate(self, path: str) -> str:
        """The path of the real file."""
        if self._kept(path) and _exists(self._data + path):
            return self._data + path
        index = self._find(path)
        if index < 0:
            raise OSError(_EISDIR if not path or self._first_in(path) >= 0 else _ENOENT)
        return self._blobs + str(binascii.hexlify(self._record(index)[2]), "ascii")

    def _find(self, path: str) -> int:
        """The index of a file of the release, or -1."""
        mark = _mark(path)
        for index, candidate in enumerate(self._marks):
            if candidate == mark and self._record(index)[0] == path:
                return index
        return -1

    def _first_in(self, folder: str) -> int:
        """The index of the first file in a folder of the release, or -1. Files are sorted, so the others follow."""
        mark = _mark(folder)
        for index, candidate in enumerate(self._folder_marks):
            if candidate == mark and self._record(self._folder_firsts[index])[0].startswith(folder + "/"):
                return self._folder_firsts[index]
        return -1

    def _record(self, index: int) -> "tuple[str, int, bytes]":
        """Path, length and SHA-256 of a file, read from the manifest."""
        with open(self._manifest, "rb") as file:
            file.seek(self._offsets[index])
            data = file.read(_RECORD_BYTES)
        at, size = _head(data, 1)
        path = str(data[at : at + size], "utf-8")
        at, length = _head(data, at + size)
        return path, length, data[at + 2 : at + 34]

    def _entries(self, folder: str) -> "Iterator[tuple[str, int, int, int]]":
        prefix = folder + "/" if folder else ""
        seen: "set[str]" = set()
        index = self._first_in(folder) if folder else 0
        while 0 <= index < len(self._marks):
            path, length, _ = self._record(index)
            if not path.startswith(prefix):
                break
            name = path[len(prefix) :]
            inside = name.find("/")
            if inside >= 0:
                name = name[:inside]
            if name not in seen:
                seen.add(name)
                yield (name, _FILE if inside < 0 else _FOLDER, 0, length if inside < 0 else 0)
            index += 1
        for name in self._kept_names(folder, prefix):
            if name not in seen:
                seen.add(name)
                stat = self._stat(prefix + name)
                yield (name, stat[0], 0, stat[6])

    def _kept_names(self, folder: str, prefix: str) -> "list[str]":
        """Names that exist in /data under this folder, and are kept."""
        if not _exists(self._data + folder):
            return []
        names = os.listdir(self._data + folder)
        return [name for name in names if self._kept(prefix + name) or self._holds_kept(prefix + name)]


def _mark(path: str) -> int:
    return int(binascii.crc32(path.encode())) & 0xFFFF


def _head(data: bytes, at: int) -> "tuple[int, int]":
    """The end and the number of the CBOR head at `at`; the record was checked when the release was installed."""
    short = data[at] & 31
    if short < 24:
        return at + 1, short
    end = at + 1 + (1 << (short - 24))
    return end, int.from_bytes(data[at + 1 : end], "big")


def _exists(path: str) -> bool:
    try:
        os.stat(path[:-1] if path.endswith("/") else path)
        return True
    except OSError:
        return False
