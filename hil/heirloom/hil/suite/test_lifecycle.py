"""The life of a device, whatever drives it. Each test is a story; a device that cannot live it says why.

`heirloom hil run` runs this on a rig. Nothing here names a port, a board or a driver.
"""

import random
import time
from pathlib import Path

import pytest

from heirloom.hil.drivers import Capability, FirmwareKind, Resource
from heirloom.hil.rig.attacker import Attacker
from heirloom.hil.rig.device import Device, Standing
from heirloom.hil.rig.product import Product, Release
from heirloom.hil.rig.server import Server
from heirloom.hil.rig.session import Session
from heirloom.hil.suite import apps

BACK = r"back to the one before"
ON_TRIAL = r"is installed and on trial"
QUIET_S = 3.0
ROOM_FOR_A_STICK = 700 << 10  # bytes of a file system
# The first that is heard of an ESP32 after a reset: of its bootloader, or on a simulated one of the application.
FIRST_WORDS = r"^entry 0x|app 1"


def need(device: Device, *capabilities: Capability) -> None:
    """Skip with the reason when the device cannot do that."""
    if reason := device.lacks(*capabilities):
        pytest.skip(reason)


def need_room_for_a_stick(device: Device) -> None:
    """Skip where the stick lies on a small flash, beside the client, the release that runs and the one that comes."""
    if device.by_stick and device.board.flash.filesystem_size < ROOM_FOR_A_STICK:
        pytest.skip(f"{device.board.name} has no room for a stick on its own flash with that on it")


@pytest.fixture
def first(heirloom_session: Session, heirloom_resource: Resource, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The product with release 1.0.0, made once for each kind of device. Not to be changed."""
    return heirloom_session.once(
        ("1.0.0", heirloom_resource.name), lambda: _with_first(heirloom_session, heirloom_resource, tmp_path_factory)
    )


def _with_first(session: Session, resource: Resource, folders: pytest.TempPathFactory) -> Product:
    made = session.founded(resource).copy(folders.mktemp("first") / "product")
    made.release("1.0.0", apps.good("1.0.0"))
    return made


@pytest.fixture
def product(first: Product, tmp_path: Path) -> Product:
    """This test's own copy of it."""
    return first.copy(tmp_path / "product")


@pytest.fixture
def settled(heirloom_session: Session, device: Device, product: Product) -> Release:
    """The device runs 1.0.0 and has confirmed it; it got there once, and each test begins with that file system."""
    release = product.published("1.0.0")
    if device.lacks(Capability.FILESYSTEM):
        device.provision()
        device.runs(release)
        return release

    def settle() -> bytes:
        device.provision()
        device.runs(release)
        return device.driver.filesystem_image()

    device.restore(heirloom_session.once(("settled", device.driver.resource.name), settle))
    return release


def ran_on(device: Device, release: Release) -> Standing:
    """The device goes on with what it has, and confirms it."""
    device.on()
    return device.runs(release)


def test_first_install(device: Device, product: Product) -> None:
    device.provision()
    found = device.runs(product.published("1.0.0"))
    assert found.failed == ()


def test_update(device: Device, product: Product, server: Server, settled: Release) -> None:
    release = product.release("1.1.0", apps.good("1.1.0"))
    before = server.mark()
    device.runs(release)
    if device.by_stick:
        return
    moved = server.since(before).blobs()
    assert moved == product.contents("1.1.0").keys() - product.contents("1.0.0").keys(), "only what changed"


def test_bad_application_is_undone_and_not_tried_again(
    device: Device, product: Product, server: Server, settled: Release
) -> None:
    bad = product.release("1.1.0", apps.bad("1.1.0"))
    device.says(r"this release is bad")
    device.says(BACK, 90)
    device.says(r"app 1\.0\.0 starting")
    before = server.mark()
    if device.by_stick:
        device.off()
        device.says(r"app 1\.0\.0 starting")
    else:
        server.wait_for_polls(before, 1, 60 * device.driver.pace)
    found = device.off()
    assert (found.runs, found.confirmed) == ("1.0.0", settled.order)
    assert bad.order in found.failed
    assert not server.since(before).blobs(), "what failed is not fetched again"
    good = product.release("1.2.0", apps.good("1.2.0"))
    assert bad.order in ran_on(device, good).failed


def test_power_cut_at_any_moment_of_an_update(device: Device, product: Product, settled: Release) -> None:
    need(device, Capability.POWER)
    release = product.release("1.1.0", apps.good("1.1.0"))
    device.says(r"heirloom: ")
    device.driver.cut_power()
    assert device.off().runs in ("1.0.0", "1.1.0")
    device.runs(release)


@pytest.mark.parametrize("kind", ["before", "torn", "after"])
def test_power_cut_inside_a_flash_operation(device: Device, product: Product, settled: Release, kind: str) -> None:
    need(device, Capability.EXACT_CUTS, Capability.FILESYSTEM)
    release = product.release("1.1.0", apps.good("1.1.0"))
    operation = {"before": 9, "torn": 17, "after": 31}[kind]
    device.driver.cut_power_at(operation, kind)  # type: ignore[arg-type]
    device.on()
    device.driver.wait_off(60)
    assert device.off().runs in ("1.0.0", "1.1.0")
    device.runs(release)


def test_power_cut_during_a_trial_is_no_fault_of_the_release(
    device: Device, product: Product, server: Server, settled: Release
) -> None:
    need(device, Capability.POWER, Capability.NETWORK)
    release = product.release("1.1.0", apps.good("1.1.0"))
    device.says(ON_TRIAL)
    server.folder = None
    device.says(r"app 1\.1\.0 starting")
    device.driver.cut_power()
    found = device.off()
    assert (found.runs, found.trial, found.failed) == ("1.1.0", True, ())
    server.folder = product.repository_dir
    assert ran_on(device, release).failed == ()


def test_a_download_that_was_cut_goes_on(
    device: Device, product: Product, server: Server, attacker: Attacker, settled: Release
) -> None:
    need(device, Capability.NETWORK)
    big = bytes(range(251)) * 64
    release = product.release("1.1.0", apps.good("1.1.0", {"big.bin": big}))
    attacker.stop_in_the_middle()
    device.says(r"E_[A-Z]+")
    device.off()
    attacker.leave()
    device.runs(release)


def test_patch(device: Device, product: Product, server: Server, settled: Release) -> None:
    need_room_for_a_stick(device)
    long = random.Random(1).randbytes(6000)
    device.runs(product.release("1.1.0", apps.good("1.1.0", {"long.bin": long})))
    release = product.release("1.2.0", apps.good("1.2.0", {"long.bin": long[:3000] + b"a fix" + long[3000:]}))
    before = server.mark()
    device.runs(release)
    if device.by_stick:
        return
    moved = sum(one.received_bytes for one in server.since(before).of("/blobs/"))
    assert moved < len(long) // 2, "of a file that is there already, only what changed is moved"


def test_what_an_attacker_changes_is_refused(
    device: Device, product: Product, attacker: Attacker, settled: Release
) -> None:
    need(device, Capability.NETWORK)
    release = product.release("1.1.0", apps.good("1.1.0"))
    attacker.flip_blobs()
    device.says(r"E_HASH")
    assert device.off().runs == "1.0.0"
    attacker.leave()
    device.runs(release)


def test_floor(device: Device, product: Product, server: Server, settled: Release, tmp_path: Path) -> None:
    before = product.copy(tmp_path / "before")
    floor = product.release("1.1.0", apps.good("1.1.0"), "--floor", str(settled.order[1] + 1))
    found = device.runs(floor)
    assert found.floor == floor.order
    server.folder = before.repository_dir
    device.says(r"E_ROLLBACK")
    assert device.off().runs == "1.1.0"


def test_stepping_stone(device: Device, product: Product, settled: Release) -> None:
    product.release("1.1.0", apps.good("1.1.0"))
    last = product.release("2.0.0", apps.good("2.0.0"), "--requires", "1.1.0")
    device.says(r"app 1\.1\.0 starting", 90)
    if device.by_stick:  # it is looked at once in a start
        device.says(r"confirmed")
        device.off()
    device.runs(last)


def test_owner_off(device: Device, product: Product, server: Server, settled: Release) -> None:
    device.exec("from heirloom.device import owner\nowner.change(updates='off')")
    release = product.release("1.1.0", apps.good("1.1.0"))
    before = server.mark()
    device.says(r"app 1\.0\.0 starting")
    time.sleep(QUIET_S * device.driver.pace)
    assert not server.since(before).exchanges, "an owner who said off is obeyed before anything else"
    assert device.off().runs == "1.0.0"
    device.exec("from heirloom.device import owner\nowner.change(updates='on')")
    device.runs(release)


def test_deep_sleep_during_a_trial_costs_nothing(device: Device, product: Product, settled: Release) -> None:
    need(device, Capability.DEEP_SLEEP)
    release = product.release("1.1.0", apps.sleeps("1.1.0"))
    device.says(r"app sleeps 0")
    device.says(r"app sleeps 1")
    assert device.runs(release).failed == ()


def test_full_disk(device: Device, product: Product, settled: Release) -> None:
    need(device, Capability.FILESYSTEM, Capability.NETWORK)
    image = device.driver.filesystem_image()
    device.fill()
    release = product.release("1.1.0", apps.good("1.1.0", {"big.bin": bytes(range(256)) * 40}))
    device.says(r"E_SPACE")
    assert device.off().runs == "1.0.0"
    device.restore(image)
    device.runs(release)


INSTALL_OLD = """
import machine
machine.RTC().datetime((2028, 5, 25, 3, 0, 0, 0, 0))
import heirloom_boot
presence = heirloom_boot.client("presence")
for stale in (False, True):
    try:
        print("STALE TAKEN" if stale else "TAKEN", presence.install_now("/old.tar", stale))
    except Exception as error:
        print("REFUSED", error)
"""


def test_offline_bundle_eighteen_months_old(device: Device, product: Product, server: Server, settled: Release) -> None:
    need(device, Capability.FILESYSTEM)
    need_room_for_a_stick(device)
    main = {"main.py": apps.good("1.1.0")["main.py"]}
    release = product.release("1.1.0", main)
    device.plug_in(None)
    device.plug_in(product.repository_dir, "/old.tar")
    said = device.exec(INSTALL_OLD)
    assert "REFUSED E_STALE" in said, "nobody but the owner takes what has expired"
    assert "STALE TAKEN 1.1.0" in said
    device.plug_in(None, "/old.tar")
    assert device.runs(release).failed == ()


def firmware(device: Device, kind: FirmwareKind, folder: Path) -> tuple[str, ...]:
    """Options for a release that brings firmware; skips where a device cannot take any."""
    need(device, Capability.FIRMWARE)
    image = device.driver.firmware_image(kind)
    if device.by_stick and len(image) > device.board.flash.filesystem_size // 2:
        pytest.skip(f"{device.board.name} has no room for a stick with firmware on it")
    path = folder / f"{kind}.app-bin"
    path.write_bytes(image)
    return "--firmware", str(path)


RUNS_ON = "from esp32 import Partition\nprint(Partition(Partition.RUNNING).info()[4])"


def test_combined_update_of_firmware_and_application(
    device: Device, product: Product, settled: Release, tmp_path: Path
) -> None:
    options = firmware(device, "other", tmp_path)
    assert device.exec(RUNS_ON).strip() == "ota_0"
    release = product.release("1.1.0", apps.good("1.1.0"), *options)
    device.runs(release, 300)
    assert device.exec(RUNS_ON).strip() == "ota_1"
    following = product.release("1.2.0", apps.good("1.2.0"), *options)
    device.runs(following)
    assert device.exec(RUNS_ON).strip() == "ota_1", "the firmware that runs already is not written again"


def test_bad_firmware_is_undone(device: Device, product: Product, settled: Release, tmp_path: Path) -> None:
    bad = product.release("1.1.0", apps.good("1.1.0"), *firmware(device, "bad", tmp_path))
    device.says(ON_TRIAL, 300)
    device.says(BACK, 120)
    device.says(r"app 1\.0\.0 starting")
    found = device.off()
    assert (found.runs, found.confirmed) == ("1.0.0", settled.order)
    assert bad.order in found.failed
    assert device.exec(RUNS_ON).strip() == "ota_0"


def test_power_cut_during_a_trial_of_firmware(
    device: Device, product: Product, server: Server, settled: Release, tmp_path: Path
) -> None:
    need(device, Capability.POWER)
    release = product.release("1.1.0", apps.good("1.1.0"), *firmware(device, "other", tmp_path))
    device.says(ON_TRIAL, 300)
    device.says(FIRST_WORDS)
    device.driver.cut_power()
    assert device.off().failed == (), "a loss of power is no fault of the firmware"
    assert device.runs(release, 300).failed == ()
    assert device.exec(RUNS_ON).strip() == "ota_1"
