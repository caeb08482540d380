"""Power fails anywhere in the life of a firmware release, from the first erased block to the way back.

HEIRLOOM_FIRMWARE_CUTS=N cuts at N places of each life, evenly spread, instead of a few chosen ones.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_world import Product

from heirloom.boards.images.otadata import State
from heirloom.cli.extras import missing
from heirloom.hil.sim import Power, SimDevice

if missing("flash") or missing("sim"):
    pytest.skip("the extras `flash` and `sim` are not installed", allow_module_level=True)

import firmware_world as world
from firmware_world import C3, CRASHING, MANY, NEW, OLD, SLOTS, ask, entries, publish, served, slot

OTADATA = (world.OTADATA, world.OTADATA + 0x2000)
KINDS = ("before", "torn", "after")
TRIAL_POWER_LOSSES = 10  # DESIGN 6: power alone


class Life:
    """A device that begins with the same flash again and again, and what it wrote in a life without cuts."""

    def __init__(self, device: SimDevice, end: str) -> None:
        self.device = device
        self.end = end
        self.flash = device.directory / "flash.bin"
        self.first = device.directory / "first.bin"
        shutil.copy(self.flash, self.first)
        device.record_flash()
        device.run_until(end, 90)
        device.power_off()
        start = device.board.flash.offset
        self.places = [operation.address + start for operation in device.recorded_flash()]

    def of(self, begin: int, end: int) -> list[int]:
        """Which operations were there, counted from 1."""
        return [number for number, place in enumerate(self.places, 1) if begin <= place < end]

    def cut(self, operation: int, kind: str) -> None:
        """Begins anew, and the power fails there."""
        self.device.power_off()
        shutil.copy(self.first, self.flash)
        self.device.cut_power_at(operation, kind)  # type: ignore[arg-type]
        self.device.power_on()
        assert self.device.wait_off(60) is Power.CUT

    def go_on(self) -> str:
        """Starts again, and reaches its end. Returns what was said on the way."""
        self.device.run_until(self.end, 90)
        said = self.device.console()
        self.device.power_off()
        return said


def spread(life: Life, chosen: list[int]) -> Iterator[tuple[int, str]]:
    """Each place with a kind of cut; all kinds come."""
    if MANY:
        count = len(life.places)
        chosen = [1 + number * count // MANY for number in range(MANY)]
    for turn, operation in enumerate(chosen):
        yield operation, KINDS[turn % len(KINDS)]


@pytest.fixture
def device(micropython: Path, tmp_path: Path, product: Product) -> Iterator[SimDevice]:
    """Release 1.0.0 is confirmed on firmware OLD in ota_0, and an install is due."""
    product.live(datetime.now(UTC).replace(microsecond=0))
    first = publish(product, "1.0.0", 1)
    with SimDevice.create(tmp_path / "device", C3, clock="host", heap="256k") as made:
        world.flash(product, made, first, d=1)
        yield made


def fits_together(said: str) -> bool:
    """Each application has run on its own firmware only."""
    return "app 1.0.0 on ota_1" not in said and "app 2.0.0 on ota_0" not in said


@pytest.mark.slow
@pytest.mark.timeout(3600 if MANY else 300)
def test_the_release_arrives_whole_or_not_at_all(product: Product, device: SimDevice) -> None:
    publish(product, "2.0.0", 2, NEW)
    log = served(product)
    life = Life(device, r"release \[0, 2\] confirmed")
    written, marked = life.of(SLOTS[1], SLOTS[1] + world.SLOT_BYTES), life.of(*OTADATA)
    # Downloading; before the switch, in it; the bootloader's own mark; "valid".
    middle = (written[0] + written[-1]) // 2
    chosen = [
        written[2],
        written[20],
        middle,
        written[-1],
        marked[2] - 1,
        marked[3],
        marked[5],
        marked[7],
        marked[7] + 2,
    ]
    assert len(marked) == 8, "bootloader at its first start; set_boot; bootloader; valid: erase and write each"
    for operation, kind in spread(life, chosen):
        log.clear()
        life.cut(operation, kind)
        assert slot(device, 0, len(OLD)) == OLD
        said = life.go_on()
        assert fits_together(said), (operation, kind)
        assert slot(device, 0, len(OLD)) == OLD
        assert slot(device, 1, len(NEW)) == NEW
        state = ask(device)
        assert (state["a"], state["x"], state["t"], state["o"]) == ("b", [], None, [0, 2]), (operation, kind)
        assert entries(device)[1].state == State.VALID
        # What had come is not fetched again, but for the block that the cut may have torn.
        firmware = [first for first, count in log if first + count == len(NEW)]
        assert len(firmware) <= 2, log
        if operation == middle:
            assert firmware[1] >= len(NEW) // 4, log


@pytest.mark.slow
@pytest.mark.timeout(3600 if MANY else 300)
def test_the_way_back_arrives_as_well(product: Product, device: SimDevice) -> None:
    publish(product, "2.0.0", 2, NEW, CRASHING)
    served(product)
    life = Life(device, r"back to the one before\n(.*\n)*?app 1.0.0 on ota_0")
    marked = life.of(*OTADATA)
    for operation, kind in spread(life, [marked[8] - 3, marked[9]]):
        life.cut(operation, kind)
        device.run_until("app 1.0.0 on ota_0", 90)
        assert fits_together(device.console())
        state = ask(device)
        assert (state["a"], state["t"], state["x"]) == ("a", None, [[0, 2]]), (operation, kind)
        assert entries(device)[0].state in (State.VALID, State.PENDING_VERIFY), "valid, or just started"


def test_a_good_firmware_that_only_loses_power_is_tried_again(product: Product, device: SimDevice) -> None:
    """Cut after cut at its very first start: never failed; after ten of them the old release runs, and it waits."""
    publish(product, "2.0.0", 2, NEW)
    served(product)
    life = Life(device, r"release \[0, 2\] confirmed")
    life.cut(life.of(*OTADATA)[5], "after")
    for losses in range(1, TRIAL_POWER_LOSSES):
        # Of this start: the bootloader gives the trial up; the old firmware charges the loss and has it tried again;
        # the bootloader marks the trial. Where that is depends on whether littlefs had to move the state meanwhile.
        life = Life(device, life.end)
        assert "lost power too often" not in device.console(), losses
        life.cut(life.of(*OTADATA)[5], "after")
    device.run_until("app 1.0.0 on ota_0", 60)
    assert "lost power too often" in device.console()
    state = ask(device)
    assert (state["a"], state["x"], state["w"]) == ("a", [], [0, 2])
    assert slot(device, 1, len(NEW)) == NEW
