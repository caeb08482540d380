"""Simulated devices for the tests."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from heirloom.boards.images import lfs
from heirloom.cli.extras import missing
from heirloom.hil.sim import SimDevice

PICO = "SIM_RPI_PICO_W"
ESP32 = "SIM_ESP32_GENERIC"

MakeDevice = Callable[..., SimDevice]


@pytest.fixture(autouse=True, scope="session")
def _sim_extra() -> None:
    if missing("sim"):
        pytest.skip("the extra `sim` is not installed: pip install 'heirloom-ota[sim]'")


@pytest.fixture
def make_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes devices: make_device({"main.py": "..."}, board=PICO, **SimDevice.create's), switched off."""
    made: list[SimDevice] = []

    def make(scripts: Mapping[str, str] | None = None, board: str = PICO, **settings: object) -> SimDevice:
        device = SimDevice.create(tmp_path / f"device{len(made)}", board, **settings)  # type: ignore[arg-type]
        made.append(device)
        if scripts is not None:
            content = {f"/{path}": text.encode() for path, text in scripts.items()}
            device.write_filesystem(lfs.build(device.board.flash, content))
        return device

    yield make
    for device in made:
        device.close()
