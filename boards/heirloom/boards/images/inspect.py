"""What a file is, for people and programs: `heirloom board image`."""

from typing import Any

from heirloom.boards.images import app, esp32, firmware, lfs, otadata, partitions, uf2
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.partitions import Partition, PartitionTable
from heirloom.boards.model import Board

APP, WHOLE, TABLE, OTADATA, UF2, LITTLEFS = "ESP32 app", "ESP32 flash", "partition table", "otadata", "UF2", "littlefs"


def kind(data: bytes) -> str:
    """Which kind of image this is, by its beginning.

    Raises:
        ImageError: None that is known here.
    """
    if data.startswith(uf2.MAGIC):
        return UF2
    if esp32.looks_whole(data):
        return WHOLE
    if data[:1] == bytes([app.MAGIC]):
        return APP
    if data[:2] == b"\xaa\x50":
        return TABLE
    if lfs.MAGIC in (data[lfs.MAGIC_OFFSET :][:8], data[0x1000 + lfs.MAGIC_OFFSET :][:8]):
        return LITTLEFS
    if len(data) == otadata.SIZE_BYTES and any(entry.intact for entry in otadata.parse(data)):
        return OTADATA
    raise ImageError(
        "this is no image that is known here",
        f"known are {APP}, {WHOLE} (bootloader, partitions, app), {TABLE}, {OTADATA}, {UF2} and {LITTLEFS}",
    )


def describe(data: bytes, board: Board | None = None, *, force: bool = False) -> dict[str, object]:
    """All that is known of an image.

    Args:
        data: The whole file.
        board: It must be right for this board.
        force: As for `firmware.check_room`.

    Raises:
        ImageError: It is damaged, or not for that board.
    """
    found = kind(data)
    describer = {APP: _app, WHOLE: _whole, TABLE: _table, OTADATA: _otadata, UF2: _uf2, LITTLEFS: _littlefs}[found]
    return {"kind": found, "size": len(data), **describer(data, board, force)}


def places(table: PartitionTable) -> dict[str, object]:
    """A partition table by its labels."""
    return {part.label: _place(part) for part in table}


def _place(part: Partition) -> dict[str, object]:
    return {"kind": part.kind, "offset": f"{part.offset:#x}", "size": part.size}


def _app(data: bytes, board: Board | None, force: bool) -> dict[str, object]:
    image = firmware.check_update(board, data, force=force) if board else app.read(data)
    return _described(image)


def _described(image: app.AppImage) -> dict[str, object]:
    return {
        "chip": image.chip,
        "project": image.project or None,
        "version": image.version or None,
        "idf": image.idf_version or None,
        "length": image.length,
        "sha256": image.sha256,
        "segments": image.segments,
    }


def _whole(data: bytes, board: Board | None, force: bool) -> dict[str, object]:
    parts = esp32.split(data, board.chip if board else None)
    if board:
        esp32.whole_flash(board, parts)
        if board.partitions and board.partitions.takes_firmware:
            firmware.check_room(board, parts.app_image.length, force=force)
    return {
        "chip": parts.chip,
        "flash_size": parts.flash_size,
        "takes_firmware": parts.table.takes_firmware,
        "app": _described(parts.app_image),
        "partitions": places(parts.table),
    }


def _table(data: bytes, board: Board | None, force: bool) -> dict[str, object]:  # noqa: ARG001
    table = partitions.parse(data, board.flash.size if board else None)
    if board and board.partitions != table:
        raise ImageError(f"this is not the partition table of {board.name}", f"see `heirloom board show {board.name}`")
    return {"takes_firmware": table.takes_firmware, "partitions": places(table)}


def _otadata(data: bytes, board: Board | None, force: bool) -> dict[str, object]:  # noqa: ARG001
    entries = otadata.parse(data)
    described: list[dict[str, Any]] = [
        {"sequence": entry.sequence, "state": entry.state_name, "intact": entry.intact}
        if entry.sequence != otadata.BLANK
        else {"sequence": None, "state": "erased", "intact": False}
        for entry in entries
    ]
    return {"active": otadata.active(entries), "entries": described}


def _uf2(data: bytes, board: Board | None, force: bool) -> dict[str, object]:  # noqa: ARG001
    image = firmware.check_uf2(board, data) if board else uf2.read(data)
    return {
        "chip": image.chip,
        "version": image.version or None,
        "address": f"{image.address:#x}",
        "length": len(image.data),
    }


def _littlefs(data: bytes, board: Board | None, force: bool) -> dict[str, object]:  # noqa: ARG001
    if board is None:
        raise ImageError("a littlefs image can only be read with its layout", "say which board it is for with --board")
    files = lfs.read(board.flash, data)
    return {"board": board.name, "files": {path: len(content) for path, content in files.items()}}
