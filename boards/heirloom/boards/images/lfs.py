"""littlefs images, as the boards' MicroPython makes and mounts them."""

import errno
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heirloom.boards.images.errors import ImageError
from heirloom.boards.model import FlashLayout
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for

if TYPE_CHECKING:
    from littlefs import LittleFS

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


def _files(filesystem: "LittleFS", below: str) -> list[tuple[str, bytes]]:
    found = []
    for folder, _, names in filesystem.walk(below):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with filesystem.open(path, "rb") as file:
                found.append((path, file.read()))
    return found


class _Image:
    """A block device that is only read; littlefs-python's own one formats a line for a log at each access."""

    def __init__(self, cells: bytes | bytearray) -> None:
        self._cells = cells

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytes | bytearray:
        start = block * cfg.block_size + off
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
