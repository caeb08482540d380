"""Firmware over the air on a real MicroPython behind the real second-stage bootloader: an emulated ESP32-C3.

It has no network there. The manifest lies on flash as if it had just been verified, and the firmware is served by the
device itself: the one that runs, with another version in it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heirloom.boards.images import esp32, lfs, otadata
from heirloom.boards.images.otadata import State
from heirloom.cli.extras import missing
from heirloom.device.manifest import Manifest
from heirloom.hil import provision

if missing("flash") or missing("sim"):
    pytest.skip("the extras `flash` and `sim` are not installed", allow_module_level=True)

from firmware_world import OTADATA, SLOTS, state_file

from heirloom.hil.drivers import esp32 as driving
from heirloom.hil.drivers.esp32 import Esp32Driver
from heirloom.hil.drivers.resource import Resource

if TYPE_CHECKING:
    import re

BOARD = "ESP32_GENERIC_C3"
ON_DEVICE = Path(__file__).with_name("on_device") / "firmware_here.py"
# With an event loop, so that the client need not look for news before it: the emulated chip has no radio.
MAIN = """import asyncio, machine, os
import heirloom_boot
found = heirloom_boot.esp32().describe()
print('app', VERSION, 'on', found['partition'], found['version'])
if 'staging.cbor' in os.listdir('/heirloom/slots'):
    import here
    here.install()
    machine.reset()
async def run():
    while True:
        await asyncio.sleep_ms(50)
asyncio.run(run())
"""
CRASHING = MAIN.replace("async def", "raise ValueError('bad application')\nasync def")
OLD_RUNS, NEW_RUNS = r"app 1\.0\.0 on ota_0 v1\.\d+\.\d+", r"app 2\.0\.0 on ota_1 (v\S+)\s"
VERSION_AT = 48  # in an app image


def changed(image: bytes, changes: dict[int, bytes]) -> dict[int, bytes]:
    """The same changes, and those of checksum and hash that make it an image that a bootloader starts."""
    data = bytearray(image)
    delta = 0
    for place, new in changes.items():
        for index, byte in enumerate(new):
            delta ^= data[place + index] ^ byte
        data[place : place + len(new)] = new
    end = len(image) - 32
    data[end - 1] ^= delta
    digest = hashlib.sha256(data[:end]).digest()
    return {**changes, end - 1: bytes([data[end - 1]]), end: digest}


def with_changes(image: bytes, changes: dict[int, bytes]) -> bytes:
    data = bytearray(image)
    for place, new in changes.items():
        data[place : place + len(new)] = new
    return bytes(data)


class Unit:
    """An emulated ESP32-C3 with release 1.0.0 confirmed in slot a, and 2.0.0 verified and waiting to be installed."""

    def __init__(self, folder: Path, main: str, changes: dict[int, bytes], build_dir: Path) -> None:
        self.driver = Esp32Driver(Resource("c3", "esp32", BOARD), folder)
        self.flash = self.driver.flash_path
        board = self.driver.board
        self.old = esp32.split(driving.firmware.find(self.driver.resource).read_bytes(), board.chip).app
        self.changes = changed(self.old, changes)
        self.new = with_changes(self.old, self.changes)
        new = hashlib.sha256(self.new)
        content, releases = {}, []
        for version, sequence, source, more in (
            ("1.0.0", 1, MAIN, {}),
            (
                "2.0.0",
                2,
                main,
                {"firmware": (len(self.new), new.digest(), "v2.0.0"), "confirm": 2},
            ),
        ):
            data = source.replace("VERSION", repr(version)).encode()
            sha256 = hashlib.sha256(data)
            files = [("main.py", len(data), sha256.digest())]
            identity: dict[str, Any] = {"product": "p", "board": BOARD, "version": version, "epoch": 0}
            releases.append(Manifest(**identity, sequence=sequence, files=files, **more))
            content[f"/heirloom/blobs/{sha256.hexdigest()}"] = data
        content["/heirloom/slots/a.cbor"] = releases[0].encode()
        content["/heirloom/slots/staging.cbor"] = releases[1].encode()
        state = {
            "v": 1,
            "a": "a",
            "f": None,
            "t": None,
            "o": [0, 1],
            "l": [0, 0],
            "r": 0,
            "x": [],
            "d": 0,
            "s": 0,
            "n": 0,
        }
        content["/heirloom/state"] = state_file(state)
        here = ON_DEVICE.read_text().replace("CHANGES = {}", f"CHANGES = {self.changes!r}")
        content["/lib/here.py"] = here.encode()
        timing = {"check_after_s": 600, "check_every_s": 600, "trial_timeout_s": 60}
        image = provision.build_filesystem(
            board, "p", b"{}", [], "stable", provision.Identity.new("00" * 6), timing, build_dir=build_dir
        )
        folders = ("/heirloom/trust", "/heirloom/blobs", "/data")
        self.driver.write_filesystem(lfs.build(board.flash, {**lfs.read(board.flash, image), **content}, folders))

    def wait_for(self, pattern: str) -> "re.Match[str]":
        return self.driver.wait_for(pattern, 60)

    def install(self) -> "re.Match[str]":
        """Starts, and the application of 1.0.0 installs 2.0.0, as main.py would. Returns bytes and beginnings."""
        self.driver.power_on()
        self.wait_for(OLD_RUNS)
        return self.wait_for(r"fetched (\d+) from (\[.*\])")

    def state(self) -> dict[str, Any]:
        """The state on flash; it is off afterwards."""
        self.driver.power_off()
        board = self.driver.board
        line = lfs.read(board.flash, self.driver.filesystem_image(), "/heirloom")["/heirloom/state"]
        found: dict[str, Any] = json.loads(line.split(b"\n")[0])
        return found

    def entries(self) -> otadata.Entries:
        return otadata.parse(self.flash.read_bytes()[OTADATA:])

    def slot(self, number: int) -> bytes:
        return self.flash.read_bytes()[SLOTS[number] : SLOTS[number] + len(self.new)]


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture
def new_unit_on_qemu(tmp_path: Path, build_dir: Path) -> Iterator[Any]:
    if reason := driving.unavailable_reason(Resource("c3", "esp32", BOARD)):
        pytest.skip(reason)
    made = []

    def make(main: str = MAIN, changes: dict[int, bytes] | None = None) -> Unit:
        made.append(Unit(tmp_path / "c3", main, changes or {VERSION_AT: b"v2.0.0"}, build_dir))
        return made[-1]

    yield make
    for unit in made:
        unit.driver.close()


@pytest.mark.emulated
@pytest.mark.timeout(600)
def test_firmware_and_application_switch_and_are_confirmed(new_unit_on_qemu: Any) -> None:
    unit = new_unit_on_qemu()
    assert unit.install().groups() == (str(len(unit.new)), "[0]")
    assert unit.wait_for(NEW_RUNS)[1] == "v2.0.0"
    unit.wait_for(r"release \[0, 2\] confirmed")
    state = unit.state()
    assert (state["a"], state["t"], state["o"], state["x"]) == ("b", None, [0, 2], [])
    assert unit.slot(0) == unit.old
    assert unit.slot(1) == unit.new
    assert unit.entries()[1].state == State.VALID
    unit.driver.power_on()
    unit.wait_for(NEW_RUNS)


@pytest.mark.emulated
@pytest.mark.timeout(600)
def test_a_bad_application_takes_the_firmware_back(new_unit_on_qemu: Any) -> None:
    unit = new_unit_on_qemu(CRASHING)
    unit.install()
    unit.wait_for(NEW_RUNS)
    unit.wait_for(r"release \[0, 2\] failed: back to the one before")
    unit.wait_for(OLD_RUNS)
    state = unit.state()
    assert (state["a"], state["t"], state["x"]) == ("a", None, [[0, 2]])
    assert unit.entries()[0].state == State.VALID


@pytest.mark.emulated
@pytest.mark.timeout(600)
def test_power_cuts_in_the_download_and_in_the_first_start(new_unit_on_qemu: Any) -> None:
    unit = new_unit_on_qemu()
    unit.driver.power_on()
    reached = int(unit.wait_for(r"brought (9\d{5})$")[1])
    unit.driver.power_off()
    fetched, first = unit.install().groups()
    begin = int(first[1:-1])
    assert begin % 4096 == 0
    assert reached - 4096 <= begin < len(unit.new)
    assert int(fetched) == len(unit.new) - begin
    unit.wait_for("entry 0x")
    unit.driver.power_off()  # in the middle of the first start
    unit.driver.power_on()
    unit.wait_for(NEW_RUNS)
    unit.wait_for(r"release \[0, 2\] confirmed")
    assert unit.state()["x"] == []
