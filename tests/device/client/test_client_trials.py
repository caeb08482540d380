"""Trials on a simulated device, with nobody on the network: who is charged, who is confirmed, and when."""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heirloom.device.manifest import Manifest

pytest.importorskip("littlefs")
from littlefs import LittleFS

from heirloom.boards import load
from heirloom.hil import provision
from heirloom.hil.sim import SimDevice

BOARD = "SIM_RPI_PICO_W"
TIMING = {"check_after_s": 1, "check_every_s": 1, "trial_timeout_s": 3, "alive_s": 2}
STATE = "import json, heirloom_boot\nprint(json.dumps(heirloom_boot.load()))"

BLOCKING = "import time\nprint('alive')\nwhile True:\n    time.sleep_ms(50)\n"
LOOPING = """import asyncio
async def run():
    print('alive')
    while True:
        await asyncio.sleep_ms(50)
asyncio.run(run())
"""

NewDevice = Callable[..., SimDevice]


def release(source: str, sequence: int, **more: Any) -> tuple[Manifest, dict[str, bytes]]:
    data = source.encode()
    sha256 = hashlib.sha256(data)
    files = [("main.py", len(data), sha256.digest())]
    identity = {"product": "p", "board": BOARD, "version": f"{sequence}.0", "epoch": 0, "sequence": sequence}
    return Manifest(**identity, files=files, **more), {f"/heirloom/blobs/{sha256.hexdigest()}": data}


def state_file(state: dict[str, Any]) -> bytes:
    line = json.dumps(state).encode()
    return b"%s\n%08x\n" % (line, zlib.crc32(line))


@pytest.fixture
def on_trial(micropython: Path, tmp_path: Path) -> Iterator[NewDevice]:
    """Makes a device with release 1 confirmed and the given application on trial as release 2."""
    devices: list[SimDevice] = []

    def make(
        source: str, confirm: str | int = "check", extra: dict[str, bytes] | None = None, **state: Any
    ) -> SimDevice:
        device = SimDevice.create(tmp_path / "device", BOARD)
        identity = provision.Identity.new(device.id)
        content = dict(extra or {})
        for slot, (manifest, blobs) in {
            "a": release(BLOCKING.replace("alive", "old"), 1),
            "b": release(source, 2, confirm=confirm, floor=1),
        }.items():
            content |= {f"/heirloom/slots/{slot}.cbor": manifest.encode(), **blobs}
        start = {"v": 1, "a": "b", "f": "a", "t": [3, 10, 0], "y": [0, 2, 1, confirm], "o": [0, 1], "h": 2, "s": 0}
        content["/heirloom/state"] = state_file(start | state)
        image = provision.build_filesystem(load(BOARD), "p", b"{}", [], "stable", identity, TIMING)
        device.write_filesystem(with_files(image, content))
        devices.append(device)
        return device

    yield make
    for device in devices:
        device.close()


def with_files(image: bytes, content: dict[str, bytes]) -> bytes:
    layout = load(BOARD).flash
    filesystem = LittleFS(block_size=layout.block_size, block_count=layout.block_count, mount=False)
    filesystem.context.buffer[:] = image
    filesystem.mount()
    for path, data in content.items():
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        with filesystem.open(path, "wb") as file:
            file.write(data)
    return bytes(filesystem.context.buffer)


def state_of(device: SimDevice) -> dict[str, Any]:
    """The state on flash; the device is off afterwards."""
    device.power_off()
    device.power_on(hold_repl=True)
    device.wait_for("raw REPL|>>>|>")
    state: dict[str, Any] = json.loads(device.exec(STATE))
    device.power_off()
    return state


@pytest.mark.parametrize("source", [BLOCKING, LOOPING])
def test_seconds(source: str, on_trial: NewDevice) -> None:
    device = on_trial(source, 1)
    device.run_until("alive")
    device.wait_for(r"release \[0, 2\] confirmed", 20)
    state = state_of(device)
    assert (state["t"], state["o"], state["l"], state["f"]) == (None, [0, 2], [0, 1], "a")


def test_the_application_confirms_itself(on_trial: NewDevice) -> None:
    says = "from heirloom.device import trial\nprint(trial.running())\ntrial.confirm()\nprint(trial.running())\n"
    device = on_trial(says + LOOPING, "app")
    device.run_until("True\nheirloom: release .* confirmed\nFalse\nalive")
    assert state_of(device)["o"] == [0, 2]


def test_without_its_word_nothing_is_confirmed(on_trial: NewDevice) -> None:
    device = on_trial(LOOPING, "app")
    device.run_until("alive")
    device.run_until("alive", 30)  # the watchdog bit
    assert state_of(device)["t"][0] == 2


def test_a_check_that_nobody_answers_confirms_nothing(on_trial: NewDevice) -> None:
    device = on_trial(LOOPING)
    device.run_until("alive")
    device.wait_for("alive", 30)  # the watchdog bit at the deadline
    assert state_of(device)["t"][0] == 2


def test_an_application_without_a_loop_lives_long_enough(on_trial: NewDevice) -> None:
    """The client had checked before it started, and an event loop never ran: living `alive_s` is what is left."""
    device = on_trial(BLOCKING)
    device.run_until("alive")
    device.wait_for(r"release \[0, 2\] confirmed", 20)
    assert state_of(device)["s"] == 1


def test_the_watchdog_bites_an_application_that_hangs(on_trial: NewDevice) -> None:
    device = on_trial(LOOPING, "app", t=[1, 10, 0])
    device.run_until("alive")
    device.wait_for("back to the one before", 40)
    device.wait_for("^old", 20)
    state = state_of(device)
    assert (state["a"], state["f"], state["t"], state["x"]) == ("a", None, None, [[0, 2]])


def test_power_loss_is_charged_to_its_own_budget(on_trial: NewDevice) -> None:
    device = on_trial(LOOPING, "app")
    for losses in range(1, 4):
        device.run_until("alive")
        device.power_off()
        assert state_of(device)["t"] == [3, 11 - losses, 1]


def test_power_loss_alone_never_fails_a_release(on_trial: NewDevice) -> None:
    device = on_trial(LOOPING, "app", t=[3, 1, 1])
    device.run_until("^old")
    state = state_of(device)
    assert (state["a"], state["x"], state["w"]) == ("a", [], [0, 2])


def test_an_orderly_reset_costs_nothing(on_trial: NewDevice) -> None:
    source = "from heirloom.device import trial\nimport machine\nprint('alive')\ntrial.orderly()\nmachine.reset()\n"
    device = on_trial(source, "app")
    device.run_until("alive")
    for _ in range(4):
        device.wait_for("alive")
    assert state_of(device)["t"][:2] == [3, 10]


def test_a_failed_health_check_ends_the_trial_at_once(on_trial: NewDevice) -> None:
    device = on_trial("from heirloom.device import trial\ntrial.fail('no sensor answers')\n", "app")
    device.run_until("health check: no sensor answers")
    device.wait_for("^old")
    assert state_of(device)["x"] == [[0, 2]]


@pytest.mark.parametrize("source", ["1 / 0", "pass", "import sys\nsys.exit()", "raise SystemExit"])
def test_an_application_that_ends_is_tried_three_times(source: str, on_trial: NewDevice) -> None:
    device = on_trial(f"print('try')\n{source}\n", "app")
    device.run_until("^old", 40)
    assert device.console().count("try") == 3
    assert state_of(device)["x"] == [[0, 2]]


def test_without_a_fallback_the_device_recovers(on_trial: NewDevice) -> None:
    device = on_trial("1 / 0", "app", f=None)
    device.run_until("nothing is installed; press Ctrl-C for the REPL", 40)
    assert device.exec("print(6 * 7)").strip() == "42"
    assert state_of(device)["a"] is None


WITHOUT_MEMORY = b"def connect(): bytearray(1 << 24)"


def test_a_heap_in_pieces_does_not_keep_the_recovery_from_starting_afresh(on_trial: NewDevice) -> None:
    extra = {"/lib/heirloom/device/network.py": WITHOUT_MEMORY}
    device = on_trial("", "app", extra, a=None, f=None, t=None, y=None, h=0)
    device.run_until("memory allocation failed", 40)
    device.wait_for("nothing is installed")
    boots = device.boots
    device.wait_for("memory allocation failed", 40)
    assert device.boots == boots + 1


FILLING = """import os, time, machine
print('alive')
def fill(name, data):
    number = 0
    try:
        while True:
            with open('/%s%d' % (name, number), 'wb') as file:
                file.write(data)
            number += 1
    except OSError:
        print('full of', name, number)
if 'large0' not in os.listdir('/'):
    fill('large', bytes(4096))
fill('small%d-' % len(os.listdir('/')), b'x')
time.sleep_ms(200)
machine.reset()
"""


@pytest.mark.parametrize("trial", [False, True])
def test_a_flash_that_the_application_filled_does_not_keep_it_from_starting(trial: bool, on_trial: NewDevice) -> None:
    settled: dict[str, Any] = {} if trial else {"t": None, "y": None, "f": None, "o": [0, 2]}
    device = on_trial(FILLING, **settled)
    device.run_until("full of small")
    for _ in range(4):
        said = device.wait_for("alive|old|cannot run", 20).group()
        assert said != "cannot run", device.console()
        if said == "old":
            break


def test_a_state_that_cannot_be_saved_does_not_keep_the_application_from_starting(on_trial: NewDevice) -> None:
    in_the_way = {"/heirloom/state.new/file": b"x"}  # so that writing the state fails
    device = on_trial(LOOPING, extra=in_the_way, t=None, y=None, f=None, o=[0, 2])
    device.run_until("cannot save the state: OSError")
    device.wait_for("alive")


def test_a_way_back_that_cannot_be_saved_is_no_circle_of_resets(on_trial: NewDevice) -> None:
    in_the_way = {"/heirloom/state.new/file": b"x"}
    device = on_trial(LOOPING, extra=in_the_way, t=[1, 10, 1])  # its last start was not ended
    device.run_until("back to the one before")
    device.wait_for("cannot run: OSError")
    device.wait_for("press Ctrl-C for the REPL")
