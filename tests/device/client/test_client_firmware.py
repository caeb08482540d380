"""Firmware over the air on simulated ESP32s: combined releases, the trial, and the way back."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_world import Product

from heirloom.boards.images import app
from heirloom.boards.images.otadata import State
from heirloom.cli.extras import missing
from heirloom.hil.sim import SimDevice
from heirloom.signing import patching

if missing("flash") or missing("sim"):
    pytest.skip("the extras `flash` and `sim` are not installed", allow_module_level=True)

import firmware_world as world
from firmware_world import C3, CRASHING, MAIN, NEW, NEWER, OLD, PANICS, ask, entries, publish, served, slot

NewDevice = Callable[..., SimDevice]
# In every run of the tests are the main roads; the others with HEIRLOOM_FIRMWARE_CUTS, before a release.
byway = pytest.mark.skipif(not world.MANY, reason="HEIRLOOM_FIRMWARE_CUTS is not set: only the main roads of firmware")
CONFIRMED = r"release \[0, {}\] confirmed"


@pytest.fixture
def new_device(micropython: Path, tmp_path: Path, product: Product) -> Iterator[NewDevice]:
    """Makes an ESP32-C3 on which release 1.0.0 is confirmed, on firmware OLD in ota_0."""
    product.live(datetime.now(UTC).replace(microsecond=0))
    first = publish(product, "1.0.0", 1)
    made: list[SimDevice] = []

    def make(*, blank: bool = False, factory: bool = False, **state: object) -> SimDevice:
        device = SimDevice.create(tmp_path / f"device{len(made)}", C3, clock="host", heap="256k")
        made.append(device)
        world.flash(product, device, None if blank else first, factory=factory, **{"d": 1, **state})
        return device

    yield make
    for device in made:
        device.close()


def untouched(device: SimDevice) -> bool:
    """Whether the first slot still holds the firmware that was flashed by cable, and nothing was written there."""
    start = device.board.flash.offset
    places = [operation.address + start for operation in device.recorded_flash()]
    written = any(world.SLOTS[0] <= place < world.SLOTS[1] for place in places)
    return slot(device, 0, len(OLD)) == OLD and not written


def test_a_combined_release_switches_firmware_and_application_together(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW)
    log = served(product)
    device.record_flash()
    device.run_until("installing 2.0.0")
    device.wait_for("app 2.0.0 on ota_1", 30)
    device.wait_for(CONFIRMED.format(2), 30)
    assert (0, len(NEW)) in log
    report = ask(device, world.REPORT)
    assert (report["firmware"]["partition"], report["firmware"]["version"]) == ("ota_1", "v1.28.0")
    assert untouched(device)
    state = ask(device)
    assert (state["a"], state["f"], state["t"], state["o"], state["x"]) == ("b", "a", None, [0, 2], [])
    assert state["p"].keys() == {"a", "b"}
    assert state["p"]["b"] == report["firmware"]["mark"] != state["p"]["a"]
    assert slot(device, 1, len(NEW)) == NEW
    assert [entry.state for entry in entries(device)] == [State.VALID, State.VALID]


@byway
def test_the_same_firmware_is_neither_fetched_nor_written(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "1.1.0", 2, OLD)
    log = served(product)
    device.record_flash()
    device.run_until("app 1.1.0 on ota_0")
    device.wait_for(CONFIRMED.format(2), 30)
    assert untouched(device)
    assert (0, len(OLD)) not in log
    device.power_off()
    device.record_flash()
    publish(product, "2.0.0", 3, NEW)
    device.run_until("app 2.0.0 on ota_1")
    device.wait_for(CONFIRMED.format(3), 30)
    publish(product, "3.0.0", 4, OLD)
    # It lies in the other slot already.
    device.wait_for("app 3.0.0 on ota_0", 30)
    device.wait_for(CONFIRMED.format(4), 30)
    assert untouched(device)
    assert (0, len(OLD)) not in log


@byway
def test_firmware_alone(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW, MAIN.replace("{version!r}", "'1.0.0'"))
    served(product)
    device.run_until("app 1.0.0 on ota_1")
    device.wait_for(CONFIRMED.format(2), 30)
    publish(product, "2.1.0", 3)
    # An application alone stays with the firmware that runs, and both firmwares may follow.
    device.wait_for("app 2.1.0 on ota_1", 30)
    device.wait_for(CONFIRMED.format(3), 30)
    publish(product, "2.2.0", 4, NEWER)
    device.wait_for("app 2.2.0 on ota_0", 30)
    device.wait_for(CONFIRMED.format(4), 30)
    state = ask(device)
    assert (state["f"], state["x"]) == ("a", [])
    assert slot(device, 0, len(NEWER)) == NEWER


def test_firmware_that_never_comes_to_the_client_fails_after_three_starts(
    product: Product, new_device: NewDevice
) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, PANICS)
    served(product)
    device.run_until(r"release \[0, 2\] failed: back to the one before")
    device.wait_for("app 1.0.0 on ota_0", 30)
    console = (device.directory / "console.log").read_text()
    assert console.count("the firmware in ota_1 panics") == 3
    state = ask(device)
    assert (state["a"], state["f"], state["t"], state["x"]) == ("a", None, None, [[0, 2]])
    publish(product, "2.1.0", 3, NEW)
    device.run_until("app 2.1.0 on ota_1")
    device.wait_for(CONFIRMED.format(3), 30)


def test_a_bad_application_takes_the_firmware_back_with_it(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW, CRASHING)
    served(product)
    for _ in range(3):
        device.run_until("app 2.0.0 on ota_1\n(.*\n)*?.*ValueError: bad application", 60)
    device.wait_for(r"release \[0, 2\] failed: back to the one before", 30)
    device.wait_for("app 1.0.0 on ota_0", 30)
    state = ask(device)
    assert (state["a"], state["f"], state["t"], state["x"]) == ("a", None, None, [[0, 2]])
    device.run_until("app 1.0.0 on ota_0")
    assert "ota_1" not in device.console().rpartition("back to the one before")[2]


def test_a_client_that_does_not_load_there_sends_the_device_back(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    layout = device.board.flash
    run = world.lfs_read(device, "/lib/heirloom/device/run.mpy")
    picky = b"""from esp32 import Partition
if Partition(Partition.RUNNING).info()[4] == 'ota_1':
    raise ValueError('incompatible .mpy file')
from heirloom.device.the_run import *
from heirloom.device.the_run import before, check_and_install
"""
    files = {"/lib/heirloom/device/the_run.mpy": run, "/lib/heirloom/device/run.py": picky}
    device.write_filesystem(world.with_files(device.board, device.filesystem_image(), files))
    assert layout
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until(r"the client does not work: ValueError\('incompatible .mpy file'", 60)
    device.wait_for(r"release \[0, 2\] failed: back to the one before", 30)
    device.wait_for("app 1.0.0 on ota_0", 30)
    assert "app 2.0.0" not in device.console()
    assert ask(device)["x"] == [[0, 2]]


@byway
def test_what_mounts_the_slot_comes_with_the_release(product: Product, new_device: NewDevice) -> None:
    """On firmware that does not load the mounter in /lib. (A whole second client does not fit beside the first.)"""
    device = new_device()
    lib = "/lib/heirloom/device/"
    mine = {f"{lib}{name}.mpy"[1:]: world.lfs_read(device, f"{lib}{name}.mpy") for name in ("appfs", "cbor")}
    picky = b"""from esp32 import Partition
if Partition(Partition.RUNNING).info()[4] == 'ota_1':
    raise ValueError('incompatible .mpy file')
from heirloom.device.the_appfs import *
"""
    files = {f"{lib}the_appfs.mpy": mine[f"{lib}appfs.mpy"[1:]], f"{lib}appfs.py": picky}
    device.write_filesystem(world.with_files(device.board, device.filesystem_image(), files))
    publish(product, "2.0.0", 2, NEW, files=mine)
    served(product)
    device.run_until("app 2.0.0 on ota_1", 60)
    device.wait_for(CONFIRMED.format(2), 30)
    assert ask(device)["x"] == []


def test_a_download_goes_on_at_the_last_whole_block(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW)
    log = served(product, cut_at=20_000)
    device.run_until("app 2.0.0 on ota_1")
    device.wait_for(CONFIRMED.format(2), 30)
    # Four blocks were written whole, of the fifth some bytes had come. Where power fails, a written block may be torn:
    # so the last one is fetched again.
    assert log[1:] == [(0, 20_000), (12288, len(NEW) - 12288)]


@pytest.mark.parametrize("good", [True, pytest.param(False, marks=byway)])
def test_a_patch_makes_it_of_the_firmware_that_runs(product: Product, new_device: NewDevice, good: bool) -> None:
    pytest.importorskip("detools")
    device = new_device()
    near = app.build("esp32c3", world.content(0, 9)[:-100] + bytes(100), version="v1.28.0")
    body = patching.create(OLD, near)
    assert len(body) < 1000
    # A patch that makes something else was signed by mistake: the firmware comes in full.
    sent = body if good else patching.create(OLD, near[:-500] + bytes(500))
    digest = hashlib.sha256(sent).digest()
    record = (hashlib.sha256(OLD).digest(), hashlib.sha256(near).digest(), digest, len(sent), patching.ALGORITHM)
    product.files[f"blobs/{digest.hex()}"] = sent
    publish(product, "2.0.0", 2, near, patches=[record])
    log = served(product)
    device.run_until("app 2.0.0 on ota_1", 60)
    device.wait_for(CONFIRMED.format(2), 30)
    assert slot(device, 1, len(near)) == near
    assert ((0, len(near)) in log) is not good
    assert (0, len(sent)) in log


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (NEW[:-1] + b"x", "E_HASH: the firmware differs"),
        pytest.param(
            NEW + b"x", f"E_LENGTH: the firmware has {len(NEW) + 1} bytes, {len(NEW)} are signed", marks=byway
        ),
        pytest.param(NEW[:-1], f"E_LENGTH: the firmware has {len(NEW) - 1} bytes, {len(NEW)} are signed", marks=byway),
    ],
)
def test_other_bytes_are_never_started(product: Product, new_device: NewDevice, sent: bytes, reason: str) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW, sent=sent)
    served(product)
    device.run_until(reason)
    device.wait_for("app 1.0.0 on ota_0", 30)
    assert all(entry.sequence in (1, 0xFFFFFFFF) for entry in entries(device))
    assert ask(device)["t"] is None
    publish(product, "2.0.0", 3, NEW)
    device.run_until("app 2.0.0 on ota_1")
    device.wait_for(CONFIRMED.format(3), 30)


def test_a_unit_with_the_factory_table_says_no_and_takes_applications(product: Product, new_device: NewDevice) -> None:
    device = new_device(factory=True)
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until("E_FIRMWARE: the release brings firmware, and beside factory is no second slot for it")
    device.wait_for("app 1.0.0 on factory", 30)
    publish(product, "1.1.0", 3)
    device.wait_for("app 1.1.0 on factory", 30)
    device.wait_for(CONFIRMED.format(3), 30)
    assert "p" not in ask(device)


@byway
def test_firmware_larger_than_the_slot_is_refused_before_a_byte_comes(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW, firmware_is=(world.SLOT_BYTES + 1, bytes(32), "v1.99.0"))
    log = served(product)
    room = world.SLOT_BYTES
    device.run_until(f"E_FIRMWARE: the firmware has {room + 1} bytes, and partition ota_1 {room}")
    device.wait_for("app 1.0.0 on ota_0", 30)
    assert not log


def test_a_board_without_partitions_refuses(product: Product, new_unit: Callable[..., object]) -> None:
    product.live(datetime.now(UTC).replace(microsecond=0))
    unit = new_unit(product)
    publish(product, "2.0.0", 2, NEW)
    refused = "E_FIRMWARE: the release brings firmware, and that of this unit is not replaced over the air"
    now = int(datetime.now(UTC).timestamp())
    assert unit.live(["clock", now], ["install"]) == [refused]  # type: ignore[attr-defined]


@byway
def test_the_first_release_may_bring_firmware(product: Product, new_device: NewDevice) -> None:
    device = new_device(blank=True)
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until("app 2.0.0 on ota_1", 60)
    device.wait_for(CONFIRMED.format(2), 30)


def test_the_first_release_with_broken_firmware_leaves_the_recovery(product: Product, new_device: NewDevice) -> None:
    device = new_device(blank=True)
    publish(product, "2.0.0", 2, PANICS)
    served(product)
    device.run_until(r"release \[0, 2\] failed", 60)
    device.wait_for("E_FAILED", 30)
    publish(product, "2.1.0", 3, NEW)
    device.wait_for("app 2.1.0 on ota_1", 60)


@byway
def test_below_the_floor_not_even_the_old_firmware_finds_its_application(
    product: Product, new_device: NewDevice
) -> None:
    """New firmware dies after its confirmation: the bootloader starts the old one, which recovers the new release."""
    device = new_device()
    publish(product, "2.0.0", 2, NEW, floor=2)
    served(product)
    device.run_until(CONFIRMED.format(2), 60)
    assert ask(device)["f"] is None
    world.put(device, world.SLOTS[1] + 5000, bytes(100))
    device.run_until("slot b cannot run: its firmware is damaged")
    device.wait_for("app 2.0.0 on ota_1", 60)
    assert "app 1.0.0" not in device.console().rpartition("its firmware is damaged")[2]


def test_the_fallback_runs_on_its_own_firmware(product: Product, new_device: NewDevice) -> None:
    """As above, without a floor: the confirmed firmware is broken, the slot of the old one runs on the old one."""
    device = new_device()
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until(CONFIRMED.format(2), 60)
    device.power_off()
    world.put(device, world.SLOTS[1] + 5000, bytes(100))
    device.run_until("app 1.0.0 on ota_0")
    assert ask(device)["a"] == "a"


@byway
def test_other_firmware_by_cable_finds_no_slot_and_recovers(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until(CONFIRMED.format(2), 60)
    device.power_off()
    world.put(device, world.SLOTS[0], NEWER)
    world.put(device, world.SLOTS[1], NEWER)
    device.run_until("slot b cannot run: its firmware is gone")
    device.wait_for("app 2.0.0 on ota_0", 60)
    assert slot(device, 0, len(NEW)) == NEW


@byway
def test_a_damaged_state_finds_the_firmware_of_each_slot_again(product: Product, new_device: NewDevice) -> None:
    device = new_device()
    publish(product, "2.0.0", 2, NEW)
    served(product)
    device.run_until(CONFIRMED.format(2), 60)
    before = ask(device)
    files = {"/heirloom/state": b"{}\n"}
    device.write_filesystem(world.with_files(device.board, device.filesystem_image(), files))
    device.run_until("the state is damaged and is made anew")
    device.wait_for("app 2.0.0 on ota_1", 30)
    after = ask(device)
    assert after["p"]["b"] == before["p"]["b"]


@byway
def test_the_state_stays_small(product: Product, new_device: NewDevice) -> None:
    device = new_device(x=[[0, number] for number in (1000, 1001, 1002, 1003)], r=2, n=123456, l=[0, 1])
    publish(product, "2.0.0", 2000, NEW, CRASHING)
    served(product)
    device.run_until("app 2.0.0 on ota_1", 60)
    size = json.loads(json.dumps(ask(device, "import os\nprint(os.stat('/heirloom/state')[6])")))
    assert size < 256
