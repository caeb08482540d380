"""Whole ESP32 images: bootloader, partition table and app, as MicroPython publishes them and as we lay them out.

A published image begins where the ROM looks for the bootloader (0x1000 on ESP32, 0 on later chips); an image of the
whole flash begins at 0. Both are read; what we write begins at 0.
"""

from dataclasses import dataclass

from heirloom.boards.chips import CHIPS, Chip
from heirloom.boards.images import app, otadata, partitions
from heirloom.boards.images.app import AppImage
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.partitions import PartitionTable
from heirloom.boards.model import Board

_ERASED = b"\xff"


@dataclass(frozen=True)
class Parts:
    """What an image is made of.

    Attributes:
        chip: The chip that it is for.
        flash_size: Bytes of the flash chip that its bootloader expects.
        bootloader: The second-stage bootloader, with what the ROM needs around it.
        table: The partition table.
        app: The app that starts first: of the factory partition, else of the first slot.
        app_image: What is known of it.
    """

    chip: str
    flash_size: int
    bootloader: bytes
    table: PartitionTable
    app: bytes
    app_image: AppImage


def looks_whole(data: bytes) -> bool:
    """Whether this is a bootloader with a partition table behind it, and not an app alone."""
    return _base(data) is not None


def split(data: bytes, chip: str | None = None) -> Parts:
    """Take an image apart.

    Args:
        data: As published, or of the whole flash.
        chip: The chip that it must be for; None: any known one.

    Raises:
        ImageError: A part is missing, damaged or for another chip.
    """
    base = _base(data)
    if base is None:
        raise ImageError(
            "this is no image of a whole ESP32: no partition table lies where its bootloader looks for one",
            "take the .bin that MicroPython publishes for first installation, not the .app-bin",
        )
    flash = _ERASED * base.start + data
    begin = base.chip.bootloader_offset or 0
    bootloader = app.read_slot(flash[begin : partitions.OFFSET], chip, bootloader=True)
    table = partitions.parse(flash[partitions.OFFSET :], bootloader.flash_size)
    place = table.factory or next(iter(table.ota_slots), None)
    if place is None:
        raise ImageError("the partition table has neither a factory app nor an OTA slot, so nothing could start")
    slot = flash[place.offset : place.end]
    try:
        image = app.read_slot(slot, base.chip.name)
    except ImageError as exc:
        raise ImageError(f"in partition {place.label}: {exc.message}", exc.advice) from exc
    whole = flash[begin : begin + bootloader.length]
    return Parts(base.chip.name, bootloader.flash_size, whole, table, slot[: image.length], image)


@dataclass(frozen=True)
class _Base:
    chip: Chip
    start: int


def _base(data: bytes) -> _Base | None:
    """Which chip's image this is, and at which address of flash it begins."""
    for chip in CHIPS.values():
        if chip.image_id is None or chip.bootloader_offset is None:
            continue
        for start in {0, chip.bootloader_offset}:
            header = data[chip.bootloader_offset - start :][: app.HEADER_BYTES]
            table = data[partitions.OFFSET - start :][:2]
            if len(header) < app.HEADER_BYTES or header[0] != app.MAGIC or table != b"\xaa\x50":
                continue
            if int.from_bytes(header[12:14], "little") == chip.image_id:
                return _Base(chip, start)
    return None


def whole_flash(board: Board, parts: Parts, *, app_data: bytes | None = None, filesystem: bytes | None = None) -> bytes:
    """The content of the whole flash of a blank unit, in the layout of `board`.

    Args:
        board: Says the partition table and the size of the flash.
        parts: Gives the bootloader, and the app.
        app_data: Another app.
        filesystem: The content of the file system's partition; None: erased.

    Raises:
        ImageError: The parts are for another chip or flash size, or do not fit.
    """
    table = board.partitions
    if table is None:
        raise ImageError(f"{board.name} has no partition table", "it is flashed by a UF2 file")
    if parts.chip != board.chip:
        raise ImageError(f"the image is for {CHIPS[parts.chip].mcu}, and {board.name} has {board.hardware.mcu}")
    if parts.flash_size != board.flash.size:
        raise ImageError(
            f"the bootloader of the image expects {parts.flash_size >> 20} MB of flash; {board.name} has "
            f"{board.flash.size >> 20} MB",
            "take MicroPython's image for that size, or describe the board with [flash] size as it is",
        )
    pieces = {board.hardware.bootloader_offset or 0: parts.bootloader, partitions.OFFSET: partitions.build(table)}
    if table.otadata is not None:
        pieces[table.otadata.offset] = otadata.build()
    place = table.factory or next(iter(table.ota_slots), None)
    firmware = app_data or parts.app
    if place is None or len(firmware) > place.size:
        room = place.size if place else 0
        raise ImageError(f"the app has {len(firmware)} bytes, and the layout of {board.name} has room for {room}")
    pieces[place.offset] = firmware
    if filesystem is not None:
        pieces[board.flash.offset] = filesystem
    return _assembled(board.flash.size, pieces)


def _assembled(size: int, pieces: dict[int, bytes]) -> bytes:
    flash = bytearray(_ERASED * size)
    for offset, piece in pieces.items():
        flash[offset : offset + len(piece)] = piece
    return bytes(flash)
