"""What can be said of an ESP32 from its whole flash: which firmware its bootloader starts, and what has none."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heirloom.boards.images import app, otadata, partitions
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.partitions import Partition
from heirloom.hil.sim.esp32 import bootloader

_HEAD_BYTES, _MARK_BYTES = 256, 6  # as heirloom_esp32 takes a mark
_BLOCK_BYTES, _GLANCE_BYTES = 4096, 16
_ENTRY_BYTES = 32


@dataclass(frozen=True)
class Firmware:
    """The firmware side of a flash.

    Attributes:
        starts: The partition whose firmware the bootloader would start; "": none.
        digest: The same for two chips whose bootloader and whose client do the same; blocks are told apart by their
            first bytes, since a download goes on at the last block that is not erased.
        wrong: What no cut may leave.
        reach: Addresses from which all this was read, and their end.
    """

    starts: str
    digest: bytes
    wrong: tuple[str, ...]
    reach: tuple[int, int]


def look(cells: bytes, chip: str, state: Mapping[str, Any]) -> Firmware:
    """Ask the bootloader's model. state: the client's, or {}."""
    found = bootloader.boot(cells, chip)
    wrong = [] if found.running else [f"no firmware starts: {'; '.join(found.log)}"]
    table = partitions.parse(cells[partitions.OFFSET :][: partitions.SIZE_BYTES])
    whole = {_mark(cells, part) for part in table.ota_slots if _is_whole(cells, part, chip)}
    marks = state.get("p") or {}
    # What runs needs its firmware, and so does what is kept to fall back to, as long as it is kept.
    needed = [str(state[key]) for key in ("a", "f") if state.get(key)]
    gone = [slot for slot in needed if slot in marks and marks[slot] not in whole]
    wrong += [f"the release in slot {slot} has no firmware that is whole" for slot in gone]
    begin = table.otadata.offset if table.otadata else partitions.OFFSET
    starts = found.running.label if found.running else ""
    return Firmware(starts, _digest(cells, table), tuple(wrong), (begin, max(p.end for p in table.ota_slots)))


def _is_whole(cells: bytes, part: Partition, chip: str) -> bool:
    try:
        app.read_slot(cells[part.offset : part.end], chip)
    except ImageError:
        return False
    return True


def _mark(cells: bytes, part: Partition) -> str:
    head = cells[part.offset : part.offset + _HEAD_BYTES]
    return hashlib.sha256(part.label.encode() + head).digest()[:_MARK_BYTES].hex()


def _digest(cells: bytes, table: partitions.PartitionTable) -> bytes:
    hasher = hashlib.sha256()
    if table.otadata:
        for sector in range(2):
            at = table.otadata.offset + sector * otadata.SECTOR_BYTES
            hasher.update(cells[at : at + _ENTRY_BYTES])
    for part in table.ota_slots:
        for at in range(part.offset, part.end, _BLOCK_BYTES):
            glance = cells[at : at + _GLANCE_BYTES]
            if glance.count(0xFF) < len(glance):
                hasher.update(at.to_bytes(4, "little") + glance)
    return hasher.digest()
