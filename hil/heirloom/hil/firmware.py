"""Firmware for units that can be reached by a cable: a published image in the layout of the board."""

from collections.abc import Callable
from pathlib import Path

from heirloom.boards.images import esp32, firmware, otadata, partitions
from heirloom.boards.images.esp32 import Parts
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error
from heirloom.hil import flasher
from heirloom.hil.flasher import Region
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.device import FLASH
from heirloom.hil.sim.esp32 import bootloader


def read(device: SimDevice, path: Path, *, force: bool = False) -> Parts:
    """An image that fits the device.

    Args:
        device: Says the board.
        path: The image of a whole ESP32, as MicroPython publishes it.
        force: As for `firmware.check_room`.

    Raises:
        HeirloomError: The device is not flashed by esptool.
        ImageError: The image is damaged, for another chip, or too large.
    """
    board = device.board
    if board.hardware.flashing != "esptool":
        raise HeirloomError(
            f"device {device.name} is a {board.name}, which is not flashed by esptool", "only an ESP32 is"
        )
    try:
        parts = esp32.split(path.read_bytes(), board.chip)
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    if board.partitions and board.partitions.takes_firmware:
        firmware.check_room(board, parts.app_image.length, force=force)
    return parts


def regions(device: SimDevice, parts: Parts) -> list[Region]:
    """What is written where: bootloader, table, erased otadata, the app. The file system is left as it is."""
    board = device.board
    flash = esp32.whole_flash(board, parts)
    begin = board.hardware.bootloader_offset or 0
    found = [Region(begin, flash[begin : partitions.OFFSET + partitions.SECTOR_BYTES])]
    table = board.partitions
    if table is not None and table.otadata is not None:
        place = table.otadata.offset
        found.append(Region(place, flash[place : place + otadata.SIZE_BYTES]))
    app = next(part for part in table or () if part.type == partitions.APP)
    found.append(Region(app.offset, flash[app.offset : app.offset + parts.app_image.length]))
    return found


def is_erased(device: SimDevice) -> bool:
    """Whether nothing at all is on it."""
    flash = (device.directory / FLASH).read_bytes()
    return flash.count(b"\xff") == len(flash)


def flash_simulated(device: SimDevice, found: list[Region], written: Callable[[int], None]) -> str:
    """Write regions into a simulated ESP32 as into a real one: by esptool, through the loader of its ROM.

    Returns:
        The partition that its bootloader starts.

    Raises:
        RigTrouble: esptool failed, or nothing would start.
    """
    with device.download_mode() as rom:
        flasher.write(rom.url, device.board.chip, found, written)
    booted = bootloader.boot((device.directory / FLASH).read_bytes(), device.board.chip)
    if booted.running is None:
        raise RigTrouble(f"device {device.name} does not start what was written: {booted.log[-1]}")
    return booted.running.label
