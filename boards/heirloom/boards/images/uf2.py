"""UF2 files: what is copied onto the USB drive of an RP2 board (https://github.com/microsoft/uf2).

Blocks of 512 bytes, each with an address and 256 bytes of content. The format has no checksum: only its frame can be
checked, and on RP2040 the first 256 bytes, which the chip's ROM checks by a CRC. Compare the SHA-256 of the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from heirloom.boards.chips import CHIPS, by_uf2_family
from heirloom.boards.images.errors import ImageError

#: Where RP2 chips map their flash.
FLASH_BASE = 0x10000000
MAGIC = b"UF2\n"
BLOCK_BYTES = 512
PAYLOAD_BYTES = 256

_HEADER = struct.Struct("<4s7I")
_SECOND_MAGIC = 0x9E5D5157
_END_MAGIC = struct.pack("<I", 0x0AB16F30)
_FAMILY_PRESENT = 0x2000
# A block in front that works around erratum RP2350-E10 and is written nowhere.
_ABSOLUTE_FAMILY = 0xE48BFF57
_BOOT2_BYTES = 252
_ADVICE = "download it again, or build it again"


@dataclass(frozen=True)
class Uf2Image:
    """The content of a UF2 file, in one piece.

    Attributes:
        chip: The chip that it is for.
        address: Where it begins, counted from the start of flash.
        data: Its bytes.
        version: The MicroPython version found in it, or empty.
    """

    chip: str
    address: int
    data: bytes
    version: str = ""


def read(file: bytes, chip: str | None = None) -> Uf2Image:
    """Read and check a UF2 file.

    Args:
        file: The whole file.
        chip: The chip that it must be for; None: any known one.

    Raises:
        ImageError: It is damaged, cut short, not in one piece, or for another chip.
    """
    blocks = list(_blocks(file))
    if blocks[0].family == _ABSOLUTE_FAMILY and len(blocks) > 1:
        blocks = blocks[1:]
    found = by_uf2_family(blocks[0].family)
    if found is None:
        raise ImageError(f"the UF2 file is for a chip that is not known here (family {blocks[0].family:#010x})")
    if chip is not None and found.name != chip:
        wanted = CHIPS[chip].mcu
        raise ImageError(f"the UF2 file is for {found.mcu}, and the board has {wanted}", f"take the file for {wanted}")
    for number, block in enumerate(blocks):
        block.check(number, blocks[0], len(blocks))
    data = b"".join(block.payload for block in blocks)
    if found.name == "rp2040" and blocks[0].address == FLASH_BASE:
        _check_boot2(data)
    return Uf2Image(found.name, blocks[0].address - FLASH_BASE, data, _version(data))


@dataclass(frozen=True)
class _Block:
    flags: int
    address: int
    size: int
    number: int
    total: int
    family: int
    payload: bytes
    padding: bytes

    def check(self, number: int, first: "_Block", total: int) -> None:
        """Refuse a block that does not continue the file as it began."""
        expected = first.address + number * PAYLOAD_BYTES
        if self.flags != _FAMILY_PRESENT or self.size != PAYLOAD_BYTES or self.padding.strip(b"\0"):
            raise ImageError(f"block {number} of the UF2 file is damaged, or not for flash", _ADVICE)
        if (self.number, self.total) != (number, total):
            raise ImageError(
                f"block {number} of the UF2 file says that it is {self.number} of {self.total}; there are {total}",
                _ADVICE,
            )
        if self.family != first.family:
            raise ImageError(f"block {number} of the UF2 file is for another chip than the first", _ADVICE)
        if self.address != expected or self.address < FLASH_BASE or self.address % PAYLOAD_BYTES:
            raise ImageError(
                f"block {number} of the UF2 file is for address {self.address:#x}, not {expected:#x}", _ADVICE
            )


def _blocks(file: bytes) -> Iterator[_Block]:
    if not file or len(file) % BLOCK_BYTES:
        raise ImageError(f"the UF2 file is cut short: {len(file)} bytes are no whole blocks of {BLOCK_BYTES}", _ADVICE)
    for start in range(0, len(file), BLOCK_BYTES):
        magic, second, flags, address, size, number, total, family = _HEADER.unpack_from(file, start)
        end = file[start + BLOCK_BYTES - 4 : start + BLOCK_BYTES]
        if magic != MAGIC or second != _SECOND_MAGIC or end != _END_MAGIC:
            raise ImageError(f"block {start // BLOCK_BYTES} of the file is no UF2 block", _ADVICE)
        body = file[start + _HEADER.size : start + BLOCK_BYTES - 4]
        yield _Block(flags, address, size, number, total, family, body[:PAYLOAD_BYTES], body[PAYLOAD_BYTES:])


def _check_boot2(data: bytes) -> None:
    """The ROM of the RP2040 starts only a second stage whose CRC is right (RP2040 datasheet 2.8.1.3.1)."""
    if boot2_crc(data[:_BOOT2_BYTES]) != int.from_bytes(data[_BOOT2_BYTES:PAYLOAD_BYTES], "little"):
        raise ImageError(
            "the UF2 file is damaged: the chip would not start it, its first 256 bytes fail their CRC", _ADVICE
        )


def boot2_crc(data: bytes) -> int:
    """CRC-32/MPEG-2."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _version(data: bytes) -> str:
    start = data.find(b"MicroPython v")
    return data[start + 12 : start + 60].split(b" ")[0].decode("ascii", "replace") if start >= 0 else ""


def build(chip: str, data: bytes, address: int = 0) -> bytes:
    """The UF2 file that writes `data`.

    Args:
        chip: The chip that it is for.
        data: Filled up with zeros to whole pages of 256 bytes.
        address: Where it begins, counted from the start of flash; a multiple of 256.

    Raises:
        ImageError: The chip is not flashed by UF2, or the address does not fit.
    """
    family = CHIPS[chip].uf2_family
    if family is None:
        raise ImageError(f"{CHIPS[chip].mcu} is not flashed by UF2 files", "use esptool")
    if address % PAYLOAD_BYTES or not data:
        raise ImageError(f"a UF2 file cannot write {len(data)} bytes at {address:#x}", "begin at a multiple of 256")
    pages = [data[start : start + PAYLOAD_BYTES] for start in range(0, len(data), PAYLOAD_BYTES)]
    return b"".join(
        _HEADER.pack(
            MAGIC, _SECOND_MAGIC, _FAMILY_PRESENT, FLASH_BASE + address + number * PAYLOAD_BYTES, PAYLOAD_BYTES, number,
            len(pages), family,
        )
        + page.ljust(BLOCK_BYTES - _HEADER.size - 4, b"\0")
        + _END_MAGIC
        for number, page in enumerate(pages)
    )  # fmt: skip
