"""What of a flash chip is recorded, cut and judged: the file system; on an ESP32 the whole chip, with its firmware."""

import os
from dataclasses import dataclass

from heirloom.boards import Board
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.device import FLASH
from heirloom.hil.sim.page import Operation


@dataclass(frozen=True)
class Medium:
    """The cells that a sweep sees, as bytes from address 0.

    Attributes:
        board: What the devices are.
    """

    board: Board

    @property
    def whole(self) -> bool:
        """Whether the cells are the whole chip: where a bootloader chooses a firmware, that is cut as well."""
        return self.board.partitions is not None

    @property
    def base(self) -> int:
        """Where the file system begins in the cells."""
        return self.board.flash.offset if self.whole else 0

    @property
    def block_size(self) -> int:
        """Bytes that an erase reaches."""
        return self.board.flash.block_size

    def outside(self, address: int) -> str:
        """The phase that an operation beside the file system belongs to; "" within it."""
        table = self.board.partitions
        if table is None or address >= self.base:
            return ""
        otadata = table.otadata
        return "firmware switch" if otadata and otadata.offset <= address < otadata.end else "firmware download"

    def filesystem(self, cells: bytes | bytearray) -> bytes | bytearray:
        """The file system of these cells."""
        return cells[self.base : self.base + self.board.flash.filesystem_size] if self.whole else cells

    def with_filesystem(self, cells: bytes, image: bytes) -> bytes:
        """The same cells with another file system."""
        return cells[: self.base] + image + cells[self.base + len(image) :]

    def read(self, device: SimDevice) -> bytes:
        """The cells of a device."""
        return (device.directory / FLASH).read_bytes() if self.whole else device.filesystem_image()

    def write(self, device: SimDevice, cells: bytes) -> None:
        """Give a device that is off these cells."""
        if not self.whole:
            device.write_filesystem(cells)
            return
        with device.switched_off(), (device.directory / FLASH).open("r+b") as flash:
            os.pwrite(flash.fileno(), cells, 0)

    def operations(self, device: SimDevice) -> list[Operation]:
        """What a device did to its cells since `record_flash`; it counts from its file system."""
        return [Operation(one.address + self.base, one.data) for one in device.recorded_flash()]
