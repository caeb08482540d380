"""device/package.json: what `mip` installs is what a device carries."""

import json
from pathlib import Path

import pytest

from heirloom.boards import load
from heirloom.hil.provision import client_files

DEVICE = Path(__file__).resolve().parents[3] / "device"


def test_mip_installs_the_whole_client() -> None:
    if not (DEVICE / "package.json").is_file():
        pytest.skip("tests run without the source tree")
    package = json.loads((DEVICE / "package.json").read_text())
    carried = {path.removeprefix("/lib/").replace(".mpy", ".py") for path in client_files(load("SIM_RPI_PICO_W"))}
    assert {target for target, _ in package["urls"]} == carried - {"/boot.py", "/main.py"}
    for _, source in package["urls"]:
        assert (DEVICE / source).is_file()
