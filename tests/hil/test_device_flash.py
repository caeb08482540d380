"""device flash, backup and restore: what they leave, and what they refuse without a change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.boards.images import app, esp32, lfs
from heirloom.cli import main, tar
from heirloom.cli.errors import HeirloomError, RigTrouble, UsageError
from heirloom.cli.extras import missing
from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.hil import flasher
from heirloom.hil.devices import open_device
from heirloom.hil.flasher import Region
from heirloom.hil.sim import SimDevice

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

Publish = Callable[..., bytes]
PROJECT = """
[product]
name = "weather"
[boards.SIM_ESP32_GENERIC_C3]
micropython = "1.27"
[boards.SIM_RPI_PICO_W]
micropython = "1.27"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "heirloom.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    call(["device", "new", "kitchen", "--board", "SIM_ESP32_GENERIC_C3"])
    return Project.load()


def flash_of(project: Project, name: str = "kitchen") -> bytes:
    return (project.state_dir / "devices" / name / "flash.bin").read_bytes()


def test_firmware_is_laid_out_and_written_and_files_stay(
    project: Project, published_image: Publish, tmp_path: Path
) -> None:
    with open_device(project, "kitchen") as device:
        device.write_filesystem(lfs.build(device.board.flash, {"/main.py": b"print('still here')\n"}))
        board = device.board
    (tmp_path / "image.bin").write_bytes(published_image("esp32c3", b"firmware" * 1000))
    done = call(["device", "flash", "kitchen", "--image", "image.bin", "--yes"])
    assert isinstance(done, dict)
    assert (done["version"], done["starts"]) == ("v1.27.0", "ota_0")
    found = esp32.split(flash_of(project))
    assert found.table == board.partitions
    assert found.app_image.sha256 == done["sha256"]
    with open_device(project, "kitchen") as device:
        device.run_until("still here")


@pytest.mark.parametrize(
    ("chip", "content", "message"),
    [
        ("esp32s3", b"", "is for ESP32S3, and the board has ESP32C3|no partition table"),
        ("esp32c3", bytes(1_769_472 - 352), "of a slot of SIM_ESP32_GENERIC_C3 free"),
    ],
)
def test_a_wrong_image_changes_nothing(
    project: Project, published_image: Publish, tmp_path: Path, chip: str, content: bytes, message: str
) -> None:
    (tmp_path / "image.bin").write_bytes(published_image(chip, content))
    with pytest.raises(HeirloomError, match=message):
        call(["device", "flash", "kitchen", "--image", "image.bin"])
    assert set(flash_of(project)) == {0xFF}


def test_an_app_alone_and_another_kind_of_board_are_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(app.build("esp32c3"))
    with pytest.raises(HeirloomError, match="no image of a whole ESP32") as caught:
        call(["device", "flash", "kitchen", "--image", "image.bin"])
    assert "not the .app-bin" in caught.value.advice
    call(["device", "new", "pico", "--board", "SIM_RPI_PICO_W"])
    with pytest.raises(HeirloomError, match="which is not flashed by esptool"):
        call(["device", "flash", "pico", "--image", "image.bin"])


def test_nothing_is_overwritten_unasked(project: Project, published_image: Publish, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(published_image("esp32c3"))
    with open_device(project, "kitchen") as device:
        device.write_filesystem(bytes(device.board.flash.filesystem_size))
    with pytest.raises(UsageError, match="Replace the firmware of device kitchen"):
        call(["device", "flash", "kitchen", "--image", "image.bin"])


def test_a_failing_esptool_is_trouble_of_the_rig_in_its_own_words(tmp_path: Path) -> None:
    seen: list[int] = []
    with SimDevice.create(tmp_path / "device", "SIM_ESP32_GENERIC_C3") as device:
        regions = [Region(0x1000, bytes(5000)), Region(0x8000, b"\x55" * 3000)]
        with device.download_mode() as rom:
            flasher.write(rom.url, "esp32c3", regions, seen.append)
            with pytest.raises(RigTrouble, match=r"esptool failed: .*ESP32-C3, not ESP32-S3"):
                flasher.write(rom.url, "esp32s3", regions, seen.append)
        flash = (device.directory / "flash.bin").read_bytes()
    assert flash[0x1000 : 0x1000 + 5000] == bytes(5000)
    assert flash[0x8000 : 0x8000 + 3000] == b"\x55" * 3000
    assert seen == sorted(seen)
    assert seen[-1] == 8000


def test_a_backup_brings_everything_back(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_device(project, "kitchen") as device:
        device.write_filesystem(lfs.build(device.board.flash, {"/main.py": b"print('first')\n"}))
        (device.directory / "identity.json").write_text('{"id": "a", "secret": "b"}')
    before = flash_of(project)
    assert main.run(["device", "backup", "kitchen", "--to", "kitchen.backup"]) == 0
    assert "device's secret" in capsys.readouterr().err
    assert (tmp_path / "kitchen.backup").stat().st_mode & 0o777 == 0o600
    with open_device(project, "kitchen") as device:
        device.run_until("first")
        device.exec("open('main.py', 'w').write('print(2)')")
        (device.directory / "identity.json").unlink()
    assert flash_of(project) != before
    call(["device", "restore", "kitchen", "--from", "kitchen.backup", "--yes"])
    assert flash_of(project) == before
    with open_device(project, "kitchen") as device:
        assert (device.directory / "identity.json").read_text() == '{"id": "a", "secret": "b"}'


def test_a_backup_of_another_device_or_a_damaged_one_is_refused(project: Project, tmp_path: Path) -> None:
    call(["device", "new", "garden", "--board", "SIM_ESP32_GENERIC_C3"])
    call(["device", "backup", "garden", "--to", "garden.backup"])
    before = flash_of(project)

    def refused(data: bytes) -> str:
        (tmp_path / "x.backup").write_bytes(data)
        with pytest.raises(HeirloomError) as caught:
            call(["device", "restore", "kitchen", "--from", "x.backup", "--yes"])
        assert flash_of(project) == before
        return caught.value.message

    whole = (tmp_path / "garden.backup").read_bytes()
    files = dict(tar.unpack(whole, "the backup"))
    own = (project.state_dir / "devices/kitchen/device.toml").read_bytes()
    assert "is of a SIM_ESP32_GENERIC_C3, id" in refused(whole)
    assert "is damaged" in refused(whole[:5000])
    assert "no backup of a device" in refused(tar.pack([("flash.bin", b"")]))
    assert "no backup of a device" in refused(tar.pack([*files.items(), ("more", b"")]))
    assert "settings in the backup are damaged" in refused(tar.pack([("flash.bin", b""), ("device.toml", b"\xff")]))
    assert "has 0 bytes, that of the device" in refused(tar.pack([("flash.bin", b""), ("device.toml", own)]))


def test_a_device_that_is_on_is_neither_copied_nor_replaced(project: Project) -> None:
    call(["device", "backup", "kitchen", "--to", "kitchen.backup"])
    with open_device(project, "kitchen") as device:
        device.power_on(hold_repl=True)
        for words in (["backup", "kitchen", "--to", "other"], ["restore", "kitchen", "--from", "kitchen.backup"]):
            with pytest.raises(HeirloomError, match="in use by process"):
                call(["device", *words, "--yes"])
