"""The parts of a board definition that lay out its flash."""

from heirloom.boards.chips import Chip
from heirloom.boards.images import partitions
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.partitions import FILESYSTEM, SUBTYPES, TYPES, Partition, PartitionTable
from heirloom.boards.model import FlashLayout
from heirloom.cli.toml import Table, wrong

_FLASH = ("size", "block_size", "page_size")
_FILESYSTEM = ("offset", "block_count", "program_size")
_PARTITION = ("type", "subtype", "offset", "size")


def check_keys(top: Table) -> None:
    """Refuse misspelt keys of [flash], [filesystem] and [partitions] in one file."""
    top.table("flash").only(*_FLASH)
    top.table("filesystem").only(*_FILESYSTEM)
    parts = top.table("partitions")
    for label, value in parts.values.items():
        if value is not False:
            parts.table(label).only(*_PARTITION)


def flash(table: Table) -> FlashLayout:
    """[flash] and [filesystem].

    Raises:
        HeirloomError: A number is missing, or they do not fit together.
    """
    chip, part = table.table("flash", required=True), table.table("filesystem", required=True)
    layout = FlashLayout(
        **{key: _number(chip, key) for key in _FLASH},
        **{key: _number(part, key, minimum=0 if key == "offset" else 1) for key in _FILESYSTEM},
    )
    path = table.path
    if layout.block_size % layout.page_size or layout.page_size % layout.program_size:
        raise wrong(path, "a block must be whole pages, and a page whole units of [filesystem] program_size")
    if layout.offset % layout.block_size:
        raise wrong(path, f"[filesystem] offset {layout.offset:#x} is not a multiple of block_size")
    if layout.offset + layout.filesystem_size > layout.size:
        end = layout.offset + layout.filesystem_size
        raise wrong(path, f"the file system ends at {end:#x}, after the flash ({layout.size:#x})")
    return layout


def partition_table(table: Table, layout: FlashLayout, chip: Chip) -> PartitionTable | None:
    """[partitions], one table for each; a label with the value `false` takes one of the extended board out.

    Args:
        table: The whole definition.
        layout: Of the same definition.
        chip: Says whether there are partitions at all.

    Raises:
        HeirloomError: The partitions do not fit together, or not with [filesystem].
    """
    parts = table.table("partitions")
    labels = [label for label, value in parts.values.items() if value is not False]
    if chip.flashing != "esptool":
        if labels:
            raise wrong(table.path, f"[partitions] is only for ESP32 chips, and this is a {chip.name}")
        return None
    try:
        made = partitions.check([_partition(parts.table(label), label) for label in labels], layout.size)
    except ImageError as exc:
        raise wrong(table.path, f"[partitions] {exc.message}") from exc
    _check_filesystem(table, made, layout)
    return made


def _check_filesystem(table: Table, made: PartitionTable, layout: FlashLayout) -> None:
    place = made.labelled(FILESYSTEM)
    if place is None:
        raise wrong(table.path, f"[partitions.{FILESYSTEM}] is missing, the partition of the file system")
    if (place.offset, place.size) != (layout.offset, layout.filesystem_size):
        raise wrong(
            table.path,
            f"[filesystem] is {layout.filesystem_size:#x} bytes at {layout.offset:#x}, "
            f"but [partitions.{FILESYSTEM}] is {place.size:#x} bytes at {place.offset:#x}",
        )


def check_firmware_ota(table: Table, made: PartitionTable | None) -> None:
    """Refuse the capability `firmware-ota` without two equal slots.

    Raises:
        HeirloomError: The partition table has not what replacing firmware takes.
    """
    if made is None or not made.takes_firmware:
        raise wrong(table.path, 'capabilities has "firmware-ota", which takes otadata, ota_0 and ota_1')
    sizes = {slot.size for slot in made.ota_slots}
    if len(sizes) > 1:
        found = ", ".join(f"{slot.label} {slot.size:#x}" for slot in made.ota_slots)
        raise wrong(table.path, f"the OTA slots differ in size ({found}); what runs in one must fit into the other")


def _partition(table: Table, label: str) -> Partition:
    type_ = _named_number(table, "type", TYPES)
    return Partition(
        label=label,
        type=type_,
        subtype=_named_number(table, "subtype", SUBTYPES.get(type_, {})),
        offset=_number(table, "offset"),
        size=_number(table, "size"),
    )


def _named_number(table: Table, key: str, known: dict[str, int]) -> int:
    value = table.values.get(key)
    if isinstance(value, str):
        if value not in known:
            raise wrong(table.path, f"[{table.name}] {key} is {value!r}; known are {', '.join(known)}")
        return known[value]
    return _number(table, key, minimum=0)


def _number(table: Table, key: str, minimum: int = 1) -> int:
    value = table.values.get(key)
    if value is None:
        raise wrong(table.path, f"[{table.name}] {key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise wrong(table.path, f"[{table.name}] {key} is {value!r}; it must be a whole number, at least {minimum}")
    return value
