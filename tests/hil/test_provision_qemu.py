"""A real ESP32-C3 image in QEMU becomes a device over its serial port. It takes minutes: HEIRLOOM_PROVISION=qemu."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_device_commands import root_metadata

from heirloom import boards
from heirloom.boards.images import esp32
from heirloom.cli.extras import missing
from heirloom.cli.main import call

if os.environ.get("HEIRLOOM_PROVISION") != "qemu":
    pytest.skip("provisioning in QEMU takes minutes: HEIRLOOM_PROVISION=qemu", allow_module_level=True)
if missing("serial") or missing("flash"):
    pytest.skip("the extras `serial` and `flash` are not installed", allow_module_level=True)

BOARD = "ESP32_GENERIC_C3"
PROJECT = f"""
[product]
name = "weather"
urls = ["http://127.0.0.1:8000/", "http://mirror.example/"]
[boards.{BOARD}]
micropython = "1.27"
"""


@pytest.fixture
def port(qemu_riscv32: Path, firmware: Path, tmp_path: Path) -> Iterator[str]:
    """Where the emulated chip's serial port is."""
    images = sorted(firmware.glob(f"{BOARD}-*-v1.2[4-9]*.bin"))
    if not images:
        pytest.skip(f"no image of {BOARD}, 1.24 or newer")
    board = boards.load(BOARD)
    flash = tmp_path / "flash.bin"
    flash.write_bytes(esp32.whole_flash(board, esp32.split(images[-1].read_bytes(), board.chip)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    # With -icount a busy machine cannot starve the chip until its watchdog bites.
    command = [str(qemu_riscv32), "-M", "esp32c3", "-nographic", "-monitor", "none", "-icount", "shift=2,sleep=off"]
    command += ["-drive", f"file={flash},if=mtd,format=raw", "-serial", f"tcp:127.0.0.1:{number},server,nowait"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        time.sleep(3)
        yield f"socket://127.0.0.1:{number}"
        running.kill()


@pytest.mark.timeout(900)
def test_a_real_image_becomes_a_device_that_reports_itself(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository/metadata").mkdir(parents=True)
    (tmp_path / "heirloom.toml").write_text(PROJECT)
    (tmp_path / "repository/metadata/root.json").write_bytes(root_metadata("weather"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEIRLOOM_WIFI_PASSWORD", "secret")
    found = call(["device", "provision", "porch", "--port", port, "--wifi", "Home"])
    assert isinstance(found, dict)
    assert (found["way"], found["kept"], found["board"]) == ("files", False, BOARD)
    reported = found["reported"]
    assert (reported["product"], reported["board"], reported["id"]) == ("weather", BOARD, found["id"])
    assert reported["firmware"]["partition"] == "ota_0"
