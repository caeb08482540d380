"""A folder of this machine as a device's /app, over its serial line: mpremote's protocol, with the rules of a release.

The device side is mpremote's own (`fs_hook_code`). Here the source folder is read-only, as a signed release is, and
`keep` paths are written to a folder apart, so that an application behaves as it will, and changes no source.
"""

import errno
import io
import os
import posixpath
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for

_MOST_FILES = 64
_MOST_BYTES = 1 << 20


def device_side() -> str:
    """What the device runs to have the folder; then `os.mount(RemoteFS(RemoteCommand()), PLACE)`.

    Raises:
        HeirloomError: mpremote is not installed.
    """
    return str(_mpremote().fs_hook_code)


def _mpremote() -> Any:
    try:
        from mpremote import transport_serial
    except ImportError as exc:
        raise HeirloomError("mpremote is not installed", advice_for("mpremote")) from exc
    return transport_serial


class Share:
    """Answers the device's requests for files. Nothing outside of the two folders is ever touched.

    Args:
        source: The folder; read-only.
        keep: Paths in it that the application writes.
        data: Where those are written; a file is copied there from `source` first.
        take: Gives so many bytes from the device.
        send: Sends bytes to it.
        refused: Told of each path that it may not write.
    """

    def __init__(
        self,
        source: Path,
        keep: Sequence[str],
        data: Path,
        take: Callable[[int], bytes],
        send: Callable[[bytes], None],
        refused: Callable[[str], None],
    ) -> None:
        self._source, self._data = source.resolve(), data.resolve()
        self._keep = [path.strip("/") for path in keep]
        self._take, self._send, self._refused = take, send, refused
        self._files: dict[int, tuple[BinaryIO, bool]] = {}
        self._listing: list[tuple[str, int]] = []
        # A Ctrl-C that comes while the device waits for an answer is taken for one: it may be the number of a file.
        self.stopping = False
        names: dict[str, Callable[[], None]] = {
            "STAT": self._stat, "ILISTDIR_START": self._list, "ILISTDIR_NEXT": self._next, "OPEN": self._open,
            "CLOSE": self._close, "READ": self._read, "READLINE": self._readline, "WRITE": self._write,
            "SEEK": self._seek, "REMOVE": self._remove, "RENAME": self._rename, "MKDIR": self._mkdir,
            "RMDIR": self._rmdir,
        }  # fmt: skip
        numbers = _mpremote().fs_hook_cmds
        self._table = {numbers[f"CMD_{name}"]: answer for name, answer in names.items()}

    def answer(self, number: int) -> None:
        """Answer one request; its arguments follow on the line."""
        self._send(b"\x18")
        request = self._table.get(number)
        if request is not None:
            request()

    def forget(self) -> None:
        """The device was reset: it has no file open any more."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()
        self.stopping = False

    # --- which file is meant -----------------------------------------------------------------------------------

    def _path(self) -> str:
        return posixpath.normpath(f"/{self._text()}").strip("/")

    def _is_kept(self, path: str) -> bool:
        return any(path == keep or path.startswith(f"{keep}/") for keep in self._keep)

    def _inside(self, folder: Path, path: str) -> Path:
        """The file of that name; links that lead out are refused, and so is `..`."""
        found = (folder / path).resolve()
        if found != folder and folder not in found.parents:
            raise PermissionError(errno.EPERM, "outside")
        return found

    def _readable(self, path: str) -> Path:
        if self._is_kept(path):
            kept = self._inside(self._data, path)
            if kept.exists():
                return kept
        return self._inside(self._source, path)

    def _writable(self, path: str) -> Path:
        if not self._is_kept(path):
            self._refused(path)
            raise OSError(errno.EROFS, "read-only")
        kept = self._inside(self._data, path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        return kept

    # --- the requests ------------------------------------------------------------------------------------------

    def _stat(self) -> None:
        try:
            found = self._readable(self._path()).stat()
        except OSError as exc:
            self._send(struct.pack("<b", -_number(exc)))
            return
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        words = (found.st_mode, found.st_size, *times)
        self._send(struct.pack("<b5I", 0, *(word & 0xFFFFFFFF for word in words)))

    def _list(self) -> None:
        path = self._path()
        try:
            source, kept = self._inside(self._source, path), self._inside(self._data, path)
            there = {} if kept.is_dir() and not source.is_dir() else {entry.name: entry for entry in source.iterdir()}
            if kept.is_dir():
                there |= {entry.name: entry for entry in kept.iterdir()}
            self._listing = [(name, entry.lstat().st_mode & 0xC000) for name, entry in sorted(there.items())]
        except OSError as exc:
            self._send(struct.pack("<b", -_number(exc)))
            return
        self._send(b"\0")

    def _next(self) -> None:
        if not self._listing:
            self._say(b"")
            return
        name, mode = self._listing.pop(0)
        self._say(name.encode())
        self._send(struct.pack("<I", mode))

    def _open(self) -> None:
        path, mode = self._path(), self._text()
        try:
            number = next(free for free in range(_MOST_FILES) if free not in self._files)
            self._files[number] = (self._opened(path, mode), "b" not in mode)
        except OSError as exc:
            number = -_number(exc)
        except (StopIteration, ValueError):
            number = -errno.EINVAL
        self._send(struct.pack("<b", number))

    def _opened(self, path: str, mode: str) -> BinaryIO:
        kind = mode.replace("b", "").replace("t", "")
        if kind == "r":
            return self._readable(path).open("rb")
        if kind not in ("w", "a", "r+", "w+", "a+", "x"):
            raise ValueError(mode)
        place = self._writable(path)
        if not place.exists() and kind[0] in "ra":
            original = self._inside(self._source, path)
            if original.is_file():
                place.write_bytes(original.read_bytes())
        return place.open(f"{kind}b")  # type: ignore[return-value]

    def _file(self) -> tuple[BinaryIO, bool]:
        found = self._files.get(self._take(1)[0])
        if found is None and self.stopping:
            return io.BytesIO(), False
        if found is None:
            raise HeirloomError("the device asked for a file that is not open", "start `heirloom dev` again")
        return found

    def _close(self) -> None:
        file, _ = self._files.pop(self._take(1)[0], (None, False))
        if file is not None:
            file.close()

    def _read(self) -> None:
        file, text = self._file()
        count = self._int()
        data = file.read(count)
        while text and count > 0 and not _is_whole(data):  # characters of several bytes stay whole
            more = file.read(1)
            if not more:
                break
            data += more
        self._say(data)

    def _readline(self) -> None:
        self._say(self._file()[0].readline())

    def _write(self) -> None:
        file, _ = self._file()
        data = self._take(min(max(self._int(), 0), _MOST_BYTES))
        count = file.write(data)
        file.flush()
        self._send(struct.pack("<i", count))

    def _seek(self) -> None:
        file, _ = self._file()
        offset = self._int()
        try:
            at = file.seek(offset, self._take(1)[0])
        except (OSError, ValueError):
            at = -1
        self._send(struct.pack("<i", at))

    def _remove(self) -> None:
        self._change(lambda: self._writable(self._path()).unlink())

    def _mkdir(self) -> None:
        self._change(lambda: self._writable(self._path()).mkdir())

    def _rmdir(self) -> None:
        self._change(lambda: self._writable(self._path()).rmdir())

    def _rename(self) -> None:
        old, new = self._path(), self._path()
        self._change(lambda: self._writable(old).rename(self._writable(new)))

    def _change(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as exc:
            self._send(struct.pack("<i", -_number(exc)))
            return
        self._send(struct.pack("<i", 0))

    # --- words -------------------------------------------------------------------------------------------------

    def _int(self) -> int:
        value: int = struct.unpack("<i", self._take(4))[0]
        return value

    def _text(self) -> str:
        return self._take(min(max(self._int(), 0), 4096)).decode("utf-8", "replace")

    def _say(self, data: bytes) -> None:
        self._send(struct.pack("<i", len(data)) + data)


def _number(exc: OSError) -> int:
    return abs(exc.errno or errno.EIO)


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        return exc.reason != "unexpected end of data"
    return True


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Path to time and length of every file of a source folder; what editors leave beside them does not count."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        for name in names:
            if name.startswith((".", "#")) or name.endswith(("~", ".swp", ".tmp")):
                continue
            try:
                said = (Path(place) / name).stat()
            except OSError:  # it was there a moment ago
                continue
            found[f"{place}/{name}"] = (said.st_mtime_ns, said.st_size)
    return found
