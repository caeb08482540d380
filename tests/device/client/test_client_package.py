"""device/package.json: what `mip` installs is what a device carries, as sources."""

import json
from pathlib import Path

import pytest

from heirloom.hil.provision import client_sources

DEVICE = Path(__file__).resolve().parents[3] / "device"


def test_mip_installs_the_whole_client() -> None:
    if not (DEVICE / "package.json").is_file():
        pytest.skip("tests run without the source tree")
    package = json.loads((DEVICE / "package.json").read_text())
    modules = {f"heirloom/device/{name}.py" for name in client_sources()}
    assert {target for target, _ in package["urls"]} == modules | {"heirloom_boot.py", "heirloom_esp32.py"}
    for _, source in package["urls"]:
        assert (DEVICE / source).is_file()
