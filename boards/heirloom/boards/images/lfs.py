"""littlefs images, as the boards' MicroPython makes and mounts them."""

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
    filesystem, error = _open(layout)
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


def read(layout: FlashLayout, image: bytes) -> dict[str, bytes]:
    """All files of a file system, by their absolute path.

    Args:
        layout: Of the board.
        image: The whole file system.

    Raises:
        ImageError: It is none, damaged, or of another size.
        HeirloomError: littlefs-python is not installed.
    """
    if len(image) != layout.filesystem_size:
        raise ImageError(f"the file system has {len(image)} bytes, that of the board {layout.filesystem_size}")
    filesystem, error = _open(layout)
    filesystem.context.buffer = bytearray(image)
    try:
        filesystem.mount()
        return dict(_files(filesystem))
    except (error, OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"the file system cannot be read: {exc}", "make it anew, or read it again") from exc


def _files(filesystem: "LittleFS") -> list[tuple[str, bytes]]:
    found = []
    for folder, _, names in filesystem.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with filesystem.open(path, "rb") as file:
                found.append((path, file.read()))
    return found


def _open(layout: FlashLayout) -> "tuple[LittleFS, type[Exception]]":
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
        "disk_version": _DISK_VERSION,
    }
    return LittleFS(mount=False, **options), LittleFSError
