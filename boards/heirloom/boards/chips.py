"""What is true of a chip, whatever board it sits on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A chip that MicroPython runs on.

    Attributes:
        name: As in a board definition and for `esptool --chip`.
        mcu: As MicroPython says it in `sys.implementation._machine`.
        flashing: "esptool" (ROM loader on a serial port) or "uf2" (a file copied to a USB drive).
        image_id: ESP32 family: the chip id in an app image.
        bootloader_offset: ESP32 family: where the ROM looks for the second-stage bootloader in flash.
        uf2_family: RP2 family: the family id in a UF2 file.
    """

    name: str
    mcu: str
    flashing: str
    image_id: int | None = None
    bootloader_offset: int | None = None
    uf2_family: int | None = None


_ALL = (
    Chip("rp2040", "RP2040", "uf2", uf2_family=0xE48BFF56),
    Chip("rp2350", "RP2350", "uf2", uf2_family=0xE48BFF59),  # its Arm cores, secure
    Chip("esp32", "ESP32", "esptool", image_id=0, bootloader_offset=0x1000),
    Chip("esp32c3", "ESP32C3", "esptool", image_id=5, bootloader_offset=0),
    Chip("esp32s3", "ESP32S3", "esptool", image_id=9, bootloader_offset=0),
)
#: The chips whose `machine` module, clock and reset causes are known, by name.
CHIPS = {chip.name: chip for chip in _ALL}


def by_image_id(image_id: int) -> Chip | None:
    """The chip that app images with this chip id are for."""
    return next((chip for chip in _ALL if chip.image_id == image_id), None)


def by_uf2_family(family: int) -> Chip | None:
    """The chip that UF2 files of this family are for."""
    return next((chip for chip in _ALL if chip.uf2_family == family), None)
