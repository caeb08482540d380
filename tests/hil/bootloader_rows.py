"""Rows of the table of otadata states: what lies in flash, and what the bootloader makes of it.

A row is one line: layout, the two sectors of otadata, which images are whole, then the partition that runs and what was
written. A sector is `-` (erased) or sequence, state and `!` for a wrong CRC, as in `2V` or `1N!`. States: New, Pending
verify, Valid, Invalid, Aborted, Undefined. Images are `+` (whole) or `x` (corrupt), the factory app first.

    python tests/hil/bootloader_rows.py > tests/hil/bootloader_golden.txt
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from heirloom.boards.images import app, otadata, partitions
from heirloom.boards.images.otadata import Entry, State
from heirloom.boards.images.partitions import Partition, PartitionTable
from heirloom.hil.sim.esp32.bootloader import Boot

LETTERS = {
    "N": State.NEW, "P": State.PENDING_VERIFY, "V": State.VALID, "I": State.INVALID, "A": State.ABORTED,
    "U": State.UNDEFINED,
}  # fmt: skip
CHIP = "esp32c3"
OTADATA = Partition("otadata", 1, 0, 0xD000, 0x2000)
SLOT_BYTES = 0x10000


def _table(factory: bool, slots: int) -> PartitionTable:
    apps = [("factory", 0x00)] if factory else []
    apps += [(f"ota_{number}", 0x10 + number) for number in range(slots)]
    made = [Partition(label, 0, subtype, SLOT_BYTES * (n + 1), SLOT_BYTES) for n, (label, subtype) in enumerate(apps)]
    return partitions.check([OTADATA, *made])


LAYOUTS = {"two": _table(False, 2), "factory": _table(True, 2), "three": _table(False, 3), "alone": _table(True, 0)}

# Every state and CRC for two sequences; then a smaller choice for the other layouts, and for larger sequences.
_FULL = ["-", *(f"{seq}{letter}{bad}" for seq, letter, bad in product("12", LETTERS, ("", "!")))]
_SHORT = ["-", "1V", "1N", "1A", "2V", "2P", "2V!", "3N", "3U"]
_ODD = ["-", "0V", "0N", "7V", "8N", "4294967294V", "4294967295V", "4294967295P"]


def every_key() -> Iterator[tuple[str, str, str, str]]:
    """Layout, sectors and images of every row."""
    for layout, sectors in (("two", _FULL), ("two", _ODD), ("factory", _SHORT), ("three", _SHORT), ("alone", _SHORT)):
        images = sum(part.type == partitions.APP for part in LAYOUTS[layout])
        for first, second in product(sectors, sectors):
            for whole in product("+x", repeat=images):
                yield layout, first, second, "".join(whole)


def entry(code: str) -> Entry:
    """The entry that a sector's code stands for."""
    if code == "-":
        return Entry()
    made = Entry.make(int(code.rstrip("!")[:-1]), LETTERS[code.rstrip("!")[-1]])
    return Entry(made.sequence, made.state, made.crc ^ 1) if code.endswith("!") else made


def code_of(found: Entry) -> str:
    """The code of an entry; any entry that has none is a bug of the test."""
    if found == Entry():
        return "-"
    letter = next(name for name, state in LETTERS.items() if state == found.state)
    return f"{found.sequence}{letter}{'' if found.crc == otadata.crc(found.sequence) else '!'}"


@cache
def _image(label: str) -> bytes:
    return app.build(CHIP, label.encode(), version=label)


@dataclass(frozen=True)
class Flash:
    """The flash of a row."""

    layout: str
    first: str
    second: str
    whole: str

    def build(self, image: Callable[[str], bytes] = _image) -> bytes:
        """Its content; `image(label)` gives the app of a partition."""
        table = LAYOUTS[self.layout]
        flash = bytearray(_image("bootloader").ljust(partitions.OFFSET, b"\xff"))
        flash += partitions.build(table).ljust(OTADATA.offset - partitions.OFFSET, b"\xff")
        flash += otadata.build(entry(self.first), entry(self.second))
        flash = flash.ljust(SLOT_BYTES, b"\xff")
        apps = [part for part in table if part.type == partitions.APP]
        for part, whole in zip(apps, self.whole, strict=True):
            data = bytearray(image(part.label))
            if whole == "x":
                data[len(data) // 2] ^= 1
            flash += data.ljust(part.size, b"\xff")
        return bytes(flash)


def outcome(found: Boot) -> str:
    """A start as a row says it."""
    writes = [
        f"{(write.offset - OTADATA.offset) // otadata.SECTOR_BYTES}:{code_of(_written(write.data))}"
        for write in found.writes
    ]
    return " ".join([found.running.label if found.running else "none", *writes])


def _written(data: bytes) -> Entry:
    return otadata.parse(data.ljust(otadata.SIZE_BYTES, b"\xff"))[0]


if __name__ == "__main__":
    from heirloom.hil.sim.esp32.bootloader import boot

    for key in every_key():
        print(*key, "->", outcome(boot(Flash(*key).build(), CHIP)))
