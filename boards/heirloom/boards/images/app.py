"""ESP32 app images: what the bootloader loads from a slot (ESP-IDF, `esp_image_format.h`).

A header of 24 bytes (E9, number of segments, chip id at 12, at 23 whether a hash follows), segments, padding up to a
checksum byte at the end of 16 bytes, then the SHA-256 of all that. The app's description begins the first segment.
"""

import hashlib
import re
import struct
from dataclasses import dataclass

from heirloom.boards.chips import CHIPS, by_image_id
from heirloom.boards.images import _esptool
from heirloom.boards.images._esptool import Loaded
from heirloom.boards.images.errors import ImageError

MAGIC = 0xE9
HEADER_BYTES = 24
MAX_SEGMENTS = 16
_MAX_SEGMENT_BYTES = 1 << 24
_PAGE_BYTES = 0x10000
_ADVICE = "download it again, or build it again"

_BANNER = re.compile(rb"MicroPython (v[0-9]+\.[0-9]+[-+.0-9A-Za-z]{0,24}) on [0-9]{4}-")
# esp_app_desc_t: magic, secure version, two reserved, version, project, time, date, ESP-IDF, SHA-256 of the ELF file.
_DESCRIPTION = struct.Struct("<II8s32s32s16s16s32s32s80s")
_DESCRIPTION_MAGIC = 0xABCD5432
_DESCRIPTION_OFFSET = HEADER_BYTES + 8


@dataclass(frozen=True)
class AppImage:
    """An app image whose checksum and hash are right.

    Attributes:
        chip: The chip that it is for.
        length: Bytes, with its hash.
        sha256: Of all of these bytes, in hexadecimal.
        segments: How many parts it has.
        flash_size: Bytes of the flash chip that its header names; the bootloader's header counts.
        project: The name that the app gives itself, as in "micropython"; empty if it has no description.
        version: As in "v1.27.0". MicroPython leaves it out of the description: then what it says at its prompt.
        idf_version: The ESP-IDF that it was built with.
    """

    chip: str
    length: int
    sha256: str
    segments: int
    flash_size: int
    project: str = ""
    version: str = ""
    idf_version: str = ""


def read(data: bytes, chip: str | None = None) -> AppImage:
    """Read and check the image of an app, as it is published and sent to devices.

    Args:
        data: The image and nothing else.
        chip: The chip that it must be for; None: any known one.

    Raises:
        ImageError: It is damaged, cut short, without a hash, followed by something, or for another chip.
    """
    image = read_slot(data, chip)
    if not data[HEADER_BYTES - 1]:
        raise ImageError("the app image has no SHA-256 at its end, so damage would pass", "build it with the hash")
    if image.length != len(data):
        extra = len(data) - image.length
        raise ImageError(f"{extra} bytes follow the app image, which ends after {image.length}", _ADVICE)
    return image


def read_slot(data: bytes, chip: str | None = None, *, bootloader: bool = False) -> AppImage:
    """Read and check the image at the beginning of a slot, as strictly as the bootloader does.

    Args:
        data: The slot; what follows the image does not matter.
        chip: The chip that it must be for; None: any known one.
        bootloader: It is the second-stage bootloader, whose hash nobody checks: esptool may set its flash size.

    Raises:
        ImageError: It is damaged, cut short, or for another chip.
    """
    found = _check_header(data, chip)
    loaded = _esptool.load(found, data)
    _check_segments(loaded, data)
    if not loaded.checksum_matches:
        raise ImageError("the app image is damaged: its checksum does not match", _ADVICE)
    length = loaded.length
    if loaded.stored_digest is not None:
        length += len(loaded.digest)
        if length > len(data):
            raise ImageError(f"the app image is cut short: {len(data)} bytes of {length}", _ADVICE)
        if loaded.stored_digest != loaded.digest and not bootloader:
            raise ImageError("the app image is damaged: its SHA-256 does not match", _ADVICE)
    return _described(found, data[:length], len(loaded.segments))


def _check_header(data: bytes, chip: str | None) -> str:
    if len(data) < HEADER_BYTES:
        raise ImageError(f"the app image is cut short: {len(data)} bytes, less than its header", _ADVICE)
    if data[0] != MAGIC:
        raise ImageError(f"this is no app image: it begins with {data[0]:#04x}, not {MAGIC:#04x}")
    if not 1 <= data[1] <= MAX_SEGMENTS:
        raise ImageError(f"the app image is damaged: {data[1]} segments; there must be 1 to {MAX_SEGMENTS}", _ADVICE)
    if data[HEADER_BYTES - 1] > 1:
        raise ImageError("the app image is damaged: its header says neither yes nor no to a hash", _ADVICE)
    image_id = int.from_bytes(data[12:14], "little")
    found = by_image_id(image_id)
    if found is None:
        raise ImageError(f"the app image is for a chip that is not known here (id {image_id})")
    if chip is not None and found.name != chip:
        wanted = CHIPS[chip].mcu
        raise ImageError(
            f"the app image is for {found.mcu}, and the board has {wanted}", f"take the image for {wanted}"
        )
    return found.name


def _check_segments(loaded: Loaded, data: bytes) -> None:
    for number, segment in enumerate(loaded.segments):
        if segment.length % 4 or segment.length >= _MAX_SEGMENT_BYTES:
            raise ImageError(f"the app image is damaged: segment {number} has {segment.length} bytes", _ADVICE)
        if segment.mapped and segment.offset % _PAGE_BYTES != segment.address % _PAGE_BYTES:
            raise ImageError(f"the app image cannot run: segment {number} does not lie where flash is mapped", _ADVICE)
    if len(data) < loaded.length:
        raise ImageError(f"the app image is cut short: {len(data)} bytes of {loaded.length}", _ADVICE)


def _described(chip: str, image: bytes, segments: int) -> AppImage:
    project = version = idf_version = ""
    if len(image) >= _DESCRIPTION_OFFSET + _DESCRIPTION.size:
        fields = _DESCRIPTION.unpack_from(image, _DESCRIPTION_OFFSET)
        if fields[0] == _DESCRIPTION_MAGIC:
            version, project, idf_version = (_text(fields[index]) for index in (3, 4, 7))
    return AppImage(
        chip=chip,
        length=len(image),
        sha256=hashlib.sha256(image).hexdigest(),
        segments=segments,
        flash_size=1 << 20 + (image[3] >> 4),
        project=project,
        version=version or _banner_version(image),
        idf_version=idf_version,
    )


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace")


def _banner_version(data: bytes) -> str:
    """MicroPython leaves its version out of the description; it is in what it says at its prompt."""
    found = _BANNER.search(data)
    return found[1].decode("ascii") if found else ""


def build(
    chip: str, content: bytes = b"", *, version: str = "", project: str = "micropython", flash_size: int = 4 << 20
) -> bytes:
    """An image that a bootloader loads, for simulated devices and tests: a description and some content, no code.

    Args:
        chip: The chip that it is for.
        content: Anything.
        version: What the app says its version is, at most 31 bytes.
        project: What it says its name is, at most 31 bytes.
        flash_size: Bytes of the flash chip, for the header; a power of two from 1 MiB.
    """
    elf = hashlib.sha256(content).digest()
    texts = [text.encode()[:31] for text in (version, project, "", "", "simulated")]
    description = _DESCRIPTION.pack(_DESCRIPTION_MAGIC, 0, b"", *texts, elf, b"")
    return _esptool.save(chip, description + content, (flash_size >> 20).bit_length() - 1)
