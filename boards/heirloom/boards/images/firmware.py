"""Whether a firmware image belongs onto a board: asked when a release is built, and before anything is flashed."""

from heirloom.boards.images import app, esp32, uf2
from heirloom.boards.images.app import AppImage
from heirloom.boards.images.errors import ImageError
from heirloom.boards.model import Board

#: Share of a slot that must stay free: MicroPython grows, and a partition table cannot be changed in the field.
HEADROOM = 0.05


def check_update(board: Board, data: bytes, *, force: bool = False) -> AppImage:
    """Check an image that is to be sent to boards over the air.

    Args:
        board: The board.
        data: The app image: MicroPython's .app-bin.
        force: Accept less headroom than `HEADROOM`.

    Returns:
        What is known of the image.

    Raises:
        ImageError: It is damaged or for another chip, does not fit, or the board takes no firmware over the air.
    """
    table = board.partitions
    if table is None:
        raise ImageError(
            f"the firmware of {board.name} is not replaced over the air",
            "copy its UF2 file over USB; build without firmware",
        )
    if not table.takes_firmware:
        raise ImageError(
            f"{board.name} has one app partition and no second slot, so its firmware cannot be replaced over the air",
            "flash a layout with two slots over a cable, see docs/boards.md",
        )
    if esp32.looks_whole(data):
        raise ImageError(
            "this is an image of a whole flash, with bootloader and partition table; over the air only the app is sent",
            "take MicroPython's .app-bin, or cut the app out: `heirloom board image FILE --app OUT`",
        )
    image = app.read(data, board.chip)
    check_room(board, image.length, force=force)
    return image


def check_room(board: Board, length: int, *, force: bool = False) -> None:
    """Refuse an image that does not fit into every slot, with headroom.

    Args:
        board: With at least one slot.
        length: Bytes of the image.
        force: Accept less headroom than `HEADROOM`, never more than the slot.

    Raises:
        ImageError: It is too large.
    """
    slots = board.partitions.ota_slots if board.partitions else ()
    room = min((slot.size for slot in slots), default=0)
    if length > room:
        raise ImageError(f"the image has {length} bytes, and a slot of {board.name} {room}", "build a smaller firmware")
    free = 1 - length / room
    if free < HEADROOM and not force:
        raise ImageError(
            f"the image leaves {free:.1%} of a slot of {board.name} free; under {HEADROOM:.0%} the next may not fit",
            "take it with --force, or give the board larger slots",
        )


def check_uf2(board: Board, data: bytes) -> uf2.Uf2Image:
    """Check a UF2 file that is to be copied to a board.

    Raises:
        ImageError: It is damaged or for another chip, or reaches into the file system.
    """
    if board.hardware.flashing != "uf2":
        raise ImageError(f"{board.name} is not flashed by UF2 files", "take the .bin that MicroPython publishes")
    image = uf2.read(data, board.chip)
    end = image.address + len(image.data)
    if end > board.flash.offset:
        raise ImageError(
            f"the firmware ends at {end:#x}, inside the file system of {board.name} (from {board.flash.offset:#x})",
            "take the file for this board; that of another has another layout",
        )
    return image
