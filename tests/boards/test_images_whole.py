"""Whole images, what fits a board, littlefs, and the command that shows all of it."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from heirloom import boards
from heirloom.boards.images import app, esp32, firmware, lfs, otadata, partitions
from heirloom.boards.images.errors import ImageError
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.extras import missing
from heirloom.cli.main import call

pytestmark = pytest.mark.skipif(bool(missing("flash")), reason="the extra `flash` is not installed")

ESP32 = boards.load("ESP32_GENERIC")
SLOT = 0x1B0000


@pytest.mark.parametrize(("chip", "begins"), [("esp32", 0x1000), ("esp32c3", 0), ("esp32s3", 0)])
def test_a_published_image_is_taken_apart(chip: str, begins: int, published_image) -> None:
    published = published_image(chip, b"the app" * 99)
    for data in (published, b"\xff" * begins + published):
        parts = esp32.split(data, chip)
        assert (parts.chip, parts.flash_size, parts.table) == (chip, 4 << 20, partitions.PUBLISHED)
        assert parts.app_image == app.read(parts.app, chip)
        assert (parts.app_image.project, parts.app_image.version) == ("micropython", "v1.27.0")
        assert app.read_slot(parts.bootloader, chip, bootloader=True).project == "bootloader"


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "ESP32_GENERIC_C3", "ESP32_GENERIC_S3"])
def test_an_ota_layout_is_made_of_a_published_image(name: str, published_image) -> None:
    board = boards.load(name)
    parts = esp32.split(published_image(board.chip, b"app" * 5000, flash_size=board.flash.size))
    filesystem = lfs.build(board.flash, {"/main.py": b"print(1)\n"})
    flash = esp32.whole_flash(board, parts, filesystem=filesystem)
    assert len(flash) == board.flash.size
    again = esp32.split(flash, board.chip)
    assert again.table == board.partitions
    assert (again.app, again.bootloader) == (parts.app, parts.bootloader)
    assert otadata.parse(flash[0xD000:0xF000]) == (otadata.Entry(), otadata.Entry())
    assert lfs.read(board.flash, flash[board.flash.offset :]) == {"/main.py": b"print(1)\n"}
    slot = again.table.ota_slots[0]
    assert flash[slot.offset :].startswith(parts.app)


def test_what_does_not_fit_together_is_not_laid_out(published_image) -> None:
    parts = esp32.split(published_image("esp32"))
    with pytest.raises(ImageError, match=r"is for ESP32, and ESP32_GENERIC_C3 has ESP32C3"):
        esp32.whole_flash(boards.load("ESP32_GENERIC_C3"), parts)
    with pytest.raises(ImageError, match="has no partition table"):
        esp32.whole_flash(boards.load("RPI_PICO"), parts)
    with pytest.raises(ImageError, match="expects 4 MB of flash; ESP32_GENERIC has 8 MB"):
        esp32.whole_flash(replace(ESP32, flash=replace(ESP32.flash, size=8 << 20)), parts)
    with pytest.raises(ImageError, match="room for 1769472"):
        esp32.whole_flash(ESP32, parts, app_data=bytes(SLOT + 1))


def test_a_damaged_part_is_named(published_image) -> None:
    good = published_image("esp32c3", b"content")
    for offset, message in (
        (60, "checksum"),
        (0x8004, "partition table is damaged"),
        (0x10040, "in partition factory"),
    ):
        damaged = good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :]
        with pytest.raises(ImageError, match=message):
            esp32.split(damaged)
    with pytest.raises(ImageError, match="no partition table lies where"):
        esp32.split(good[:0x8000])
    for length in (0x8C00, 0x10000, 0x10010, len(good) - 1):
        with pytest.raises(ImageError, match="in partition factory: the app image is cut short"):
            esp32.split(good[:length])


def sized(length: int) -> bytes:
    """An app image of exactly that length."""
    made = app.build("esp32", bytes(length - 352))
    padding = length - len(made)
    made = app.build("esp32", bytes(length - 352 + padding))
    assert len(made) == length
    return made


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (1672976, None),  # MicroPython 1.27
        (SLOT * 95 // 100 // 16 * 16, None),
        (SLOT * 95 // 100 // 16 * 16 + 16, "leaves 5.0% of a slot of ESP32_GENERIC free"),
        (SLOT - 64, "leaves 0.0%"),
    ],
)
def test_headroom_is_kept_unless_forced(length: int, message: str | None) -> None:
    data = sized(length)
    assert firmware.check_update(ESP32, data, force=True).length == length
    if message is None:
        assert firmware.check_update(ESP32, data).length == length
    else:
        with pytest.raises(ImageError) as caught:
            firmware.check_update(ESP32, data)
        assert message in caught.value.message
        assert "--force" in caught.value.advice


def test_larger_than_a_slot_is_refused_even_by_force() -> None:
    with pytest.raises(ImageError, match=f"has {SLOT + 16} bytes, and a slot of ESP32_GENERIC {SLOT}"):
        firmware.check_update(ESP32, sized(SLOT + 16), force=True)


def test_what_cannot_be_sent_over_the_air(published_image) -> None:
    image = app.build("esp32", b"x")
    with pytest.raises(ImageError, match="firmware of RPI_PICO_W is not replaced over the air"):
        firmware.check_update(boards.load("RPI_PICO_W"), image)
    with pytest.raises(ImageError, match="one app partition and no second slot"):
        firmware.check_update(replace(ESP32, partitions=partitions.PUBLISHED), image)
    with pytest.raises(ImageError, match="image of a whole flash") as caught:
        firmware.check_update(ESP32, published_image("esp32"))
    assert "--app OUT" in caught.value.advice
    with pytest.raises(ImageError, match="is for ESP32, and the board has ESP32C3"):
        firmware.check_update(boards.load("ESP32_GENERIC_C3"), image)


LAYOUT = replace(boards.load("RPI_PICO").flash, block_count=16)
FILES = {"/main.py": b"print(1)\n", "/lib/a.py": b"a" * 9000, "/data/b": b""}


def test_a_file_system_is_read_as_it_was_written() -> None:
    assert lfs.read(LAYOUT, lfs.build(LAYOUT, FILES, ["/empty"])) == FILES


def test_a_file_system_that_is_full_or_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match="70000 bytes in 1 files do not fit into 65536"):
        lfs.build(LAYOUT, {"/big": bytes(70000)})
    with pytest.raises(ImageError, match="has 10 bytes, that of the board 65536"):
        lfs.read(LAYOUT, bytes(10))
    with pytest.raises(ImageError, match="cannot be read"):
        lfs.read(LAYOUT, b"\xff" * 65536)


def test_a_damaged_file_system_is_read_or_refused_with_a_sentence() -> None:
    image = lfs.build(LAYOUT, FILES)
    for index in [*range(0, 512 * 8, 7), *range(4096 * 8, 4608 * 8, 7)]:
        damaged = bytearray(image)
        damaged[index // 8] ^= 1 << index % 8
        with contextlib.suppress(ImageError):
            lfs.read(LAYOUT, bytes(damaged))
    both = b"".join(image[start : start + 8] + bytes(8) + image[start + 16 : start + 4096] for start in (0, 4096))
    with pytest.raises(ImageError, match="cannot be read"):
        lfs.read(LAYOUT, both + image[8192:])


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_the_command_shows_every_kind(tmp_path: Path, published_image) -> None:
    image = tmp_path / "image"

    def shown(data: bytes, *more: str) -> dict[str, object]:
        found = call(["board", "image", write(image, data), *more])
        assert isinstance(found, dict)
        return found

    assert ESP32.partitions is not None
    assert shown(app.build("esp32", version="v1.27.0"), "--board", "ESP32_GENERIC")["version"] == "v1.27.0"
    assert shown(partitions.build(ESP32.partitions))["takes_firmware"] is True
    assert shown(partitions.build(ESP32.partitions), "--board", "ESP32_GENERIC")["kind"] == "partition table"
    assert shown(published_image())["takes_firmware"] is False
    assert shown(otadata.build(None, otadata.Entry.make(2, 0)))["active"] == 1
    filesystem = lfs.build(ESP32.flash, {"/main.py": b"12345"})
    assert shown(filesystem, "--board", "ESP32_GENERIC")["files"] == {"/main.py": 5}
    with pytest.raises(HeirloomError, match="can only be read with its layout"):
        shown(filesystem)
    with pytest.raises(HeirloomError, match="no image that is known here"):
        shown(b"hello")
    with pytest.raises(HeirloomError, match="not the partition table of ESP32_GENERIC_S3"):
        shown(partitions.build(ESP32.partitions), "--board", "ESP32_GENERIC_S3")


def test_the_command_cuts_the_app_out_and_lays_a_flash_out(tmp_path: Path, published_image) -> None:
    published = write(tmp_path / "published.bin", published_image("esp32", b"hello"))
    cut, whole = tmp_path / "cut.app-bin", tmp_path / "whole.bin"
    done = call(["board", "image", published, "--board", "ESP32_GENERIC", "--app", str(cut), "--flash", str(whole)])
    assert isinstance(done, dict)
    assert done["written"] == [str(cut), str(whole)]
    assert firmware.check_update(ESP32, cut.read_bytes()).version == "v1.27.0"
    assert esp32.split(whole.read_bytes()).table == ESP32.partitions
    with pytest.raises(UsageError, match="--flash needs a layout"):
        call(["board", "image", published, "--flash", str(whole)])
    with pytest.raises(HeirloomError, match="is for ESP32, and the board has ESP32C3"):
        call(["board", "image", published, "--board", "ESP32_GENERIC_C3"])
