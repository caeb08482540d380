"""ESP32 partition tables.

A table lies at 0x8000 and has 32-byte entries, then `EB EB` with the MD5 of the entries before it, then FF
(ESP-IDF, "Partition Tables"; components/partition_table/gen_esp32part.py). Tables without that MD5, as ESP-IDF made
them before version 3.1, are refused: MicroPython has never had one.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from heirloom.boards.images.errors import ImageError

OFFSET = 0x8000
SIZE_BYTES = 0xC00
SECTOR_BYTES = 0x1000
#: Where the first partition may begin: the table has a whole sector.
FIRST_OFFSET = OFFSET + SECTOR_BYTES
APP, DATA = 0x00, 0x01
FACTORY, TEST, OTA_0 = 0x00, 0x20, 0x10
OTA_MAX_SLOTS = 16

TYPES = {"app": APP, "data": DATA}
SUBTYPES = {
    APP: {"factory": FACTORY, "test": TEST, **{f"ota_{n}": OTA_0 + n for n in range(OTA_MAX_SLOTS)}},
    DATA: {
        "ota": 0x00, "phy": 0x01, "nvs": 0x02, "coredump": 0x03, "nvs_keys": 0x04, "efuse": 0x05, "undefined": 0x06,
        "esphttpd": 0x80, "fat": 0x81, "spiffs": 0x82, "littlefs": 0x83,
    },
}  # fmt: skip
DATA_OTA = SUBTYPES[DATA]["ota"]
#: The file system's partition, by MicroPython's own name for it.
FILESYSTEM = "vfs"

_ENTRY = struct.Struct("<HBBII16sI")
_MAGIC = 0x50AA
_MD5_BEGIN = b"\xeb\xeb" + b"\xff" * 14
_BLANK = b"\xff" * _ENTRY.size
_ALIGNMENT = {APP: 0x10000}
_ADVICE = "read or download it again"


@dataclass(frozen=True)
class Partition:
    """One entry. Offset and size in bytes.

    Attributes:
        label: Its name, at most 16 bytes.
        type: `APP`, `DATA` or another number up to 0xFE.
        subtype: As in `SUBTYPES`, or another number up to 0xFE.
        offset: Where it begins in flash.
        size: How long it is.
        flags: Bit 0: encrypted; bit 1: read-only.
    """

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size

    @property
    def kind(self) -> str:
        """Type and subtype in Espressif's words, as in "app/ota_0"."""
        type_name = next((name for name, value in TYPES.items() if value == self.type), f"{self.type:#04x}")
        known = SUBTYPES.get(self.type, {})
        return f"{type_name}/{next((n for n, value in known.items() if value == self.subtype), f'{self.subtype:#04x}')}"

    @property
    def ota_number(self) -> int | None:
        """Which OTA slot it is, from 0, or None."""
        is_slot = self.type == APP and OTA_0 <= self.subtype < OTA_0 + OTA_MAX_SLOTS
        return self.subtype - OTA_0 if is_slot else None


@dataclass(frozen=True)
class PartitionTable:
    """A table whose entries fit together; see `check`."""

    partitions: tuple[Partition, ...]

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.partitions)

    @property
    def ota_slots(self) -> tuple[Partition, ...]:
        """The OTA slots by their number."""
        slots = [part for part in self.partitions if part.ota_number is not None]
        return tuple(sorted(slots, key=lambda part: part.subtype))

    @property
    def otadata(self) -> Partition | None:
        """Where the bootloader reads which slot to start."""
        return self.find(DATA, DATA_OTA)

    @property
    def factory(self) -> Partition | None:
        """The factory app."""
        return self.find(APP, FACTORY)

    @property
    def takes_firmware(self) -> bool:
        """Whether firmware can be replaced in the field: two OTA slots and otadata."""
        return self.otadata is not None and len(self.ota_slots) >= 2

    def find(self, type: int, subtype: int) -> Partition | None:
        """The first partition of that type and subtype."""
        return next((part for part in self.partitions if (part.type, part.subtype) == (type, subtype)), None)

    def labelled(self, label: str) -> Partition | None:
        """The partition of that name."""
        return next((part for part in self.partitions if part.label == label), None)


#: What MicroPython publishes for ESP32 boards with 4 MB: one app, and no way to replace it in the field.
PUBLISHED = PartitionTable(
    (
        Partition("nvs", DATA, SUBTYPES[DATA]["nvs"], 0x9000, 0x6000),
        Partition("phy_init", DATA, SUBTYPES[DATA]["phy"], 0xF000, 0x1000),
        Partition("factory", APP, FACTORY, 0x10000, 0x1F0000),
        Partition(FILESYSTEM, DATA, SUBTYPES[DATA]["fat"], 0x200000, 0x200000),
    )
)


def check(partitions: Sequence[Partition], flash_size: int | None = None) -> PartitionTable:
    """The table of these partitions, if they fit together.

    Args:
        partitions: In any order; they are kept in it.
        flash_size: Bytes of the chip; None: it is not known.

    Raises:
        ImageError: One is misaligned, overlaps another, or lies outside the flash; OTA slots have a gap.
    """
    if not partitions:
        raise ImageError("the partition table is empty", _ADVICE)
    for part in partitions:
        _check_one(part, flash_size)
    labels = [part.label for part in partitions]
    for label in labels:
        if labels.count(label) > 1:
            raise ImageError(f"two partitions are named {label!r}", "give each a name of its own")
    in_order = sorted(partitions, key=lambda part: part.offset)
    for one, other in pairwise(in_order):
        if other.offset < one.end:
            raise ImageError(f"partition {other.label} begins at {other.offset:#x}, inside {one.label} ({one.end:#x})")
    table = PartitionTable(tuple(partitions))
    numbers = [part.ota_number for part in table.ota_slots]
    if numbers != list(range(len(numbers))):
        found = ", ".join(f"ota_{number}" for number in numbers)
        raise ImageError(f"the OTA slots are {found}; they must be ota_0, ota_1 and so on, each once")
    if table.otadata is not None and table.otadata.size != 2 * SECTOR_BYTES:
        raise ImageError(f"otadata has {table.otadata.size:#x} bytes; the bootloader reads two sectors, 0x2000 bytes")
    return table


def _check_one(part: Partition, flash_size: int | None) -> None:
    try:
        length = len(part.label.encode("ascii"))
    except UnicodeEncodeError:
        length = 0
    if not 1 <= length <= 16 or not part.label.isprintable():
        raise ImageError(f"{part.label!r} is no partition name: 1 to 16 printable ASCII characters")
    if not (0 <= part.type <= 0xFE and 0 <= part.subtype <= 0xFE):
        raise ImageError(
            f"partition {part.label} has type {part.type} and subtype {part.subtype}; each must be 0 to 254"
        )
    alignment = _ALIGNMENT.get(part.type, SECTOR_BYTES)
    if part.offset % alignment:
        raise ImageError(f"partition {part.label} begins at {part.offset:#x}, which is no multiple of {alignment:#x}")
    if part.size < 1 or part.size % SECTOR_BYTES:
        raise ImageError(f"partition {part.label} has {part.size:#x} bytes, which are no whole sectors of 0x1000")
    if part.offset < FIRST_OFFSET:
        raise ImageError(f"partition {part.label} begins at {part.offset:#x}, before {FIRST_OFFSET:#x}")
    if part.end > (flash_size or 1 << 32):
        raise ImageError(f"partition {part.label} ends at {part.end:#x}, after the flash ({flash_size or 1 << 32:#x})")


def parse(data: bytes, flash_size: int | None = None) -> PartitionTable:
    """Read a table.

    Args:
        data: From the beginning of the table; what follows its 0xC00 bytes is not looked at.
        flash_size: As for `check`.

    Raises:
        ImageError: It is damaged, or its entries do not fit together.
    """
    if len(data) < SIZE_BYTES:
        raise ImageError(f"the partition table is cut short: {len(data)} bytes of {SIZE_BYTES}", _ADVICE)
    found: list[Partition] = []
    for start in range(0, SIZE_BYTES, _ENTRY.size):
        entry = data[start : start + _ENTRY.size]
        if entry.startswith(_MD5_BEGIN):
            _check_end(data, start)
            return check(found, flash_size)
        found.append(_parse_entry(entry, len(found)))
    raise ImageError("the partition table has no MD5 at its end", _ADVICE)


def _check_end(data: bytes, start: int) -> None:
    stored = data[start + len(_MD5_BEGIN) : start + _ENTRY.size]
    if hashlib.md5(data[:start], usedforsecurity=False).digest() != stored:
        raise ImageError("the partition table is damaged: its MD5 does not match", _ADVICE)
    rest = data[start + _ENTRY.size : SIZE_BYTES]
    if rest.count(b"\xff") != len(rest):
        raise ImageError("the partition table is damaged: something follows its end", _ADVICE)


def _parse_entry(entry: bytes, number: int) -> Partition:
    magic, type_, subtype, offset, size, label, flags = _ENTRY.unpack(entry)
    if magic != _MAGIC:
        reason = "nothing is written there" if entry == _BLANK else f"it begins with {entry[:2].hex()}, not aa50"
        raise ImageError(f"entry {number} of the partition table is none: {reason}", _ADVICE)
    return Partition(label.rstrip(b"\0").decode("ascii", "backslashreplace"), type_, subtype, offset, size, flags)


def build(table: PartitionTable) -> bytes:
    """The table as it lies in flash: 0xC00 bytes.

    Raises:
        ImageError: There are too many partitions.
    """
    entries = b"".join(
        _ENTRY.pack(_MAGIC, part.type, part.subtype, part.offset, part.size, part.label.encode("ascii"), part.flags)
        for part in table
    )
    digest = hashlib.md5(entries, usedforsecurity=False).digest()
    data = entries + _MD5_BEGIN + digest
    if len(data) + _ENTRY.size > SIZE_BYTES:
        raise ImageError(f"{len(table.partitions)} partitions are too many for a table", "at most 94 fit")
    return data.ljust(SIZE_BYTES, b"\xff")
