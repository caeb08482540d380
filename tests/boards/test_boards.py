"""Board definitions: what is known, what may be extended, and how a wrong file is refused."""

from pathlib import Path

import pytest

from heirloom import boards
from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call


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
    assert "SIM_RPI_PICO_W" in [board["name"] for board in listed["boards"]]
    shown = call(["board", "show", "RPI_PICO_W"])
    assert isinstance(shown, dict)
    assert shown["filesystem"]["block_count"] == 212
    checked = call(["board", "check", str(own(tmp_path, 'extends = "RPI_PICO"\n'))])
    assert isinstance(checked, dict)
    assert checked["name"] == "OWN"
    with pytest.raises(HeirloomError, match="chip is 'z80'"):
        call(["board", "check", str(own(tmp_path, 'extends = "RPI_PICO"\nchip = "z80"'))])
