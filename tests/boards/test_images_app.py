"""App images: whatever is wrong with one is refused with a sentence, and what is right is what esptool says, too."""

import contextlib
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.boards.images import app, esp32
from heirloom.boards.images.errors import ImageError
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import missing

pytestmark = pytest.mark.skipif(bool(missing("flash")), reason="the extra `flash` is not installed")

CHIPS = ("esp32", "esp32c3", "esp32s3")
SMALL = b"" if missing("flash") else app.build("esp32c3", b"content", version="v1.27.0")


def test_an_image_says_what_it_is() -> None:
    image = app.read(SMALL, "esp32c3")
    assert (image.chip, image.project, image.version, image.segments) == ("esp32c3", "micropython", "v1.27.0", 1)
    assert image.length == len(SMALL)
    assert image.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert image.flash_size == 4 << 20


@pytest.mark.parametrize("chip", CHIPS)
def test_esptool_itself_finds_our_images_valid(chip: str, tmp_path: Path) -> None:
    path = tmp_path / "app.bin"
    path.write_bytes(app.build(chip, bytes(range(256)) * 40, version="v1.27.0", flash_size=8 << 20))
    command = [sys.executable, "-m", "esptool", "image-info", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert f"Detected image type: {chip.upper()[:5]}" in said
    assert said.count("(valid)") == 2
    assert "Flash size: 8MB" in said
    assert "App version: v1.27.0" in said
    assert app.read(path.read_bytes(), chip).flash_size == 8 << 20


def test_every_bit_flip_is_refused() -> None:
    for index in range(len(SMALL) * 8):
        damaged = bytearray(SMALL)
        damaged[index // 8] ^= 1 << index % 8
        with pytest.raises(ImageError) as caught:
            app.read(bytes(damaged), "esp32c3")
        assert len(caught.value.message) > 20


def test_every_truncation_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(ImageError, match=r"cut short|End of file"):
            app.read(SMALL[:length], "esp32c3")


@given(st.binary(max_size=200))
def test_noise_behind_a_right_header_is_refused(noise: bytes) -> None:
    with pytest.raises(ImageError):
        app.read(SMALL[:24] + noise, "esp32c3")


@given(st.integers(0, 23), st.integers(0, 255))
def test_any_header_byte_is_an_image_or_a_sentence(index: int, value: int) -> None:
    """With the hash made right again, as somebody would who wants to deceive."""
    changed = bytearray(SMALL[:-32])
    changed[index] = value
    with contextlib.suppress(ImageError):
        app.read(bytes(changed) + hashlib.sha256(changed).digest(), "esp32c3")


@pytest.mark.parametrize("other", ["esp32", "esp32s3"])
def test_the_image_of_another_chip_is_refused(other: str) -> None:
    with pytest.raises(ImageError, match="is for ESP32C3, and the board has ESP32") as caught:
        app.read(SMALL, other)
    assert caught.value.advice


def rehashed(image: bytes) -> bytes:
    return image[:-32] + hashlib.sha256(image[:-32]).digest()


def with_segment(offset: int, value: int) -> bytes:
    changed = bytearray(SMALL)
    struct.pack_into("<I", changed, 24 + offset, value)
    return rehashed(bytes(changed))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SMALL + b"\xff" * 16, "16 bytes follow"),
        (bytes([*SMALL[:23], 0, *SMALL[24:-32]]), "no SHA-256"),
        (rehashed(SMALL[:12] + b"\x63\x00" + SMALL[14:]), "not known here (id 99)"),
        (rehashed(SMALL[:1] + b"\x11" + SMALL[2:]), "17 segments"),
        (with_segment(0, 0x3C000024), "does not lie where flash is mapped"),
        (with_segment(4, 0x01000000), "End of file"),
        (b"\x7fELF" + bytes(100), "begins with 0x7f"),
        (b"", "0 bytes, less than its header"),
    ],
)
def test_the_reason_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        app.read(data)
    assert message in caught.value.message


def test_in_a_slot_something_may_follow_and_a_hash_may_be_absent() -> None:
    """The bootloader is content with less than we are."""
    assert app.read_slot(SMALL + b"\xff" * 5000, "esp32c3").length == len(SMALL)
    hashless = bytes([*SMALL[:23], 0, *SMALL[24:-32]])
    assert app.read_slot(hashless + b"\xff" * 5000, "esp32c3").length == len(hashless)


def test_the_bootloaders_own_hash_does_not_matter_but_its_checksum_does() -> None:
    """esptool sets the flash size in its header."""
    resized = SMALL[:3] + b"\x3f" + SMALL[4:]
    assert app.read_slot(resized, "esp32c3", bootloader=True).flash_size == 8 << 20
    with pytest.raises(ImageError, match="SHA-256 does not match"):
        app.read_slot(resized, "esp32c3")
    with pytest.raises(ImageError, match="checksum does not match"):
        app.read_slot(SMALL[:60] + b"?" + SMALL[61:], "esp32c3", bootloader=True)


def test_without_esptool_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "esptool", None)
    with pytest.raises(HeirloomError) as caught:
        app.read(SMALL)
    assert caught.value.message == "esptool is not installed"
    assert caught.value.advice == "pip install 'heirloom-ota[flash]'"


def test_the_version_of_micropython_is_in_what_it_says_at_its_prompt() -> None:
    """Its own builds leave the description's version empty."""
    says = b"\0MicroPython v1.27.0-preview.12.gabc on 2025-12-09\0"
    assert app.read(app.build("esp32c3", says)).version == "v1.27.0-preview.12.gabc"
    assert app.read(app.build("esp32c3", says, version="v9.9.9")).version == "v9.9.9"
    assert app.read(app.build("esp32c3", b"MicroPython v1 on a mountain")).version == ""


def test_published_images_say_their_version(firmware: Path) -> None:
    published = sorted(firmware.glob("ESP32_GENERIC*-v*.bin"))
    if not published:
        pytest.skip("no image of an ESP32 among the firmware images")
    for path in published:
        parts = esp32.split(path.read_bytes())
        assert f"-{parts.app_image.version}.bin" in path.name
