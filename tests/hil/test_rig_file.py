"""The file that describes a rig: what is read, and every mistake in it as one clear sentence."""

from pathlib import Path

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.hil.rig.file import read
from heirloom.hil.rig.session import resources_of

GOOD = """
[devices.quick]
driver = "sim"
board = "SIM_RPI_PICO_W"

[devices.pico]
driver = "rp2040"
board = "RPI_PICO_W"
image = "images/pico.uf2"

[devices.bench-3]
driver = "serial"
board = "ESP32_GENERIC_C3"
serial-number = "58:CF:79:00:11:22"
network = "lab"
password-env = "LAB_WIFI"
host = "192.168.7.2"
[devices.bench-3.power]
on = ["uhubctl", "-l", "1-1", "-p", "3", "-a", "on"]
off = ["uhubctl", "-l", "1-1", "-p", "3", "-a", "off"]
"""


def rig(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def test_a_rig_is_read(tmp_path: Path) -> None:
    quick, pico, bench = read(rig(tmp_path, GOOD))
    assert (quick.name, quick.driver, quick.board, quick.image) == ("quick", "sim", "SIM_RPI_PICO_W", None)
    assert pico.image == tmp_path / "images/pico.uf2"
    assert bench.serial_number == "58:CF:79:00:11:22"
    assert bench.power["off"][-1] == "off"
    assert (bench.network, bench.password_env, bench.host, bench.reset) == ("lab", "LAB_WIFI", "192.168.7.2", "power")


SERIAL = '[devices.x]\ndriver = "serial"\nboard = "RPI_PICO_W"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"\[devices\] is missing"),
        ("[devices]", "describes no device"),
        ("devices = [", "is not TOML"),
        ("[device.x]", "did you mean 'devices'"),
        ('[devices.x]\ndriver = "sim"', r"\[devices.x\] board is missing"),
        ('[devices.x]\nboard = "RPI_PICO"', r"\[devices.x\] driver is missing"),
        ('[devices.x]\ndriver = "qemu"\nboard = "RPI_PICO"', "driver is 'qemu'; known are sim"),
        ('[devices.x]\ndriver = "sim"\nboard = "NOPE"', "NOPE"),
        ('[devices.x]\ndriver = "sim"\nboard = "RPI_PICO_W"', "is driven by rp2040"),
        ('[devices.x]\ndriver = "sim"\nboard = "SIM_RPI_PICO_W"\nhub-port = "1-1"', "hub-port is for physical devices"),
        ('[devices."../x"]\ndriver = "sim"\nboard = "SIM_RPI_PICO_W"', "is no name"),
        (SERIAL, "needs serial-number or hub-port"),
        (SERIAL + 'serial-number = "1"\nhub-port = "1-1"', "one of both"),
        (SERIAL + 'port = "/dev/ttyACM0"', "port is unknown"),
        (SERIAL + 'serial-number = "1"', r"has no \[power\]"),
        (SERIAL + 'serial-number = "1"\npower = {on = ["x"]}', "needs on and off, or cycle"),
        (SERIAL + 'serial-number = "1"\npower = {cycle = "uhubctl -a cycle"}', "must be a list of strings"),
        (SERIAL + 'serial-number = "1"\npower = {cycle = []}', "cycle is empty"),
        (SERIAL + 'serial-number = "1"\nreset = "hit"', "reset is 'hit'"),
        (SERIAL + 'serial-number = "1"\nreset = "soft"\nnetwork = "lab"', "network needs host"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HeirloomError, match=said) as found:
        read(rig(tmp_path, text))
    assert "rig.toml" in found.value.message


def test_one_device_under_two_names_would_defeat_its_lock(tmp_path: Path) -> None:
    one = 'driver = "serial"\nboard = "RPI_PICO"\nreset = "soft"\nhub-port = "1-1.4"\n'
    with pytest.raises(HeirloomError, match=r"\[devices.b\] has the hub port of \[devices.a\]"):
        read(rig(tmp_path, f"[devices.a]\n{one}\n[devices.b]\n{one}"))


def test_a_missing_rig_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(HeirloomError, match="cannot read the rig"):
        read(tmp_path / "none.toml")


def test_drivers_select_from_a_rig_or_stand_for_themselves(tmp_path: Path) -> None:
    path = str(rig(tmp_path, GOOD))
    assert [one.name for one in resources_of(path, ["sim", "serial"])] == ["quick", "bench-3"]
    assert [one.name for one in resources_of(path, ["rp2040:RPI_PICO_W"])] == ["pico"]
    with pytest.raises(HeirloomError, match="has no device for esp32"):
        resources_of(path, ["esp32"])
    assert {one.board for one in resources_of(None, [])} == {"SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"}
    with pytest.raises(HeirloomError, match="no driver 'serial' without a rig"):
        resources_of(None, ["serial"])
