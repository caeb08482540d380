"""What is missing on this machine is said in one sentence, and nothing is tried without it."""

from pathlib import Path

import pytest

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.drivers import Capability, Resource, open_driver, unavailable_reason


def test_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIRLOOM_FIRMWARE", str(tmp_path))
    reason = unavailable_reason(Resource("pico", "rp2040", "RPI_PICO_W"))
    assert reason is not None
    assert "no firmware image for RPI_PICO_W" in reason
    with pytest.raises(HeirloomError, match="no firmware image"):
        open_driver(Resource("pico", "rp2040", "RPI_PICO_W"), tmp_path / "device")
    assert not (tmp_path / "device").exists()


def test_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = unavailable_reason(Resource("c3", "esp32", "ESP32_GENERIC_C3"))
    assert reason is not None
    assert "no qemu-system-riscv32" in reason
    assert unavailable_reason(Resource("s3", "esp32", "ESP32_GENERIC_S3")) == "QEMU has no machine for esp32s3"


def test_capabilities_are_asked(tmp_path: Path) -> None:
    resource = Resource("pico", "sim", "SIM_RPI_PICO_W", by_stick=True)
    if reason := unavailable_reason(resource):
        pytest.skip(reason)
    with open_driver(resource, tmp_path / "device") as driver:
        assert driver.lacks(Capability.FILESYSTEM, Capability.EXACT_CUTS) is None
        assert "cannot do that: deep sleep" in (driver.lacks(Capability.DEEP_SLEEP) or "")
        assert driver.lacks(Capability.NETWORK) == "SIM_RPI_PICO_W by the driver sim cannot do that: a network"
        with pytest.raises(HeirloomError, match="deep sleep"):
            driver.needs(Capability.DEEP_SLEEP)
        with pytest.raises(RigTrouble):
            raise driver._cannot(Capability.DEEP_SLEEP)
