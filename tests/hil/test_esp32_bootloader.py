"""The simulated bootloader: the rules one by one, and a table of all states of otadata."""

from pathlib import Path

import pytest

from heirloom.boards.images import app, otadata, partitions
from heirloom.boards.images.otadata import Entry, State
from heirloom.cli.extras import missing
from heirloom.hil.sim.esp32.bootloader import Boot, boot

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

import bootloader_rows as rows

GOLDEN = Path(__file__).with_name("bootloader_golden.txt")


def start(first: str, second: str, whole: str = "++", layout: str = "two") -> tuple[Boot, bytes]:
    """One start, and the flash after it."""
    flash = bytearray(rows.Flash(layout, first, second, whole).build())
    found = boot(bytes(flash), rows.CHIP)
    found.apply(flash)
    return found, bytes(flash)


def entries(flash: bytes) -> otadata.Entries:
    return otadata.parse(flash[rows.OTADATA.offset :][: otadata.SIZE_BYTES])


def test_the_model_gives_the_golden_table() -> None:
    golden = GOLDEN.read_text().splitlines()
    made = [f"{' '.join(key)} -> {rows.outcome(boot(rows.Flash(*key).build(), rows.CHIP))}" for key in rows.every_key()]
    assert [line for line in made if line not in set(golden)] == []
    assert made == golden


def test_a_blank_unit_starts_slot_0_and_writes_so() -> None:
    found, flash = start("-", "-")
    assert rows.outcome(found) == "ota_0 0:1V"
    assert entries(flash) == (Entry.make(1, State.VALID), Entry())


def test_a_blank_unit_with_a_broken_slot_0_starts_and_writes_slot_1() -> None:
    assert rows.outcome(start("-", "-", "x+")[0]) == "ota_1 0:2V"


def test_new_firmware_has_one_start_to_be_marked() -> None:
    found, flash = start("1V", "2N")
    assert rows.outcome(found) == "ota_1 1:2P"
    again = boot(flash, rows.CHIP)
    assert rows.outcome(again) == "ota_0 1:2A"


def test_marked_firmware_stays() -> None:
    _, flash = start("1V", "2N")
    marked = otadata.mark_valid(entries(flash))
    assert marked == (1, Entry.make(2, State.VALID))
    assert rows.outcome(start("1V", "2V")[0]) == "ota_1"
    assert otadata.mark_valid(entries(start("1V", "2V")[1])) is None


def test_a_broken_image_falls_back_without_a_change_of_otadata() -> None:
    found, flash = start("1V", "2V", "+x")
    assert rows.outcome(found) == "ota_0"
    assert any("ota_1 is not bootable" in line for line in found.log)
    assert entries(flash) == (Entry.make(1, State.VALID), Entry.make(2, State.VALID))


def test_after_a_fall_back_marking_valid_marks_the_broken_slot() -> None:
    """The trap: RUNNING is ota_0, and what is marked is the entry of ota_1."""
    found, flash = start("1V", "2N", "+x")
    assert rows.outcome(found) == "ota_0 1:2P"
    assert found.running is not None
    assert found.running.label == "ota_0"
    assert otadata.mark_valid(entries(flash)) == (1, Entry.make(2, State.VALID))


def test_a_factory_app_is_the_last_resort() -> None:
    assert rows.outcome(start("1A", "2A", "+++", "factory")[0]) == "factory"
    assert rows.outcome(start("-", "-", "x++", "factory")[0]) == "ota_0"
    assert rows.outcome(start("1V", "2V!", "+xx", "factory")[0]) == "factory"


def test_three_slots_are_tried_downwards_then_upwards() -> None:
    assert rows.outcome(start("1V", "2V", "xx+", "three")[0]) == "ota_2"
    assert rows.outcome(start("1V", "2V", "+x+", "three")[0]) == "ota_0"


def test_nothing_bootable_is_said_with_all_reasons() -> None:
    found, _ = start("1V", "2V", "xx")
    assert found.running is None
    assert [line.split(" is not")[0] for line in found.log] == ["ota_1", "ota_0", "no bootable app partition"]


def test_the_app_test_is_started_when_nothing_else_is_left() -> None:
    table = partitions.check([rows.OTADATA, partitions.Partition("test", 0, partitions.TEST, 0x10000, 0x10000)])
    flash = app.build(rows.CHIP).ljust(0x8000, b"\xff") + partitions.build(table)
    flash = flash.ljust(0x10000, b"\xff") + app.build(rows.CHIP)
    found = boot(flash, rows.CHIP)
    assert found.running is not None
    assert found.running.label == "test"


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(40, "ROM: no bootloader"), (0x8004, "no partition table"), (0x8000 + 0xC0, "no partition table")],
)
def test_without_bootloader_or_table_nothing_starts(offset: int, reason: str) -> None:
    flash = bytearray(rows.Flash("two", "1V", "-", "++").build())
    flash[offset] ^= 1
    found = boot(bytes(flash), rows.CHIP)
    assert found.running is None
    assert found.log[0].startswith(reason)


def test_the_image_of_another_chip_is_not_started() -> None:
    flash = rows.Flash("two", "1V", "-", "++").build(lambda label: app.build("esp32s3", label.encode()))
    assert boot(flash, rows.CHIP).running is None


def test_a_cut_between_erasing_and_writing_an_entry_still_starts_something() -> None:
    """Every write of the bootloader, cut in the middle: the next start finds firmware that was good before."""
    for first, second in (("1V", "2N"), ("1V", "2P"), ("3N", "2V"), ("-", "-")):
        flash = bytearray(rows.Flash("two", first, second, "++").build())
        for write in boot(bytes(flash), rows.CHIP).writes:
            flash[write.offset : write.offset + otadata.SECTOR_BYTES] = b"\xff" * otadata.SECTOR_BYTES
            assert boot(bytes(flash), rows.CHIP).running is not None
            write.apply(flash)
