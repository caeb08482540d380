"""Firmware for units that can be reached by a cable: a published image in the layout of the board."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import esp32, firmware, otadata, partitions
from heirloom.boards.images.esp32 import Parts
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error
from heirloom.hil import flasher
from heirloom.hil.flasher import Region
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.device import FLASH
from heirloom.hil.sim.esp32 import bootloader
from heirloom.hil.units import Unit

FOLDER_VARIABLE = "HEIRLOOM_FIRMWARE"
_RUNNING = "from esp32 import Partition\nprint(Partition(Partition.RUNNING).info()[4])"
_SUFFIXES = {"esptool": "bin", "uf2": "uf2"}


def find(board: Board, version: str | None) -> Path | None:
    """A published image in the firmware folder, under MicroPython's own name for it; the newest of several.

    Args:
        board: What it is for.
        version: Of MicroPython, as in "1.27"; None: any.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "heirloom" / "firmware")
    wanted = re.escape(version) if version else r"\d+\.\d+"
    suffix = _SUFFIXES[board.hardware.flashing]
    name = re.compile(rf"{re.escape(board.name)}-\d{{8}}-v{wanted}(\.\d+)?\.{suffix}")
    found = [path for path in folder.glob(f"{board.name}-*") if name.fullmatch(path.name)]
    return max(found, key=lambda path: path.name, default=None)


def read(board: Board, path: Path, *, force: bool = False) -> Parts:
    """An image that fits the board.

    Args:
        board: What it is for.
        path: The image of a whole ESP32, as MicroPython publishes it.
        force: As for `firmware.check_room`.

    Raises:
        HeirloomError: The board is not flashed by esptool.
        ImageError: The image is damaged, for another chip, or too large.
    """
    if board.hardware.flashing != "esptool":
        raise HeirloomError(f"this is a {board.name}, which is not flashed by esptool", "only an ESP32 is")
    parts = esp32.split(read_file(path), board.chip)
    if board.partitions and board.partitions.takes_firmware:
        firmware.check_room(board, parts.app_image.length, force=force)
    return parts


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        HeirloomError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc


def regions(board: Board, parts: Parts, filesystem: bytes | None = None) -> list[Region]:
    """What is written where: bootloader, table, erased otadata, the app.

    Args:
        board: Says the layout.
        parts: Of the image.
        filesystem: The content of the file system; None: it is left as it is.
    """
    flash = esp32.whole_flash(board, parts)
    begin = board.hardware.bootloader_offset or 0
    found = [Region(begin, flash[begin : partitions.OFFSET + partitions.SECTOR_BYTES])]
    table = board.partitions
    if table is not None and table.otadata is not None:
        place = table.otadata.offset
        found.append(Region(place, flash[place : place + otadata.SIZE_BYTES]))
    app = next(part for part in table or () if part.type == partitions.APP)
    found.append(Region(app.offset, flash[app.offset : app.offset + parts.app_image.length]))
    if filesystem is not None:
        found.append(Region(board.flash.offset, filesystem))
    return found


def is_erased(device: Unit) -> bool:
    """Whether it is known that nothing at all is on it."""
    if not isinstance(device, SimDevice):
        return False
    flash = (device.directory / FLASH).read_bytes()
    return flash.count(b"\xff") == len(flash)


def flash(device: Unit, found: list[Region], written: Callable[[int], None]) -> str:
    """Write regions into an ESP32 by esptool, through the loader of its ROM, and let it start.

    Returns:
        The partition that it starts.

    Raises:
        RigTrouble: esptool failed, or nothing would start.
    """
    with device.loader() as port:
        flasher.write(port, device.board.chip, found, written)
    if isinstance(device, SimDevice):
        booted = bootloader.boot((device.directory / FLASH).read_bytes(), device.board.chip)
        if booted.running is None:
            raise RigTrouble(f"device {device.name} does not start what was written: {booted.log[-1]}")
        return booted.running.label
    with device.at_repl() as repl:
        return repl.exec(_RUNNING).strip()
