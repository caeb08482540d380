"""What happens in a simulated ESP32 between the power and MicroPython: its bootloader runs, on the host."""

import os
from dataclasses import dataclass
from pathlib import Path

from heirloom.boards.images import app, partitions
from heirloom.boards.images.partitions import PartitionTable
from heirloom.boards.model import Board
from heirloom.cli.errors import HeirloomError
from heirloom.hil.sim.esp32 import bootloader
from heirloom.hil.sim.page import ControlPage, Operation, Word

#: The project's name of an app that never comes to MicroPython, as a broken build of one.
PANICS = "panics"
_CUT_BEFORE, _CUT_AFTER = 0, 1


class NotStarted(HeirloomError):  # noqa: N818 - a statement about the device
    """The bootloader found nothing to start, or lost its power."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


@dataclass(frozen=True)
class Started:
    """What the bootloader started.

    Attributes:
        table: The partition table in flash.
        running: The label of the partition whose app runs.
        panics: Whether the app resets the chip before it comes to MicroPython: its project's name is `PANICS`.
    """

    table: PartitionTable
    running: str
    panics: bool = False


def start(path: Path, board: Board, page: ControlPage) -> Started | None:
    """Run the bootloader.

    Args:
        path: The flash image; what the bootloader writes is written.
        board: Of an ESP32.
        page: Counts the operations, and may have a power cut armed.

    Returns:
        What runs; None: there is no firmware in flash. Such a unit starts all the same, without partitions.

    Raises:
        NotStarted: Nothing is bootable, or the power was cut.
    """
    flash = path.read_bytes()
    begin = board.hardware.bootloader_offset or 0
    head = flash[begin : partitions.FIRST_OFFSET]
    if head.count(b"\xff") == len(head):
        return None
    found = bootloader.boot(flash, board.chip)
    with path.open("r+b") as file:
        for write in found.writes:
            for data in (b"", write.data):
                operation = Operation(write.offset - board.flash.offset, data)
                _operate(file.fileno(), write.offset, operation, page)
    if found.running is None:
        raise NotStarted("; ".join(found.log))
    image = app.read_slot(flash[found.running.offset : found.running.end])
    return Started(partitions.parse(flash[partitions.OFFSET :]), found.running.label, image.project == PANICS)


def _operate(descriptor: int, offset: int, operation: Operation, page: ControlPage) -> None:
    """One flash operation, which a power cut may strike."""
    page.note(operation)
    content = operation.data or b"\xff" * partitions.SECTOR_BYTES
    struck = page[Word.OPERATIONS] == page[Word.CUT_AT]
    if struck and page[Word.CUT_KIND] != _CUT_AFTER:
        part = 0 if page[Word.CUT_KIND] == _CUT_BEFORE else len(content) * page[Word.CUT_FRACTION] >> 8
        content = content[:part]
    os.pwrite(descriptor, content, offset)
    if struck:
        raise NotStarted("the power failed in the bootloader", cut=True)
