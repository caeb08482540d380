"""The example application is an ordinary MicroPython program: it compiles for every board and runs as it stands."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WEATHER = Path(__file__).parents[2] / "examples" / "weather"
ARCHITECTURES = ["armv6m", "xtensawin", "rv32imc", "x64"]
VERSIONS = ["1.0.0", "1.1.0", "1.2.0"]

Run = Callable[[str], subprocess.Popen[str]]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["micropython", "main.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Reads the output up to the line with `word`, or to its end."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line.rstrip())
        if word in line:
            break
    return seen


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a version in a copy of its folder; stops it afterwards."""
    started: list[subprocess.Popen[str]] = []

    def starter(version: str) -> subprocess.Popen[str]:
        folder = tmp_path / version
        if not folder.exists():
            shutil.copytree(WEATHER / version, folder)
        started.append(start(folder))
        return started[-1]

    yield starter
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_module_compiles(version: str, architecture: str, tmp_path: Path) -> None:
    modules = sorted((WEATHER / version).rglob("*.py"))
    assert len(modules) >= 6
    for module in modules:
        output = tmp_path / f"{module.stem}.mpy"
        subprocess.run(["mpy-cross", f"-march={architecture}", "-o", output, module], check=True)
        assert output.read_bytes()[:2] == b"M\x06"


@pytest.mark.parametrize(("version", "sign"), [("1.0.0", " C  "), ("1.1.0", " steady ")])
@pytest.mark.timeout(20)
def test_runs_on_stock_micropython(version: str, sign: str, run: Run) -> None:
    seen = lines_until(run(version), " hPa")
    assert f"weather {version} starting, boot 1" in seen[0]
    assert "simulating" in seen[1]
    assert sign in seen[-1]


@pytest.mark.timeout(20)
def test_counts_its_starts_in_its_settings(run: Run, tmp_path: Path) -> None:
    for boot in (1, 2):
        seen = lines_until(run("1.0.0"), " hPa")
        assert f"starting, boot {boot}" in seen[0]
    assert json.loads((tmp_path / "1.0.0/settings.json").read_text())["boots"] == 2


@pytest.mark.timeout(20)
def test_release_1_2_0_crashes_at_its_start(run: Run) -> None:
    process = run("1.2.0")
    seen = lines_until(process, "KeyError")
    assert seen[-1] == "KeyError: storm_drop_hpa"
    assert process.wait(timeout=5) == 1


def test_simulated_sensor_gives_the_values_of_the_data_sheet(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.append('lib')\n"
        "from sensor import SimulatedBus\n"
        "from bme280 import BME280\n"
        "bus = SimulatedBus()\n"
        "bus._convert = lambda: None\n"
        "bus._put20(0xF7, 415148); bus._put20(0xFA, 519888)\n"
        "print('%.2f %.2f' % BME280(bus).read()[:2])\n"
    )
    done = subprocess.run(
        ["micropython", "-c", program], cwd=WEATHER / "1.0.0", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "25.08 1006.53"  # the worked example of the compensation formulas
