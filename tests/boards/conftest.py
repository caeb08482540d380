"""Images as MicroPython publishes them, without its code."""

from collections.abc import Callable

import pytest

from heirloom.boards.chips import CHIPS
from heirloom.boards.images import app, partitions
from heirloom.boards.images.partitions import Partition, PartitionTable
from heirloom.cli.extras import missing

# The table of MicroPython's ESP32_GENERIC, and of most boards with 4 MB.
FACTORY_ONLY = PartitionTable(
    (
        Partition("nvs", 1, 2, 0x9000, 0x6000),
        Partition("phy_init", 1, 1, 0xF000, 0x1000),
        Partition("factory", 0, 0, 0x10000, 0x1F0000),
        Partition("vfs", 1, 0x81, 0x200000, 0x200000),
    )
)

MakeOfficial = Callable[..., bytes]


@pytest.fixture
def factory_only() -> PartitionTable:
    return FACTORY_ONLY


@pytest.fixture
def official() -> MakeOfficial:
    """Makes images as published: official(chip, app_content, **app.build's)."""
    if missing("flash"):
        pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'")

    def make(
        chip: str = "esp32", content: bytes = b"", table: PartitionTable = FACTORY_ONLY, flash_size: int = 4 << 20
    ) -> bytes:
        base = CHIPS[chip].bootloader_offset or 0
        bootloader = app.build(chip, b"bootloader", project="bootloader", flash_size=flash_size)
        firmware = app.build(chip, content, version="v1.27.0", flash_size=flash_size)
        place = table.factory or table.ota_slots[0]
        flash = (b"\xff" * base + bootloader).ljust(partitions.OFFSET, b"\xff") + partitions.build(table)
        return (flash.ljust(place.offset, b"\xff") + firmware)[base:]

    return make
