"""Unmodified esptool flashes an ESP32 over a socket: what it wrote is there and starts, after power cuts, too."""

import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom import boards
from heirloom.boards.images import app, esp32
from heirloom.boards.model import Board
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import missing
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.esp32 import slip
from heirloom.hil.sim.esp32.bootloader import boot
from heirloom.hil.sim.esp32.download import DownloadMode
from heirloom.hil.sim.esp32.nor import NorFlash
from heirloom.hil.sim.esp32.rom import MAX_REQUEST_BYTES, Op, RomLoader

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
CHIPS = ("SIM_ESP32_GENERIC", "SIM_ESP32_GENERIC_C3", "SIM_ESP32_GENERIC_S3")
C3 = "SIM_ESP32_GENERIC_C3"
SLOT = 0x10000


def esptool(rom: DownloadMode, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "esptool", "--port", rom.url, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def content(device: SimDevice) -> bytes:
    return (device.directory / "flash.bin").read_bytes()


def firmware(board: Board, size: int = 20_000) -> bytes:
    """An app with noise in it, which does not compress."""
    return app.build(board.chip, random.Random(1).randbytes(size), version="v1.27.0", flash_size=board.flash.size)


def installation(board: Board, path: Path, size: int = 20_000) -> tuple[int, bytes]:
    """A first installation in `path`, bootloader to app, and where it belongs."""
    bootloader = app.build(board.chip, b"bootloader", project="bootloader", flash_size=board.flash.size)
    image = firmware(board, size)
    assert board.partitions is not None
    parts = esp32.Parts(board.chip, board.flash.size, bootloader, board.partitions, image, app.read(image))
    begin = board.hardware.bootloader_offset or 0
    data = esp32.whole_flash(board, parts)[begin : SLOT + len(image)]
    path.write_bytes(data)
    return begin, data


@pytest.mark.parametrize("flasher", ["stub", "no-stub"])
@pytest.mark.parametrize("board", CHIPS)
def test_esptool_installs_and_reads_back_and_the_unit_starts(
    make_device: MakeDevice, tmp_path: Path, board: str, flasher: str
) -> None:
    device = make_device(board=board)
    image, back = tmp_path / "image.bin", tmp_path / "back.bin"
    begin, data = installation(device.board, image)
    options = ["--chip", device.board.chip] if flasher == "stub" else ["--no-stub"]  # without --chip it is detected
    with device.download_mode() as rom:
        said = succeeded(esptool(rom, *options, "write-flash", hex(begin), image))
        assert "Hash of data verified" in said
        assert ("Stub flasher running" in said) == (flasher == "stub")
        # The ROM reads 64 bytes at a time, so it reads only the app.
        start = begin if flasher == "stub" else SLOT
        length = len(data) + begin - start
        succeeded(esptool(rom, *options, "read-flash", hex(start), length, back))
    flash = content(device)
    assert flash[begin : begin + len(data)] == data
    assert back.read_bytes() == flash[start : start + length]
    assert set(flash[begin + len(data) + 0x1000 :]) == {0xFF}
    found = boot(flash, device.board.chip)
    assert found.running is not None
    assert found.running.label == "ota_0"
    assert [write.offset for write in found.writes] == [0xD000]


@pytest.mark.parametrize("options", [["--no-stub"], ["--no-stub", "--no-compress"], ["--no-compress"]])
def test_every_way_of_writing_gives_the_same_bytes(make_device: MakeDevice, tmp_path: Path, options: list[str]) -> None:
    device = make_device(board=C3)
    image = tmp_path / "image.bin"
    image.write_bytes(b"heirloom " * 3000)  # compresses well, and fills no block
    before = [option for option in options if option == "--no-stub"]
    after = [option for option in options if option != "--no-stub"]
    with device.download_mode() as rom:
        said = succeeded(esptool(rom, *before, "write-flash", *after, "0x10000", image))
    assert "Hash of data verified" in said
    assert content(device)[SLOT:].startswith(image.read_bytes())
    assert set(content(device)[SLOT + 0x8000 :]) == {0xFF}


def test_esptool_erases(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device({"main.py": "#" * 20_000}, board=C3)
    offset = device.board.flash.offset
    with device.download_mode() as rom:
        succeeded(esptool(rom, "erase-region", hex(offset), "0x2000"))
        assert set(content(device)[offset : offset + 0x2000]) == {0xFF}
        assert set(content(device)) != {0xFF}
        succeeded(esptool(rom, "erase-flash"))
    assert set(content(device)) == {0xFF}


def test_esptool_sees_chip_address_and_size_of_the_flash(make_device: MakeDevice) -> None:
    device = make_device(board="SIM_ESP32_GENERIC_S3")
    with device.download_mode() as rom:
        said = succeeded(esptool(rom, "--no-stub", "flash-id"))
    assert "Detected flash size: 8MB" in said
    assert ":".join(device.id[start : start + 2] for start in range(0, 12, 2)) in said


def test_what_does_not_fit_or_belong_is_refused_and_changes_nothing(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device(board=C3)
    image, foreign = tmp_path / "image.bin", tmp_path / "foreign.bin"
    image.write_bytes(bytes(0x2000))
    foreign.write_bytes(firmware(boards.load("ESP32_GENERIC_S3")))
    with device.download_mode() as rom:
        for arguments, reason in (
            (["write-flash", "0x3FF000", image], "will not fit"),
            (["write-flash", "0x10001", image], "aligned"),
            (["write-flash", "0x0", foreign], "is not an ESP32-C3 image"),
            (["--chip", "esp32s3", "write-flash", "0x10000", image], "ESP32-C3, not ESP32-S3"),
            (["erase-region", "0x3FF000", "0x2000"], "goes past 4MB"),
        ):
            done = esptool(rom, *arguments)
            assert done.returncode != 0, arguments
            assert reason in done.stdout + done.stderr, done.stdout + done.stderr
    assert set(content(device)) == {0xFF}


@pytest.mark.parametrize("flasher", ["stub", "no-stub"])
def test_power_that_fails_halfway_leaves_a_part_and_the_next_run_repairs(
    make_device: MakeDevice, tmp_path: Path, flasher: str
) -> None:
    device = make_device(board=C3)
    options = ["--no-stub"] if flasher == "no-stub" else []
    image = tmp_path / "image.bin"
    begin, data = installation(device.board, image)
    with device.download_mode(cut_at=310) as rom:  # of 21 erased sectors and some 340 pages
        done = esptool(rom, *options, "write-flash", begin, image)
        assert done.returncode != 0
        assert rom.cut
    flash = content(device)
    assert flash[:SLOT] == data[:SLOT], "what came first is written"
    assert flash[SLOT : SLOT + len(data)] != data[SLOT:].ljust(len(data), b"\xff")
    assert boot(flash, "esp32c3").running is None
    with device.download_mode() as rom:
        succeeded(esptool(rom, *options, "write-flash", begin, image))
    assert boot(content(device), "esp32c3").running is not None


def test_download_mode_is_for_an_esp32_that_is_off(make_device: MakeDevice) -> None:
    with pytest.raises(HeirloomError, match="SIM_RPI_PICO_W is not flashed by esptool"):
        make_device().download_mode()
    device = make_device({}, board=C3)
    device.power_on(hold_repl=True)
    with pytest.raises(HeirloomError, match="switched on"):
        device.download_mode()
    device.power_off()
    with device.download_mode(), pytest.raises(HeirloomError, match="in use"):
        SimDevice(device.directory).power_on()
    device.power_on(hold_repl=True)


# --- the protocol itself ---------------------------------------------------------------------------------------------


@pytest.fixture
def flash(tmp_path: Path) -> NorFlash:
    path = tmp_path / "flash"
    path.write_bytes(b"\xff" * 0x20000)
    return NorFlash(path)


def ask(loader: RomLoader, op: int, body: bytes, checksum: int = 0) -> tuple[int, int, bytes]:
    """Value, error code (0: none) and data of the only answer."""
    answers = list(loader.answer(struct.pack("<BBHI", 0, op, len(body), checksum) + body))
    direction, answered, length, value = struct.unpack_from("<BBHI", answers[0])
    assert (direction, answered, length) == (1, op, len(answers[0]) - 8)
    data = answers[0][8:] if loader.stub else answers[0][8:-2]
    return value, data[-1] if data[-2] else 0, data[:-2]


def block(number: int, data: bytes) -> tuple[bytes, int]:
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    return struct.pack("<IIII", len(data), number, 0, 0) + data, checksum


def begin(loader: RomLoader, op: Op, size: int, offset: int = 0) -> int:
    return ask(loader, op, struct.pack("<IIII", size, -(-size // 1024), 1024, offset))[1]


def test_errors_have_the_codes_of_the_rom(flash: NorFlash) -> None:
    loader = RomLoader("esp32", bytes(6), flash)
    assert ask(loader, 0x77, b"")[1] == 0x05, "no such request"
    assert ask(loader, Op.ERASE_FLASH, b"")[1] == 0x05, "only the stub has that"
    assert ask(loader, Op.GET_SECURITY_INFO, b"")[1] == 0x05, "not on an ESP32"
    assert ask(loader, Op.FLASH_BEGIN, b"12")[1] == 0x05, "too short"
    assert ask(loader, Op.FLASH_DATA, *block(0, b"x"))[1] == 0x06, "nothing has begun"
    assert begin(loader, Op.FLASH_BEGIN, 1024, 0x1234) == 0x06, "not aligned"
    assert begin(loader, Op.FLASH_BEGIN, 0x1000, 0x20000) == 0x06, "outside"
    assert begin(loader, Op.FLASH_BEGIN, 2048) == 0
    body, checksum = block(0, bytes(1024))
    assert ask(loader, Op.FLASH_DATA, body, checksum ^ 1)[1] == 0x07, "checksum"
    assert ask(loader, Op.FLASH_DEFL_DATA, body, checksum)[1] == 0x06, "not deflated"
    assert ask(loader, Op.FLASH_DATA, *block(1, bytes(1024)))[1] == 0x06, "out of order"
    assert ask(loader, Op.FLASH_DATA, body, checksum)[1] == 0
    assert ask(loader, Op.FLASH_DATA, *block(1, bytes(1025)))[1] == 0x06, "more than announced"
    assert begin(loader, Op.FLASH_DEFL_BEGIN, 2048) == 0
    assert ask(loader, Op.FLASH_DEFL_DATA, *block(0, b"no zlib"))[1] == 0x0B
    assert begin(loader, Op.FLASH_DEFL_BEGIN, 1024) == 0
    assert ask(loader, Op.FLASH_DEFL_DATA, *block(0, zlib.compress(bytes(5000))))[1] == 0x06, "a bomb"
    assert ask(loader, Op.SPI_FLASH_MD5, struct.pack("<IIII", 0x1F000, 0x2000, 0, 0))[1] == 0x06
    assert ask(loader, Op.READ_FLASH_SLOW, struct.pack("<II", 0, 65))[1] == 0x06


def test_a_stream_that_breaks_off_leaves_whole_pages_of_what_came(flash: NorFlash) -> None:
    loader = RomLoader("esp32c3", bytes(6), flash)
    data = random.Random(2).randbytes(4096)
    packed = zlib.compress(data)
    assert begin(loader, Op.FLASH_DEFL_BEGIN, 4096, 0x1000) == 0
    assert ask(loader, Op.FLASH_DEFL_DATA, *block(0, packed[:2000]))[1] == 0
    written = flash.read(0x1000, 0x1000).rstrip(b"\xff")
    assert data.startswith(written)
    assert len(written) > 1000
    assert flash.read(0x1000 + len(written) // 256 * 256, 256) in (
        b"\xff" * 256,
        data[len(written) // 256 * 256 :][:256],
    )


def test_programming_without_erasing_only_clears_bits(flash: NorFlash) -> None:
    flash.program(0, b"\xf0\x0f")
    flash.program(0, b"\x3c\x3c")
    assert flash.read(0, 2) == b"\x30\x0c"
    flash.erase(1, 1)
    assert flash.read(0, 2) == b"\xff\xff"


@pytest.mark.parametrize(("chip", "number"), [("esp32c3", 5), ("esp32s3", 9)])
def test_later_chips_say_which_they_are(flash: NorFlash, chip: str, number: int) -> None:
    data = ask(RomLoader(chip, bytes(6), flash), Op.GET_SECURITY_INFO, b"")[2]
    assert len(data) == 20
    assert data[12:16] == struct.pack("<I", number)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["esp32", "esp32c3", "esp32s3"]), st.booleans())
def test_any_frames_are_answered_or_ignored(
    tmp_path_factory: pytest.TempPathFactory, frames: list[bytes], chip: str, stub: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(b"\xff" * 0x4000)
    flash = NorFlash(path)
    loader = RomLoader(chip, bytes(6), flash)
    loader.stub = stub
    for frame in frames:
        for answer in loader.answer(frame):
            assert len(answer) < MAX_REQUEST_BYTES
        op = frame[0] if frame else 0
        body = frame[1:]
        list(loader.answer(struct.pack("<BBHI", 0, op, len(body), 0) + body))
    assert len(flash.read(0, 0x10000)) == 0x4000
    flash.close()


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.integers(1, 50))
def test_frames_survive_the_line_however_it_is_cut(frames: list[bytes], size: int) -> None:
    line = b"".join(map(slip.encode, frames))
    decoder = slip.Decoder(1000)
    found = [frame for start in range(0, len(line), size) for frame in decoder.feed(line[start : start + size])]
    assert found == frames


def test_noise_on_the_line_is_dropped() -> None:
    decoder = slip.Decoder(10)
    assert decoder.feed(b"\xc0\xdb\x00\xc0" + b"\xc0" + bytes(11) + b"\xc0" + slip.encode(b"good")) == [b"good"]
    assert decoder.feed(bytes(1000)) == []
    assert decoder.feed(b"\xc0" + slip.encode(b"again")) == [b"again"]
