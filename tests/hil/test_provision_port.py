"""`device provision --port`: units at ports become devices; simulated boards stand behind the ports."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_device_commands import root_metadata

from heirloom import boards
from heirloom.boards.images import esp32, lfs, uf2
from heirloom.cli.errors import HeirloomError, RigTrouble, UsageError
from heirloom.cli.extras import missing
from heirloom.cli.main import call, run
from heirloom.cli.project import Project
from heirloom.hil import firmware, flasher
from heirloom.hil import provision as provisioned
from heirloom.hil.devices import open_unit
from heirloom.hil.serial import volumes
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.cable import Cable, Faults
from heirloom.hil.sim.device import FLASH

if missing("serial") or missing("flash"):
    pytest.skip("the extras `serial` and `flash` are not installed", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
Publish = Callable[..., bytes]
ESP32S = {"esp32": "SIM_ESP32_GENERIC", "esp32c3": "SIM_ESP32_GENERIC_C3", "esp32s3": "SIM_ESP32_GENERIC_S3"}
STATUS = """
import json
def report():
    with open("/heirloom/device.json") as file:
        said = json.load(file)
    return {key: said[key] for key in ("product", "board", "id")}
"""
# What starts and reports, and no more: the real client takes two seconds over a simulated serial line.
LIGHT_CLIENT = {
    "/boot.py": b"# Heirloom: boot\n",
    "/main.py": b"# Heirloom: main\nprint('heirloom: main')\nwhile True: pass\n",
    "/lib/heirloom_boot.py": b"# Heirloom\n",
    "/lib/heirloom/device/status.py": STATUS.encode(),
    "/lib/heirloom/device/core.mpy": bytes(3000),
}
PROJECT = """
[product]
name = "weather"
urls = ["http://127.0.0.1:8000/", "http://mirror.example/"]
[boards.SIM_RPI_PICO_W]
micropython = "1.29"
""" + "".join(f'[boards.{name}]\nmicropython = "1.27"\n' for name in ESP32S.values())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "project"
    (folder / "repository/metadata").mkdir(parents=True)
    (folder / "heirloom.toml").write_text(PROJECT)
    (folder / "repository/metadata/root.json").write_bytes(root_metadata("weather"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEIRLOOM_FIRMWARE", str(tmp_path / "none"))
    monkeypatch.setattr("heirloom.hil.serial.provisioning._ASK_TIMEOUT_S", 2.0)
    return Project.load()


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioned, "client_files", lambda *_: dict(LIGHT_CLIENT))


def done(answer: object) -> dict[str, object]:
    assert isinstance(answer, dict)
    return answer


def provision(port: object, *more: str, board: str = "SIM_RPI_PICO_W") -> dict[str, object]:
    return done(call(["device", "provision", "porch", "--port", str(port), "--board", board, *more]))


@pytest.fixture
def pico(make_device: MakeDevice) -> SimDevice:
    """A Pico W with MicroPython and nothing else, switched on."""
    device = make_device({})
    device.run_until(">>> ")
    return device


def on_flash(device: SimDevice) -> dict[str, bytes]:
    """The files of a device that is on."""
    return lfs.read(device.board.flash, device.filesystem_image())


def test_files_over_the_repl_make_a_device_that_reports_itself(project: Project, pico: SimDevice) -> None:
    boots = pico.boots
    found = provision(pico.tty)
    assert (found["way"], found["id"], found["kept"]) == ("files", pico.id, False)
    reported = done(found["reported"])
    assert (reported["product"], reported["board"], reported["id"]) == ("weather", "SIM_RPI_PICO_W", pico.id)
    pico.wait_for("heirloom: ", 20)  # the client of main.py speaks: it runs after a hard reset
    assert pico.boots > boots
    folder = project.state_dir / "devices/porch"
    assert (folder / "identity.json").stat().st_mode & 0o777 == 0o600
    assert "secret" not in (folder / "unit.toml").read_text()
    said = json.loads(on_flash(pico)["/heirloom/device.json"])
    assert said["secret"] == json.loads((folder / "identity.json").read_text())["secret"]
    assert not [path for path in on_flash(pico) if path.endswith(".new")]
    unit = open_unit(project, "porch")
    assert (unit.name, unit.id, unit.board.name) == ("porch", pico.id, "SIM_RPI_PICO_W")
    assert done(call(["device", "status", "porch"]))["id"] == pico.id
    assert done(call(["device", "provision", "porch"]))["written"] == 0


@pytest.mark.usefixtures("light")
def test_a_second_run_repairs_and_keeps_identity_releases_and_data(project: Project, pico: SimDevice) -> None:
    provision(pico.tty)
    before = on_flash(pico)["/heirloom/device.json"]
    pico.exec(
        "import os\n"
        "for p, t in (('/data/kept', 'mine'), ('/heirloom/blobs/aa', 'blob'), ('/boot.py', 'damaged('),\n"
        "             ('/lib/heirloom/device/core.mpy', 'damaged'), ('/lib/heirloom/device/stale.mpy', 'old')):\n"
        "    with open(p, 'w') as f: f.write(t)\n"
        "os.remove('/lib/heirloom_boot.py')\n"
        "os.remove('/heirloom/trust/root.json')\n"
    )
    (project.state_dir / "devices/porch/identity.json").unlink()
    found = done(call(["device", "provision", "porch"]))
    assert (found["kept"], found["id"]) == (True, pico.id)
    assert found["written"] == 4
    files = on_flash(pico)
    assert files["/heirloom/device.json"] == before
    assert (files["/data/kept"], files["/heirloom/blobs/aa"]) == (b"mine", b"blob")
    assert "/lib/heirloom/device/stale.mpy" not in files
    assert files["/boot.py"].startswith(b"# Heirloom")
    assert done(found["reported"])["id"] == pico.id


@pytest.mark.usefixtures("light")
def test_a_unit_with_somebody_elses_files_is_asked_about(
    project: Project, make_device: MakeDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device = make_device({"main.py": "print('theirs')", "precious.txt": "x"})
    device.run_until("theirs")
    words = ["device", "provision", "porch", "--port", str(device.tty), "--board", "SIM_RPI_PICO_W"]
    assert run(words) == 2
    assert "Replace what is on device porch?" in capsys.readouterr().err
    assert on_flash(device)["/main.py"] == b"print('theirs')"
    assert run([*words, "--yes"]) == 0
    files = on_flash(device)
    assert files["/main.py"].startswith(b"# Heirloom")
    assert files["/precious.txt"] == b"x"


def test_wrong_boards_and_units_are_refused_unchanged(project: Project, pico: SimDevice) -> None:
    before = on_flash(pico)
    with pytest.raises(HeirloomError, match="says that it is a SIM_RPI_PICO_W with RP2040, not a SIM_ESP32_GENERIC"):
        provision(pico.tty, board="SIM_ESP32_GENERIC")
    with pytest.raises(UsageError, match="which board"):
        call(["device", "provision", "porch", "--port", str(pico.tty)])
    assert on_flash(pico) == before
    assert not (project.state_dir / "devices/porch").exists()


@pytest.mark.usefixtures("light")
def test_a_name_belongs_to_one_unit(project: Project, pico: SimDevice, make_device: MakeDevice) -> None:
    provision(pico.tty)
    other = make_device({})
    other.run_until(">>> ")
    with pytest.raises(HeirloomError, match=f"is known with the id {pico.id}; the one at the port has {other.id}"):
        provision(other.tty)
    call(["device", "new", "kitchen", "--board", "SIM_RPI_PICO_W"])
    with pytest.raises(HeirloomError, match="device kitchen exists already, and is simulated"):
        call(["device", "provision", "kitchen", "--port", str(other.tty), "--board", "SIM_RPI_PICO_W"])


@pytest.mark.usefixtures("light")
def test_a_cable_pulled_out_halfway_is_told_and_the_next_run_goes_on(
    project: Project, pico: SimDevice, tmp_path: Path
) -> None:
    with (
        Cable(pico.tty, tmp_path / "cable", Faults(unplug_after=700)) as cable,
        pytest.raises(RigTrouble, match="broke off, and the port is gone"),
    ):
        provision(cable.port)
    half = set(on_flash(pico))
    assert "/boot.py" not in half, "what starts the client comes last"
    assert provision(pico.tty, "--yes")["way"] == "files"
    assert on_flash(pico)["/boot.py"].startswith(b"# Heirloom")


@pytest.mark.usefixtures("light")
def test_the_wifi_password_comes_from_the_environment_or_a_descriptor_only(
    project: Project, pico: SimDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="nobody to ask for the password of the network Home") as caught:
        provision(pico.tty, "--wifi", "Home")
    assert "--wifi-password-fd" in caught.value.advice
    assert "HEIRLOOM_WIFI_PASSWORD" in caught.value.advice
    monkeypatch.setenv("HEIRLOOM_WIFI_PASSWORD", "correct horse")
    provision(pico.tty, "--wifi", "Home")
    network = {"networks": [{"ssid": "Home", "password": "correct horse"}]}
    assert json.loads(on_flash(pico)["/heirloom/network.json"]) == network
    monkeypatch.delenv("HEIRLOOM_WIFI_PASSWORD")
    provision(pico.tty)
    assert json.loads(on_flash(pico)["/heirloom/network.json"]) == network, "a repair keeps it"
    reader, writer = os.pipe()
    os.write(writer, b"second\n")
    os.close(writer)
    provision(pico.tty, "--wifi", "Other", "--wifi-password-fd", str(reader))
    assert json.loads(on_flash(pico)["/heirloom/network.json"])["networks"][0]["password"] == "second"
    captured = capsys.readouterr()
    assert "correct horse" not in captured.out + captured.err


# The others with HEIRLOOM_CHIPS=all; tests/hil/test_esp32_rom.py flashes all of them anyway.
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("chip", list(ESP32S) if os.environ.get("HEIRLOOM_CHIPS") == "all" else ["esp32c3"])
def test_esptool_writes_the_whole_flash_of_an_esp32_which_then_boots(
    project: Project, make_device: MakeDevice, published_image: Publish, tmp_path: Path, chip: str
) -> None:
    device = make_device(board=ESP32S[chip])
    size = device.board.flash.size
    (tmp_path / "image.bin").write_bytes(published_image(chip, b"firmware" * 1000, flash_size=size))
    with device.download_mode() as rom:
        found = provision(rom.url, "--firmware", str(tmp_path / "image.bin"), board=ESP32S[chip])
        place = device.board.flash.offset
        read_back = flasher.read(rom.url, chip, place, 8192, lambda _: None)
    assert (found["way"], found["id"], found["micropython"], found["reported"]) == (
        "esptool",
        device.id,
        "v1.27.0",
        None,
    )
    flash = (device.directory / FLASH).read_bytes()
    assert flash[place : place + 8192] == read_back
    assert esp32.split(flash).table == device.board.partitions
    device.run_until("heirloom: ", 30)  # through its bootloader into the client's main.py
    assert device.exec("from esp32 import Partition\nprint(Partition(Partition.RUNNING).info()[4])") == "ota_0\n"
    # Now somebody answers at its serial port, and it is the same unit.
    again = provision(device.tty, board=ESP32S[chip])
    assert (again["way"], again["kept"], again["written"], again["id"]) == ("files", True, 0, device.id)
    assert done(again["reported"])["board"] == ESP32S[chip]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("light")
def test_an_esp32_that_lost_its_bootloader_keeps_its_identity_and_data(
    project: Project,
    make_device: MakeDevice,
    published_image: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = make_device(board="SIM_ESP32_GENERIC_C3")
    (tmp_path / "image.bin").write_bytes(published_image("esp32c3", b"firmware" * 1000))
    image = ("--firmware", str(tmp_path / "image.bin"))

    def read(_port: str, _chip: str, offset: int, length: int, _done: object) -> bytes:
        """esptool takes half a minute for it over a socket."""
        return (device.directory / FLASH).read_bytes()[offset : offset + length]

    monkeypatch.setattr(flasher, "read", read)
    monkeypatch.setattr("heirloom.hil.serial.provisioning._ASK_TIMEOUT_S", 0.3)
    with device.download_mode() as rom:
        provision(rom.url, *image, board="SIM_ESP32_GENERIC_C3")
    secret = json.loads((project.state_dir / "devices/porch/identity.json").read_text())["secret"]
    device.power_on(hold_repl=True)
    device.exec("with open('/data/kept', 'w') as f: f.write('mine')")
    device.power_off()
    with device.download_mode() as rom:
        flasher.write(rom.url, "esp32c3", [flasher.Region(0, bytes(4096))], lambda _: None)
        (project.state_dir / "devices/porch/identity.json").unlink()
        found = provision(rom.url, *image, board="SIM_ESP32_GENERIC_C3")
    assert (found["kept"], found["way"]) == (True, "esptool")
    files = on_flash(device)
    assert files["/data/kept"] == b"mine"
    assert json.loads(files["/heirloom/device.json"])["secret"] == secret


@pytest.mark.timeout(300)
def test_what_esptool_cannot_flash_is_refused_first(
    project: Project,
    make_device: MakeDevice,
    published_image: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("heirloom.hil.serial.provisioning._ASK_TIMEOUT_S", 0.3)
    device = make_device(board="SIM_ESP32_GENERIC_C3")
    (tmp_path / "s3.bin").write_bytes(published_image("esp32s3", b"x", flash_size=8 << 20))
    (tmp_path / "c3.bin").write_bytes(published_image("esp32c3", b"x"))
    with device.download_mode() as rom:
        with pytest.raises(HeirloomError, match=r"ESP32S3|no partition table"):
            provision(rom.url, "--firmware", str(tmp_path / "s3.bin"), board="SIM_ESP32_GENERIC_C3")
        with pytest.raises(RigTrouble, match="no REPL at") as caught:
            provision(rom.url, board="SIM_ESP32_GENERIC_C3")
        assert "--firmware" in caught.value.advice
    other = make_device(board="SIM_ESP32_GENERIC_S3")
    with other.download_mode() as rom, pytest.raises(RigTrouble, match="ESP32-S3, not ESP32-C3"):
        provision(rom.url, "--firmware", str(tmp_path / "c3.bin"), board="SIM_ESP32_GENERIC_C3")
    assert set((device.directory / FLASH).read_bytes()) == {0xFF}


def test_firmware_is_found_by_its_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIRLOOM_FIRMWARE", str(tmp_path))
    for name in ("RPI_PICO_W-20250211-v1.24.0.uf2", "RPI_PICO_W-20250911-v1.26.1.uf2", "RPI_PICO-20251209-v1.27.0.uf2"):
        (tmp_path / name).touch()
    pico_w = boards.load("RPI_PICO_W")
    assert firmware.find(pico_w, "1.24") == tmp_path / "RPI_PICO_W-20250211-v1.24.0.uf2"
    assert firmware.find(pico_w, None) == tmp_path / "RPI_PICO_W-20250911-v1.26.1.uf2"
    assert firmware.find(pico_w, "1.27") is None


class Drive:
    """A drive of an RP2040's loader: what is copied there is flashed into a simulated board, which then starts."""

    def __init__(self, folder: Path, device: SimDevice) -> None:
        folder.mkdir()
        (folder / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n")
        self.folder, self.device = folder, device

    def copy(self, data: bytes, volume: Path, written: Callable[[int], None]) -> None:
        assert volume == self.folder
        image = uf2.read(data, "rp2040")
        layout = self.device.board.flash
        flash = image.data[layout.offset - image.address :]
        if flash:
            self.device.write_filesystem(flash.ljust(layout.filesystem_size, b"\xff"))
        written(len(data))
        self.device.run_until(">>> |heirloom: ")


@pytest.fixture
def drive(tmp_path: Path, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> Drive:
    made = Drive(tmp_path / "RPI-RP2", make_device())
    monkeypatch.setattr(volumes, "copy", made.copy)
    return made


def pico_firmware(tmp_path: Path) -> Path:
    boot2 = bytes(252)
    data = boot2 + uf2.boot2_crc(boot2).to_bytes(4, "little") + b"MicroPython v1.29.0 on" + bytes(5000)
    (tmp_path / "pico.uf2").write_bytes(uf2.build("rp2040", data))
    return tmp_path / "pico.uf2"


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("erase", [False, True])
def test_a_blank_rp2040_gets_a_uf2_file_and_its_files(
    project: Project, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erase: bool
) -> None:
    from heirloom.hil.serial import ports
    from heirloom.hil.serial.ports import Port

    monkeypatch.setattr(ports, "choose", lambda *_: Port(str(drive.device.tty)))
    more = ["--erase", "--yes"] if erase else []
    words = ["device", "provision", "porch", "--volume", str(drive.folder), "--board", "SIM_RPI_PICO_W"]
    found = done(call([*words, "--firmware", str(pico_firmware(tmp_path)), *more]))
    assert (found["way"], found["id"]) == ("uf2", drive.device.id)
    assert done(found["reported"])["id"] == drive.device.id
    if erase:
        assert found["written"] == 1, "the file system came with the firmware; only who it is was written"


@pytest.mark.usefixtures("light")
def test_the_firmware_of_an_rp2040_is_replaced_and_its_files_stay(
    project: Project, drive: Drive, tmp_path: Path
) -> None:
    drive.device.run_until(">>> ")
    provision(drive.device.tty)
    before = on_flash(drive.device)
    drive.device.power_off()
    words = ["device", "flash", "porch", "--volume", str(drive.folder), "--yes", "--image"]
    (tmp_path / "x.uf2").write_bytes(b"x" * 512)
    with pytest.raises(HeirloomError, match="no UF2 block"):
        call([*words, str(tmp_path / "x.uf2")])
    found = done(call([*words, str(pico_firmware(tmp_path))]))
    assert found == {"device": "porch", "board": "SIM_RPI_PICO_W", "version": "1.29.0"}
    assert on_flash(drive.device) == before


def test_drives_of_other_chips_and_other_folders_are_refused(
    project: Project, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["device", "provision", "porch", "--board", "SIM_RPI_PICO_W", "--firmware", str(pico_firmware(tmp_path))]
    with pytest.raises(HeirloomError, match=r"is no drive of a UF2 loader"):
        call([*words, "--volume", str(tmp_path)])
    (drive.folder / "INFO_UF2.TXT").write_text("Board-ID: RP2350\n")
    with pytest.raises(HeirloomError, match="belongs to a RP2350, and a SIM_RPI_PICO_W is a RPI-RP2"):
        call([*words, "--volume", str(drive.folder)])
    assert drive.device.power.value == "off"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 {drive.folder} vfat rw 0 0\n/dev/sdb1 / ext4 rw 0 0\n")
    monkeypatch.setattr(volumes, "_MOUNTS", mounts)
    assert volumes.mounted() == [drive.folder]


def test_a_uf2_file_is_copied_whole_and_a_drive_that_goes_early_is_told(tmp_path: Path) -> None:
    seen: list[int] = []
    data = bytes(range(256)) * 1000
    volumes.copy(data, tmp_path, seen.append)
    assert (tmp_path / "firmware.uf2").read_bytes() == data
    assert sum(seen) == len(data)
    with pytest.raises(RigTrouble, match="cannot write"):
        volumes.copy(data, tmp_path / "gone", seen.append)
