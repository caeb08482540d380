"""What a board is, as the other folders see it."""

from dataclasses import dataclass
from pathlib import Path

from heirloom.boards.chips import CHIPS, Chip
from heirloom.boards.images.partitions import PartitionTable

#: What `mpy-cross -march` accepts of the boards described here; x64 is MicroPython's unix port.
ARCHITECTURES = ("armv6m", "armv7emsp", "xtensawin", "rv32imc", "x64")
DRIVERS = ("sim", "rp2040", "esp32", "serial")
CAPABILITIES = ("watchdog", "wifi", "deepsleep", "firmware-ota", "usb-firmware")


@dataclass(frozen=True)
class FlashLayout:
    """The flash chip and the file system's part of it. All sizes in bytes.

    Attributes:
        size: The whole chip.
        block_size: What one erase clears, and one littlefs block.
        page_size: What one program operation writes at most.
        offset: Where the file system begins.
        block_count: Blocks of the file system.
        program_size: `progsize` of MicroPython's VfsLfs2 on this port.
    """

    size: int
    block_size: int
    page_size: int
    offset: int
    block_count: int
    program_size: int

    @property
    def filesystem_size(self) -> int:
        """Bytes of the file system."""
        return self.block_size * self.block_count


@dataclass(frozen=True)
class Board:
    """A board model under MicroPython's own name.

    Attributes:
        name: As in "RPI_PICO_W".
        description: One line for people.
        chip: One of `chips.CHIPS`.
        driver: Which driver reaches a unit of it, one of `DRIVERS`.
        arch: `-march` of mpy-cross.
        mpy: Version of the .mpy format that its firmware loads, as in "6.3".
        capabilities: What it can do, of `CAPABILITIES`.
        flash: Its flash and file system.
        partitions: Its partition table, where the chip has one.
        tested: What has been run on it, in a sentence; None: nothing. A board that extends another has its own.
        definition: The file that describes it.
        machine: Its name in `sys.implementation._machine`, before "with"; None: any.
    """

    name: str
    description: str
    chip: str
    driver: str
    arch: str
    mpy: str
    capabilities: frozenset[str]
    flash: FlashLayout
    partitions: PartitionTable | None
    tested: str | None
    definition: Path
    machine: str | None = None

    @property
    def simulated(self) -> bool:
        """Whether it exists only as a program on this machine."""
        return self.driver == "sim"

    @property
    def hardware(self) -> Chip:
        """What is true of its chip."""
        return CHIPS[self.chip]
