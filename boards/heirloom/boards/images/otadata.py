"""otadata: two sectors that say which OTA slot an ESP32 starts (ESP-IDF, `esp_ota_select_entry_t`).

Each sector begins with 32 bytes: sequence, 20 bytes FF, state, CRC-32 of the sequence. The slot is (sequence - 1)
modulo the number of slots.
"""

import struct
import zlib
from dataclasses import dataclass, replace
from enum import IntEnum

from heirloom.boards.images.errors import ImageError

SECTOR_BYTES = 0x1000
SIZE_BYTES = 2 * SECTOR_BYTES
BLANK = 0xFFFFFFFF
_ENTRY = struct.Struct("<I20sII")


class State(IntEnum):
    """What is known of the image in the slot (`esp_ota_img_states_t`)."""

    NEW = 0
    PENDING_VERIFY = 1
    VALID = 2
    INVALID = 3
    ABORTED = 4
    UNDEFINED = BLANK


def crc(sequence: int) -> int:
    """The CRC that belongs to a sequence number, as the ROM computes it."""
    return zlib.crc32(struct.pack("<I", sequence), BLANK)


@dataclass(frozen=True)
class Entry:
    """One of the two entries, whatever it holds.

    Attributes:
        sequence: The larger one counts; `BLANK` in an erased sector.
        state: As in `State`; the bootloader takes other numbers as they are.
        crc: As it lies there.
        label: The bytes between, which nobody reads.
    """

    sequence: int = BLANK
    state: int = State.UNDEFINED
    crc: int = BLANK
    label: bytes = b"\xff" * 20

    @classmethod
    def make(cls, sequence: int, state: int) -> "Entry":
        """An entry with the right CRC."""
        return cls(sequence, state, crc(sequence))

    @property
    def intact(self) -> bool:
        """Whether it was written, and its CRC matches."""
        return self.sequence != BLANK and self.crc == crc(self.sequence)

    @property
    def usable(self) -> bool:
        """Whether the bootloader would follow it."""
        return self.intact and self.state not in (State.INVALID, State.ABORTED)

    @property
    def state_name(self) -> str:
        """The state in Espressif's words."""
        return State(self.state).name if self.state in list(State) else f"{self.state:#x}"

    def with_state(self, state: State) -> "Entry":
        """The same entry in another state."""
        return replace(self, state=state)

    def slot(self, slots: int) -> int:
        """Which of so many slots it names; the arithmetic is that of 32 bits."""
        return ((self.sequence - 1) & BLANK) % slots

    def to_bytes(self) -> bytes:
        """Its 32 bytes."""
        return _ENTRY.pack(self.sequence, self.label, self.state, self.crc)


Entries = tuple[Entry, Entry]


def parse(data: bytes) -> Entries:
    """Read both entries, whatever they hold.

    Args:
        data: The partition; only the beginnings of its two sectors matter.

    Raises:
        ImageError: It is shorter than two sectors.
    """
    if len(data) < SIZE_BYTES:
        raise ImageError(f"otadata is cut short: {len(data)} bytes of {SIZE_BYTES}", "read the whole partition")
    first, second = (_parse_one(data, start) for start in (0, SECTOR_BYTES))
    return first, second


def _parse_one(data: bytes, start: int) -> Entry:
    sequence, label, state, crc_ = _ENTRY.unpack_from(data, start)
    return Entry(sequence, state, crc_, label)


def build(first: Entry | None = None, second: Entry | None = None) -> bytes:
    """The partition with these entries; what is None stays erased."""
    sectors = [entry.to_bytes() if entry else b"" for entry in (first, second)]
    return b"".join(sector.ljust(SECTOR_BYTES, b"\xff") for sector in sectors)


def active(entries: Entries) -> int | None:
    """Which entry the bootloader and ESP-IDF go by: of those that are usable, the larger sequence, then the first."""
    usable = [index for index, entry in enumerate(entries) if entry.usable]
    return max(usable, key=lambda index: (entries[index].sequence, -index), default=None)


def next_entry(entries: Entries, slot: int, slots: int) -> tuple[int, Entry]:
    """What `esp_ota_set_boot_partition` writes to make the bootloader start `slot`.

    Args:
        entries: As they are.
        slot: From 0.
        slots: How many there are.

    Returns:
        Which sector is erased and written, and with what.
    """
    current = active(entries)
    if current is None:
        return 0, replace(entries[0], sequence=slot + 1, state=State.NEW, crc=crc(slot + 1))
    sequence = entries[current].sequence
    if entries[current].slot(slots) == slot:
        return current, entries[current].with_state(State.NEW)
    other = 1 - current
    while (sequence - 1) % slots != slot:
        sequence += 1
    return other, replace(entries[other], sequence=sequence, state=State.NEW, crc=crc(sequence))


def mark_valid(entries: Entries) -> tuple[int, Entry] | None:
    """What `esp_ota_mark_app_valid_cancel_rollback` writes; None: nothing.

    It acts on the active entry, whichever slot is running: after the bootloader has fallen back from a broken slot,
    this marks the *broken* one. So compare the running partition with that one first.
    """
    current = active(entries)
    if current is None or entries[current].state == State.VALID:
        return None
    return current, entries[current].with_state(State.VALID)
