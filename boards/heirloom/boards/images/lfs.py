"""littlefs images, as the boards' MicroPython makes and mounts them."""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heirloom.boards.images.errors import ImageError
from heirloom.boards.model import FlashLayout
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for

if TYPE_CHECKING:
    from littlefs import LittleFS
    from littlefs.lfs import LFSStat

_DISK_VERSION = 0x00020000
_READ_SIZE = 32
_LOOKAHEAD_SIZE = 32
#: The superblock's name, at this offset of one of the first two blocks.
MAGIC, MAGIC_OFFSET = b"littlefs", 8


def build(layout: FlashLayout, content: Mapping[str, bytes], folders: Sequence[str] = ()) -> bytes:
    """A file system as the board's MicroPython makes it.

    Args:
        layout: Of the board.
        content: Absolute path to content; parent folders are made.
        folders: More folders.

    Raises:
        ImageError: It does not fit.
        HeirloomError: littlefs-python is not installed.
    """
    filesystem, error = _open(layout, disk_version=_DISK_VERSION)
    filesystem.format()
    filesystem.mount()
    try:
        for folder in folders:
            filesystem.makedirs(folder, exist_ok=True)
        for path, data in sorted(content.items()):
            filesystem.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120 - a path on the device
            with filesystem.open(path, "wb") as file:
                file.write(data)
    except error as exc:
        needed = sum(map(len, content.values()))
        raise ImageError(
            f"{needed} bytes in {len(content)} files do not fit into {layout.filesystem_size} of the file system: {exc}"
        ) from exc
    return bytes(filesystem.context.buffer)


def read(layout: FlashLayout, image: bytes | bytearray, *below: str) -> dict[str, bytes]:
    """The files of a file system, by their absolute path, whatever version of littlefs has written to it.

    Args:
        layout: Of the board.
        image: The whole file system; it stays as it is.
        below: Folders to read, with all that is in them; everything if none.

    Raises:
        ImageError: It is none, damaged, or of another size, or lacks such a folder.
        HeirloomError: littlefs-python is not installed.
    """
    if len(image) != layout.filesystem_size:
        raise ImageError(f"the file system has {len(image)} bytes, that of the board {layout.filesystem_size}")
    # A board's MicroPython may raise the version on disk when it writes, so none is asked for.
    filesystem, error = _open(
        layout, context=_Image(image), read_size=layout.program_size, cache_size=layout.block_size
    )
    try:
        filesystem.mount()
        return {path: data for folder in below or ("/",) for path, data in _files(filesystem, folder)}
    except (error, OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"the file system cannot be read: {exc}", "make it anew, or read it again") from exc


def survey(
    layout: FlashLayout, image: bytes | bytearray, below: Sequence[str], watch: Callable[[int, int], object]
) -> tuple[dict[str, bytes], dict[str, int]]:
    """What a file system holds, and which bytes of it say so: quick, for those who look at many of them.

    Args:
        layout: Of the board.
        image: The whole file system; it stays as it is.
        below: Folders whose files are read.
        watch: Told the address and the number of the bytes of each access. As long as these bytes stay the same, so
            does the answer, whatever else changes.

    Returns:
        Path to content for files below those folders; path to length for what lies beside and above them.

    Raises:
        ImageError: littlefs cannot read it.
    """
    from littlefs import lfs

    filesystem, error = _open(
        layout, context=_Image(image, watch), read_size=layout.program_size, cache_size=layout.block_size
    )
    content: dict[str, bytes] = {}
    others: dict[str, int] = {}
    try:
        filesystem.mount()
        folders = ["/"]
        while folders:
            folder = folders.pop()
            for entry in _entries(filesystem, folder):
                path = f"{folder.rstrip('/')}/{entry.name}"
                inside = any(path == one or path.startswith(f"{one}/") for one in below)
                if entry.type == lfs.LFSStat.TYPE_DIR and (inside or any(one.startswith(f"{path}/") for one in below)):
                    folders.append(path)
                elif inside:
                    file = lfs.file_open(filesystem.fs, path, "r")
                    content[path] = bytes(lfs.file_read(filesystem.fs, file, entry.size))
                    lfs.file_close(filesystem.fs, file)
                else:
                    others[path] = entry.size
    except (error, OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"the file system cannot be read: {exc}", "make it anew, or read it again") from exc
    return content, others


def _entries(filesystem: "LittleFS", folder: str) -> "list[LFSStat]":
    from littlefs import lfs

    found = []
    reader = lfs.dir_open(filesystem.fs, folder)
    while entry := lfs.dir_read(filesystem.fs, reader):
        if entry.name not in (".", ".."):
            found.append(entry)
    lfs.dir_close(filesystem.fs, reader)
    return found


def _files(filesystem: "LittleFS", below: str) -> list[tuple[str, bytes]]:
    found = []
    for folder, _, names in filesystem.walk(below):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with filesystem.open(path, "rb") as file:
                found.append((path, file.read()))
    return found


def changed(layout: FlashLayout, image: bytes, content: Mapping[str, bytes | None]) -> bytes:
    """The file system with some files written, or removed where the content is None; folders are made.

    Raises:
        ImageError: It cannot be read, or has no room.
        HeirloomError: littlefs-python is not installed.
    """
    filesystem, error = _open(layout, read_size=layout.program_size, cache_size=layout.block_size)
    filesystem.context.buffer[:] = image
    try:
        filesystem.mount()
        for path, data in content.items():
            if data is None:
                filesystem.remove(path)
                continue
            filesystem.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120 - a path on the device
            with filesystem.open(path, "wb") as file:
                file.write(data)
    except (error, OSError) as exc:
        raise ImageError(f"the file system cannot be changed: {exc}") from exc
    return bytes(filesystem.context.buffer)


def filled(layout: FlashLayout, image: bytes, path: str, leave_blocks: int) -> bytes:
    """The file system with a file at `path` that leaves only so many blocks free: for tests of a full disk.

    Raises:
        ImageError: It cannot be read.
        HeirloomError: littlefs-python is not installed.
    """
    filesystem, error = _open(layout, read_size=layout.program_size, cache_size=layout.block_size)
    filesystem.context.buffer[:] = image
    try:
        filesystem.mount()
        with filesystem.open(path, "wb") as file:
            while layout.block_count - filesystem.used_block_count > leave_blocks:
                file.write(b"\x5a" * layout.block_size)
                file.flush()
    except (error, OSError) as exc:
        raise ImageError(f"the file system cannot be filled: {exc}") from exc
    return bytes(filesystem.context.buffer)


class _Image:
    """A block device that is only read; littlefs-python's own one formats a line for a log at each access."""

    def __init__(self, cells: bytes | bytearray, watch: Callable[[int, int], object] | None = None) -> None:
        self._cells = cells
        self._watch = watch

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytes | bytearray:
        start = block * cfg.block_size + off
        if self._watch is not None:
            self._watch(start, size)
        return self._cells[start : start + size]

    def prog(self, _cfg: Any, _block: int, _off: int, _data: bytes) -> int:
        return -errno.EROFS

    def erase(self, _cfg: Any, _block: int) -> int:
        return -errno.EROFS

    def sync(self, _cfg: Any) -> int:
        return 0


def _open(layout: FlashLayout, **more: Any) -> "tuple[LittleFS, type[Exception]]":
    try:
        from littlefs import LittleFS, LittleFSError
    except ImportError as exc:
        raise HeirloomError("littlefs-python is not installed", advice_for("littlefs")) from exc
    options: dict[str, Any] = {
        "block_size": layout.block_size,
        "block_count": layout.block_count,
        "read_size": _READ_SIZE,
        "prog_size": layout.program_size,
        # As MicroPython's VfsLfs2 chooses it; files up to this size lie inside their directory entry.
        "cache_size": 4 * max(_READ_SIZE, layout.program_size),
        "lookahead_size": _LOOKAHEAD_SIZE,
    }
    return LittleFS(mount=False, **{**options, **more}), LittleFSError
