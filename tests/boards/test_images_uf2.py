"""UF2: the frame is checked to the last bit; of the content, what the chip's ROM checks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom import boards
from heirloom.boards.images import firmware, uf2
from heirloom.boards.images.errors import ImageError

BOOT2 = bytes(range(252))
CONTENT = BOOT2 + uf2.boot2_crc(BOOT2).to_bytes(4, "little") + b"MicroPython v1.27.0 on 2026-01-01\0" + bytes(600)
SMALL = uf2.build("rp2040", CONTENT)


def test_the_crc_has_the_published_check_value() -> None:
    assert uf2.boot2_crc(b"123456789") == 0x0376E6E7  # CRC-32/MPEG-2


@given(st.binary(min_size=1, max_size=2000), st.sampled_from(["rp2040", "rp2350"]), st.integers(1, 4000))
def test_what_is_written_is_read(data: bytes, chip: str, page: int) -> None:
    image = uf2.read(uf2.build(chip, data, page * 256), chip)
    assert (image.chip, image.address) == (chip, page * 256)
    assert image.data == data.ljust(-(-len(data) // 256) * 256, b"\0")


def test_a_firmware_says_its_version() -> None:
    assert uf2.read(SMALL, "rp2040").version == "v1.27.0"


def test_every_truncation_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(ImageError, match=r"cut short|says that it is"):
            uf2.read(SMALL[:length], "rp2040")


def test_every_bit_flip_of_the_frame_and_the_first_page_is_refused() -> None:
    for index in range(len(SMALL) * 8):
        block, byte = divmod(index // 8, 512)
        if block > 0 and 32 <= byte < 288:
            continue  # content: the format has no checksum
        damaged = bytearray(SMALL)
        damaged[index // 8] ^= 1 << index % 8
        with pytest.raises(ImageError):
            uf2.read(bytes(damaged), "rp2040")


@given(st.binary(max_size=1024))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        uf2.read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes are no whole blocks"),
        (SMALL[512:], "block 0 of the UF2 file says that it is 1 of 4"),
        (SMALL[:512] + SMALL[1024:1536] + SMALL[512:1024] + SMALL[1536:], "block 1"),
        (SMALL[:28] + b"\x01\x02\x03\x04" + SMALL[32:], "not known here (family 0x04030201)"),
        (uf2.build("rp2350", CONTENT), "is for RP2350, and the board has RP2040"),
    ],
)
def test_the_reason_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        uf2.read(data, "rp2040")
    assert message in caught.value.message


def test_the_workaround_block_of_the_rp2350_is_skipped() -> None:
    absolute = bytearray(uf2.build("rp2350", b"\xef" * 256, 0xFFFF00))
    absolute[28:32] = (0xE48BFF57).to_bytes(4, "little")
    assert uf2.read(bytes(absolute) + uf2.build("rp2350", CONTENT), "rp2350").data[: len(CONTENT)] == CONTENT


def test_what_cannot_be_a_uf2_file() -> None:
    with pytest.raises(ImageError, match="ESP32 is not flashed by UF2"):
        uf2.build("esp32", b"x")
    with pytest.raises(ImageError, match="cannot write 1 bytes at 0x1"):
        uf2.build("rp2040", b"x", 1)


def test_a_firmware_must_end_before_the_file_system() -> None:
    board = boards.load("RPI_PICO")
    fits = uf2.build("rp2040", CONTENT.ljust(board.flash.offset, b"\0"))
    assert firmware.check_uf2(board, fits).chip == "rp2040"
    with pytest.raises(ImageError, match="inside the file system of RPI_PICO"):
        firmware.check_uf2(board, uf2.build("rp2040", CONTENT.ljust(board.flash.offset + 1, b"\0")))
    with pytest.raises(ImageError, match="not flashed by UF2"):
        firmware.check_uf2(boards.load("ESP32_GENERIC"), fits)


def test_official_images_are_read_and_written_back_byte_for_byte(firmware: Path) -> None:
    found = sorted(firmware.glob("*.uf2"))
    if not found:
        pytest.skip("no UF2 file among the firmware images")
    for path in found:
        image = uf2.read(path.read_bytes())
        assert image.version.startswith("v1.")
        assert uf2.build(image.chip, image.data) == path.read_bytes()
