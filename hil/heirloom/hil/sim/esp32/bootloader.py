"""The choice of an ESP32's second-stage bootloader, as a pure function of its flash.

It follows ESP-IDF 5 (`bootloader_utility.c`, `bootloader_common_loader.c`) with rollback on and anti-rollback off, as
MicroPython configures it. Not modelled: the minimum chip revision of an image, flash encryption, secure boot, factory
reset by a pin, and partition tables that are damaged in ways which the real one overlooks (those are refused here).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from heirloom.boards.chips import CHIPS
from heirloom.boards.images import app, otadata, partitions
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.otadata import BLANK, SECTOR_BYTES, Entry, State
from heirloom.boards.images.partitions import APP, TEST, Partition, PartitionTable

#: The index of the factory app, before that of slot 0 (FACTORY_INDEX).
FACTORY = -1


@dataclass(frozen=True)
class Write:
    """One sector is erased, then something is written at its beginning. Power can fail before, between and after.

    Attributes:
        offset: Where the sector begins in flash.
        data: What is written.
    """

    offset: int
    data: bytes

    def apply(self, flash: bytearray) -> None:
        """Carry both operations out."""
        flash[self.offset : self.offset + SECTOR_BYTES] = b"\xff" * SECTOR_BYTES
        flash[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True)
class Boot:
    """What one start comes to.

    Attributes:
        running: The partition whose app runs; None: the chip resets again and again.
        writes: What the bootloader wrote, in order. All of it comes before the app.
        log: What was tried, and why it was given up.
    """

    running: Partition | None
    writes: tuple[Write, ...] = ()
    log: tuple[str, ...] = ()

    def apply(self, flash: bytearray) -> None:
        """Carry all writes out."""
        for write in self.writes:
            write.apply(flash)


def boot(flash: bytes, chip: str) -> Boot:
    """Start once.

    Args:
        flash: The whole flash; it is not changed.
        chip: As in "esp32c3".
    """
    begin = CHIPS[chip].bootloader_offset or 0
    try:
        loader = app.read_slot(flash[begin : partitions.OFFSET], chip, bootloader=True)
    except ImageError as exc:
        return Boot(None, log=(f"ROM: no bootloader: {exc.message}",))
    try:
        table = partitions.parse(flash[partitions.OFFSET :][: partitions.SIZE_BYTES], loader.flash_size)
    except ImageError as exc:
        return Boot(None, log=(f"no partition table: {exc.message}",))
    return _Start(flash, chip, table).run()


@dataclass
class _Start:
    """The state of one start."""

    flash: bytes
    chip: str
    table: PartitionTable
    initial: bool = False  # ota_has_initial_contents
    writes: list[Write] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def run(self) -> Boot:
        """bootloader_utility_get_selected_boot_partition, then bootloader_utility_load_boot_image."""
        selected = self._select()
        for index in self._order(selected):
            place = self._place(index)
            if place is not None and self._loads(place):
                self._set_actual_sequence(index)
                return self._done(place)
        test = self.table.find(APP, TEST)
        if test is not None and self._loads(test):
            return self._done(test)
        self.log.append("no bootable app partition")
        return self._done(None)

    def _done(self, running: Partition | None) -> Boot:
        return Boot(running, tuple(self.writes), tuple(self.log))

    def _select(self) -> int:
        if self.table.otadata is None:
            return FACTORY
        start = self.table.otadata.offset
        entries = self._abort_pending(otadata.parse(self.flash[start : start + otadata.SIZE_BYTES]))
        if all(_is_out(entry) for entry in entries) or not self.table.ota_slots:
            return self._select_default(entries)
        active = otadata.active(entries)
        if active is None:
            # Without a factory app the search below begins before slot 0, and goes through all slots.
            self.log.append("otadata is invalid")
            return FACTORY
        if entries[active].state == State.NEW:
            self._write(active, entries[active].with_state(State.PENDING_VERIFY))
        return entries[active].slot(len(self.table.ota_slots))

    def _abort_pending(self, entries: otadata.Entries) -> otadata.Entries:
        """A trial that did not end in a mark has failed. The CRC is not looked at here."""
        found = list(entries)
        for index, entry in enumerate(entries):
            if entry.state == State.PENDING_VERIFY:
                found[index] = entry.with_state(State.ABORTED)
                self._write(index, found[index])
        return found[0], found[1]

    def _select_default(self, entries: otadata.Entries) -> int:
        if self.table.factory is not None:
            return FACTORY
        self.initial = not any(entry.intact for entry in entries)
        return 0

    def _order(self, selected: int) -> Iterator[int]:
        """Backwards to the factory app, then forwards."""
        yield from range(selected, FACTORY - 1, -1)
        yield from range(selected + 1, len(self.table.ota_slots))

    def _place(self, index: int) -> Partition | None:
        if index == FACTORY:
            return self.table.factory
        slots = self.table.ota_slots
        return slots[index] if index < len(slots) else None

    def _loads(self, place: Partition) -> bool:
        try:
            app.read_slot(self.flash[place.offset : place.end], self.chip)
        except ImageError as exc:
            self.log.append(f"{place.label} is not bootable: {exc.message}")
            return False
        return True

    def _set_actual_sequence(self, index: int) -> None:
        if index > FACTORY and self.initial:
            self._write(0, Entry.make(index + 1, State.VALID))

    def _write(self, sector: int, entry: Entry) -> None:
        place = self.table.otadata
        if place is not None:
            self.writes.append(Write(place.offset + sector * SECTOR_BYTES, entry.to_bytes()))


def _is_out(entry: Entry) -> bool:
    """bootloader_common_ota_select_invalid: the CRC is not looked at here either."""
    return entry.sequence == BLANK or entry.state in (State.INVALID, State.ABORTED)
