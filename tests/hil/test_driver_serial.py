"""The driver of physical devices, against a pseudo-terminal that behaves like one, with a simulated board behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from heirloom.cli.errors import RigTrouble
from heirloom.hil.drivers import Capability, Resource, open_driver
from heirloom.hil.rig.device import Device
from heirloom.hil.rig.session import Session
from heirloom.hil.sim import SSID, SimDevice
from heirloom.hil.suite import apps

BOARD = "SIM_RPI_PICO_W"


@pytest.fixture
def plugged_in(tmp_path: Path, micropython: Path) -> Iterator[SimDevice]:
    with SimDevice.create(tmp_path / "board", BOARD) as board:
        board.run_until(">>> ")
        yield board


def resource(board: SimDevice, **more: object) -> Resource:
    known = {"network": SSID, "host": "127.0.0.1", "reset": "soft", "port": str(board.tty)}
    return Resource("bench", "serial", BOARD, **{**known, **more})  # type: ignore[arg-type]


@pytest.mark.timeout(300)
def test_a_device_at_a_port_lives_through_install_and_update(plugged_in: SimDevice, tmp_path: Path) -> None:
    one = resource(plugged_in)
    session = Session([one])
    product = session.founded(one)
    server = session.server(one)
    with open_driver(one, tmp_path / "log") as driver:
        assert driver.lacks(Capability.FILESYSTEM, Capability.EXACT_CUTS)
        device = Device(driver, server, product, tmp_path / "client")
        device.provision()
        assert driver.id == plugged_in.id
        first = product.release("1.0.0", apps.good("1.0.0"))
        assert device.runs(first).failed == ()
        assert device.runs(product.release("1.1.0", apps.good("1.1.0"))).runs == "1.1.0"
        assert "app 1.1.0 starting" in (tmp_path / "log" / "console.log").read_text()
    session.close()


def test_power_is_switched_by_a_program_of_the_rigs(plugged_in: SimDevice, tmp_path: Path) -> None:
    note = tmp_path / "switched"
    script = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    power = {key: ["python3", "-c", script, str(note), f"{key};"] for key in ("on", "off")}
    with open_driver(resource(plugged_in, power=power), tmp_path / "log") as driver:
        assert Capability.POWER in driver.capabilities
        driver.power_on()
        assert driver.exec("print(6 * 7)") == "42\n"
        driver.power_off()
        assert note.read_text() == "on;off;"
    power["on"] = ["false"]
    said = r"switching the power of device bench \(false\) ended with code 1"
    with (
        open_driver(resource(plugged_in, power=power), tmp_path / "log") as driver,
        pytest.raises(RigTrouble, match=said),
    ):
        driver.power_on()


def test_what_is_not_plugged_in_is_trouble_of_the_rig(tmp_path: Path) -> None:
    missing = Resource("bench", "serial", "RPI_PICO_W", serial_number="never-made", reset="soft")
    with open_driver(missing, tmp_path / "log") as driver, pytest.raises(RigTrouble, match="never-made"):
        driver.check()
    missing = Resource("bench", "serial", "RPI_PICO_W", hub_port="99-9", reset="soft")
    with open_driver(missing, tmp_path / "log") as driver, pytest.raises(RigTrouble, match="hub port 99-9"):
        driver.check()
