"""Units at ports as the commands see them; here a simulated board's pseudo-terminal is the port."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from heirloom import boards
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError, RigTrouble, UsageError
from heirloom.cli.extras import missing
from heirloom.cli.main import call, run
from heirloom.cli.project import Project
from heirloom.hil.serial import ports, record
from heirloom.hil.serial.ports import Port
from heirloom.hil.serial.record import Record
from heirloom.hil.sim import SimDevice

if missing("serial"):
    pytest.skip("the extra `serial` is not installed: pip install 'heirloom-ota[serial]'", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
STATUS = """
def report():
    return {"version": "1.0.0", "main": "ran" in globals()}
"""
MAIN = "import os\nprint('main runs')\nwhile True: pass\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "heirloom.toml").write_text('[product]\nname = "weather"\n')
    monkeypatch.chdir(tmp_path)
    return Project.load()


@pytest.fixture
def board(project: Project, make_device: MakeDevice) -> SimDevice:
    """A board at a port, which the project knows as "porch"."""
    device = make_device()
    files = {
        "/lib/heirloom/device/status.py": STATUS.encode(),
        "/main.py": MAIN.encode(),
        "/heirloom/log": b"kept line\n",
    }
    device.write_filesystem(lfs.build(device.board.flash, files))
    device.run_until("main runs")
    known(project, device)
    return device


def known(project: Project, device: SimDevice, **more: object) -> None:
    folder = project.state_dir / "devices/porch"
    folder.mkdir(parents=True, exist_ok=True)
    seen = Record("porch", device.board.name, device.id, Port(str(device.tty)))
    replace(seen, **more).write(folder)  # type: ignore[arg-type]


def test_status_and_log_of_a_unit_at_a_port_and_its_release_runs_again(board: SimDevice) -> None:
    assert call(["device", "status", "porch"]) == {"version": "1.0.0", "main": False}
    board.wait_for("main runs", 10)
    assert call(["device", "log", "porch"]) == {"device": "kept line\n", "console": ""}
    board.wait_for("main runs", 10)


def test_its_console_is_listened_to_without_a_word(board: SimDevice, capsys: pytest.CaptureFixture[str]) -> None:
    boots = board.boots
    board.send(b"")
    assert run(["device", "console", "porch", "--for", "0.3"]) == 0
    assert board.boots == boots
    assert f"serial port: {board.tty}" in capsys.readouterr().err


def test_another_unit_at_the_port_is_refused(board: SimDevice, project: Project) -> None:
    known(project, board, id="00" * 8)
    with pytest.raises(RigTrouble, match=f"has the id {board.id}; porch has 0000") as caught:
        call(["device", "status", "porch"])
    assert "plug in the right one" in caught.value.advice


def test_what_is_only_for_simulated_devices_says_so(board: SimDevice, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["device", "boot", "porch"]) == 1
    assert "device porch is a unit at a port" in capsys.readouterr().err
    assert run(["device", "status", "nobody"]) == 1
    assert "there are porch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not TOML"),
        ('name = "x"\nboard = "RPI_PICO"\nid = "00"', r"\[port\] is missing"),
        ('name = "x"\nboard = "RPI_PICO"\nid = "00"\n[port]\ndevise = "a"', "did you mean 'device'"),
        ('name = "x"\nboard = "RPI_PICO"\nid = "00"\n[port]\ndevice = "a"\nvendor = "b"', "must be a whole number"),
    ],
)
def test_a_wrong_unit_toml_names_the_key(project: Project, text: str, message: str) -> None:
    folder = project.state_dir / "devices/porch"
    folder.mkdir(parents=True)
    (folder / "unit.toml").write_text(text)
    with pytest.raises(HeirloomError, match=message) as caught:
        call(["device", "status", "porch"])
    assert "unit.toml" in caught.value.message


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    seen = Record("porch", "RPI_PICO_W", "e6", Port("/dev/ttyACM0", "E66", "1-2", 0x2E8A, 5), tmp_path / "x.toml")
    seen.write(tmp_path)
    assert record.read(tmp_path) == seen


PICO = SimpleNamespace(
    device="/dev/ttyACM0", serial_number="E661", location="1-1", vid=0x2E8A, pid=5, description="Board in FS mode"
)
OTHER_PICO = SimpleNamespace(
    device="/dev/ttyACM1", serial_number="E662", location="1-2", vid=0x2E8A, pid=5, description=""
)
BRIDGE = SimpleNamespace(
    device="/dev/ttyUSB0", serial_number=None, location="1-3", vid=0x1A86, pid=0x7523, description="USB Serial"
)
MODEM = SimpleNamespace(device="/dev/ttyS0", serial_number=None, location=None, vid=None, pid=None, description="n/a")


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def plug(*there: object) -> None:
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: list(there))

    plug(MODEM)
    return plug


def test_auto_takes_the_only_port_that_fits_the_board(plugged_in: Callable[..., None]) -> None:
    plugged_in(MODEM, PICO, BRIDGE)
    assert ports.choose("auto", boards.load("RPI_PICO_W")).serial_number == "E661"
    assert ports.choose("auto", boards.load("ESP32_GENERIC")).device == "/dev/ttyUSB0"
    assert ports.choose("E661").device == "/dev/ttyACM0"
    assert ports.choose("/dev/ttyACM0").serial_number == "E661"
    assert ports.choose("socket://127.0.0.1:9") == Port("socket://127.0.0.1:9")


def test_auto_names_what_is_there_when_it_cannot_choose(plugged_in: Callable[..., None]) -> None:
    pico = boards.load("RPI_PICO_W")
    with pytest.raises(RigTrouble, match="no device is plugged in"):
        ports.choose("auto", pico)
    plugged_in(BRIDGE)
    with pytest.raises(RigTrouble, match=r"no port looks like a RPI_PICO_W: /dev/ttyUSB0, USB 1a86:7523, hub port 1-3"):
        ports.choose("auto", pico)
    plugged_in(PICO, OTHER_PICO)
    with pytest.raises(RigTrouble, match=r"which port\? .*ttyACM0, .*serial number E661; .*E662") as caught:
        ports.choose("auto", pico)
    assert "--port" in caught.value.advice
    known_one = ports.choose("E661")
    assert ports.choose("auto", pico, [known_one]).serial_number == "E662"
    plugged_in(PICO)
    with pytest.raises(RigTrouble, match="belong to devices of this project"):
        ports.choose("auto", pico, [known_one])
    with pytest.raises(RigTrouble, match="no port and no USB device with the serial number E999"):
        ports.choose("E999")


def test_a_unit_is_found_again_wherever_it_is_plugged_in(plugged_in: Callable[..., None]) -> None:
    plugged_in(PICO, BRIDGE)
    pico, bridge = ports.choose("E661"), ports.choose("/dev/ttyUSB0")
    moved = SimpleNamespace(**{**vars(PICO), "device": "/dev/ttyACM7", "location": "2-1"})
    plugged_in(BRIDGE, moved)
    assert ports.find(pico) == "/dev/ttyACM7"
    assert ports.find(bridge) == "/dev/ttyUSB0"
    plugged_in(OTHER_PICO)
    with pytest.raises(RigTrouble, match="no USB device with serial number E661 is plugged in"):
        ports.find(pico)
    with pytest.raises(RigTrouble, match="no USB device with hub port 1-3"):
        ports.find(bridge)


def on_flash(device: SimDevice) -> dict[str, bytes]:
    return lfs.read(device.board.flash, device.filesystem_image())


def test_a_backup_of_the_files_brings_them_back(board: SimDevice, project: Project) -> None:
    from heirloom.cli import tar

    identity = project.state_dir / "devices/porch/identity.json"
    identity.write_text('{"id": "a", "secret": "b"}')
    before = on_flash(board)
    made = call(["device", "backup", "porch", "--to", "porch.backup"])
    assert isinstance(made, dict)
    assert (project.root / "porch.backup").stat().st_mode & 0o777 == 0o600
    board.wait_for("main runs", 10)
    board.exec(
        "import os\nos.remove('/heirloom/log')\nopen('/main.py', 'w').write('print(2)')\nopen('/new', 'w').close()"
    )
    identity.unlink()
    with pytest.raises(UsageError, match="Replace everything on device porch"):
        call(["device", "restore", "porch", "--from", "porch.backup"])
    call(["device", "restore", "porch", "--from", "porch.backup", "--yes"])
    assert on_flash(board) == before
    assert identity.read_text() == '{"id": "a", "secret": "b"}'
    board.wait_for("main runs", 10)

    def refused(data: bytes) -> str:
        (project.root / "x.backup").write_bytes(data)
        with pytest.raises(HeirloomError) as caught:
            call(["device", "restore", "porch", "--from", "x.backup", "--yes"])
        return caught.value.message

    whole = (project.root / "porch.backup").read_bytes()
    files = dict(tar.unpack(whole, "it"))
    other = files["unit.toml"].replace(board.id.encode(), b"0" * 16)
    assert "is damaged" in refused(whole[:2000])
    assert "no backup of a unit at a port" in refused(tar.pack([("files/main.py", b"")]))
    assert "no backup of a unit at a port" in refused(tar.pack([*files.items(), ("more", b"")]))
    assert "is of a SIM_RPI_PICO_W, id 0000000000000000" in refused(tar.pack([("unit.toml", other)]))
    assert on_flash(board) == before


@pytest.mark.timeout(300)
def test_the_whole_flash_of_an_esp32_is_read_and_written_by_esptool(
    project: Project, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing("flash"):
        pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'")
    from heirloom.hil import flasher
    from heirloom.hil.sim.device import FLASH

    device = make_device({"main.py": "print('kept')"}, board="SIM_ESP32_GENERIC_C3")
    path = device.directory / FLASH
    asked: list[tuple[int, int]] = []

    def read(_port: str, _chip: str, offset: int, length: int, _done: object) -> bytes:
        """esptool takes minutes for it over a socket."""
        asked.append((offset, length))
        return path.read_bytes()[offset : offset + length]

    monkeypatch.setattr(flasher, "read", read)
    before = path.read_bytes()
    with device.download_mode() as rom:
        known(project, device, port=Port(rom.url))
        call(["device", "backup", "porch", "--to", "porch.backup"])
        flasher.write(rom.url, "esp32c3", [flasher.Region(0x370000, bytes(8192))], lambda _: None)
        assert path.read_bytes() != before
        call(["device", "restore", "porch", "--from", "porch.backup", "--yes"])
        assert path.read_bytes() == before
        known(project, device, port=Port(rom.url), id="00" * 6)
        with pytest.raises(HeirloomError, match=f"has the id {device.id}; porch has 0000"):
            call(["device", "backup", "porch", "--to", "other.backup"])
    assert asked == [(0, 4 << 20)]
