"""The one module that imports esptool: its reader and writer of app images (`esptool.bin_image`)."""

import struct
from dataclasses import dataclass
from typing import Any

from heirloom.boards.images.errors import ImageError
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for

_HEADER_BYTES = 24


@dataclass(frozen=True)
class Segment:
    """A part of an app image.

    Attributes:
        address: Where the program expects it.
        offset: Where its data begins in the file.
        length: Bytes.
        mapped: Whether it is used from flash where it lies, and not copied to RAM.
    """

    address: int
    offset: int
    length: int
    mapped: bool


@dataclass(frozen=True)
class Loaded:
    """What esptool read.

    Attributes:
        segments: In the order of the file.
        length: Bytes up to the checksum, and with it.
        checksum_matches: Whether the checksum is right.
        stored_digest: The SHA-256 behind the image; None: the header says that there is none.
        digest: The SHA-256 of the image.
    """

    segments: tuple[Segment, ...]
    length: int
    checksum_matches: bool
    stored_digest: bytes | None
    digest: bytes


def load(chip: str, data: bytes) -> Loaded:
    """Read an app image.

    Raises:
        ImageError: It is cut short, or no image.
        HeirloomError: esptool is not installed.
    """
    bin_image, fatal_error = _modules()
    try:
        image: Any = bin_image.LoadFirmwareImage(chip, data)
    except (fatal_error, RuntimeError) as exc:
        raise ImageError(f"the app image is damaged: {exc}") from exc
    except (struct.error, TypeError, ValueError, LookupError) as exc:  # its words for a file that ends too early
        raise ImageError(f"the app image is cut short after {len(data)} bytes") from exc
    # esptool pads what it read to whole words; the headers say the true lengths.
    segments = tuple(_segment(image, data, segment.file_offs) for segment in image.segments)
    end = segments[-1].offset + segments[-1].length if segments else _HEADER_BYTES
    return Loaded(
        segments=segments,
        length=(end + 16) // 16 * 16,
        checksum_matches=image.checksum == image.calculate_checksum(),
        stored_digest=image.stored_digest if image.append_digest else None,
        digest=image.calc_digest if image.append_digest else b"",
    )


def _segment(image: Any, data: bytes, header: int) -> Segment:
    address, length = struct.unpack_from("<II", data, header)
    return Segment(address, header + 8, length, image.is_flash_addr(address))


def save(chip: str, content: bytes, flash_code: int) -> bytes:
    """An app image with one segment that is mapped from flash, as constants are.

    Args:
        chip: The chip that it is for.
        content: Of the segment.
        flash_code: The size of the flash as the header says it, 0 for 1 MB.

    Raises:
        HeirloomError: esptool is not installed.
    """
    bin_image, _ = _modules()
    image: Any = getattr(bin_image, f"{chip.upper()}FirmwareImage")()
    # A mapped segment must lie in its page of flash as it does in its page of the address space.
    address = image.ROM_LOADER.DROM_MAP_START + _HEADER_BYTES + image.SEG_HEADER_LEN
    image.segments = [bin_image.ImageSegment(address, content)]
    image.flash_size_freq = flash_code << 4
    saved: bytes = image.save(None)
    return saved


def _modules() -> tuple[Any, type[Exception]]:
    try:
        from esptool import bin_image
        from esptool.util import FatalError
    except ImportError as exc:
        raise HeirloomError("esptool is not installed", advice_for("esptool")) from exc
    return bin_image, FatalError
