"""Chaos on the wire: whatever a network makes of an answer, a device says so in its own words, installs nothing that
was not verified, needs no more memory, and takes the next good update.

Each run plays some of the tricks, each at one place of an update, by a seed that is printed where something is wrong;
HEIRLOOM_CHAOS=all plays all at all places, the slow ones too; HEIRLOOM_SEED brings a run again.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from e2e_world import World

from heirloom.hil.chaos import TRICKS, ChaosServer, Trick
from heirloom.hil.demo.steps import BOARD, HOST
from heirloom.hil.sim import SimDevice

EVERYTHING = os.environ.get("HEIRLOOM_CHAOS") == "all"
SEED = int(os.environ["HEIRLOOM_SEED"])  # tests/conftest.py
# What is asked for in an update, in this order; all of it is new for a device that runs 1.0.0.
PARTS = {
    "timestamp": r"/timestamp\.json",
    "root": r"/2\.root\.json",
    "snapshot": r"snapshot\.json",
    "role": rf"releases-{BOARD}\.json",
    "manifest": r"/targets/",
    "blob": r"/blobs/",
}
QUICK = [trick for trick in TRICKS.values() if not trick.slow]
SAMPLE = QUICK if EVERYTHING else QUICK[SEED % 4 :: 4]
_UPDATE = """
import gc, heirloom_boot, json
gc.threshold(8192)  # as main.py has it for the client
heirloom_boot.unmount()
heirloom_boot.client("network").connect()
updater = heirloom_boot.client("updater").Updater()
said = {"code": "", "sentence": "", "found": None, "installed": False}
try:
    found = updater.check()
    said["found"] = found and found.version
    said["installed"] = bool(found and updater.install(found))
except heirloom_boot.client("errors").UpdateError as error:
    said["code"], said["sentence"] = error.code, str(error)
except Exception as error:
    said["code"], said["sentence"] = getattr(error, "code", "RAW"), repr(error)
print("=>" + json.dumps(said))
"""


@dataclass
class Yard:
    """A device that runs 1.0.0 before each update, behind a server that plays tricks; 1.1.0 is published."""

    server: ChaosServer
    device: SimDevice
    flash: bytes
    order: list[int] = field(default_factory=list)

    def update(self, trick: Trick | None, part: str, *, keep: bool = False) -> dict[str, Any]:
        """What the device says to one update check and install at its REPL."""
        pattern = re.compile(PARTS[part]) if trick else None
        self.server.choose = lambda path: trick if pattern and pattern.search(path) else None
        self.server.played.clear()
        if not keep:
            self.device.power_off()
            (self.device.directory / "flash.bin").write_bytes(self.flash)
            self.device.power_on(hold_repl=True)
        answer = self.device.exec(_UPDATE, 90 if trick and trick.slow else 40)
        said: dict[str, Any] = json.loads(answer.split("=>")[1])
        return said

    def state(self) -> dict[str, Any]:
        """Of the device, as it lies on flash."""
        answer = self.device.exec("import heirloom_boot, json\nprint(json.dumps(heirloom_boot.current()))")
        found: dict[str, Any] = json.loads(answer)
        return found


@pytest.fixture(scope="module")
def yard(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    world.serve("1.1.0")
    assert world.wire.upstream
    folder = tmp_path_factory.mktemp("chaos") / "device"
    with ChaosServer(world.wire.upstream, seed=SEED) as server:
        device = SimDevice.create(folder, BOARD, hosts={HOST: f"127.0.0.1:{server.port}"})
        with device:
            made = Yard(server, device, world.flashes["1.0.0"])
            said = made.update(None, "blob")
            assert said["installed"], said
            made.order = made.state()["y"][:2]
            yield made


def parts_of(trick: Trick) -> list[str]:
    return list(PARTS) if EVERYTHING else [Random(f"{SEED} {trick.name}").choice(list(PARTS))]


def check(yard: Yard, trick: Trick, part: str) -> None:
    """One trick at one part of an update, then the same update without it."""
    label = f"{trick.name} at {part}, seed {SEED}"
    said = yard.update(trick, part)
    assert any(one.trick for one in yard.server.played), f"{label}: the trick was not played"
    assert said["code"].startswith("E_") or (not said["code"] and not said["sentence"]), f"{label}: {said}"
    state = yard.state()
    if said["installed"]:
        # What was installed is the release that was published, whole: the client hashed every file of it.
        assert (state["y"][:2], said["found"]) == (yard.order, "1.1.0"), label
        assert trick.harm != "error" or part in ("root", "timestamp"), f"{label}: it noticed nothing"
        return
    assert trick.harm != "none", f"{label}: {said['sentence']}"
    assert state["t"] is None, label
    assert state["x"] == [], f"{label}: no release is to blame"
    # "Not modified" is all that a freeze needs; when the timestamp expires, it is noticed.
    quiet = trick.name == "never-modified" and not said["found"]
    assert quiet or len(said["sentence"]) > len(said["code"]) + 10, f"{label}: {said}"
    again = yard.update(None, part, keep=True)
    assert again["installed"], f"{label}: the next good update: {again}"
    assert yard.state()["y"][:2] == yard.order


@pytest.mark.parametrize("trick", SAMPLE, ids=lambda trick: trick.name)
def test_a_trick(yard: Yard, trick: Trick) -> None:
    for part in parts_of(trick):
        check(yard, trick, part)


@pytest.mark.skipif(not EVERYTHING, reason="waits as long as a device does: HEIRLOOM_CHAOS=all")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trick", [trick for trick in TRICKS.values() if trick.slow], ids=lambda trick: trick.name)
def test_a_slow_trick(yard: Yard, trick: Trick) -> None:
    for part in ("timestamp", "manifest", "blob"):
        check(yard, trick, part)


def test_everything_at_once(yard: Yard) -> None:
    """A network that plays another trick on every third request: the device never breaks, and at last it updates."""
    coin, rounds = Random(SEED), 40 if EVERYTHING else 6
    yard.update(None, "blob")
    yard.device.power_off()
    (yard.device.directory / "flash.bin").write_bytes(yard.flash)
    yard.device.power_on(hold_repl=True)
    for _ in range(rounds):
        yard.server.choose = lambda _path: coin.choice(QUICK) if coin.random() < 0.3 else None
        said = json.loads(yard.device.exec(_UPDATE, 60).split("=>")[1])
        assert said["installed"] or said["code"].startswith("E_"), f"seed {SEED}: {said}"
        if said["installed"]:
            break
    assert yard.state()["x"] == []
    if not said["installed"]:
        assert yard.update(None, "blob", keep=True)["installed"], f"seed {SEED}"


def test_a_name_that_is_not_found(world: World, tmp_path: Path) -> None:
    """DNS failure: the device says so, and goes on when the name is there again."""
    with SimDevice.create(tmp_path / "lost", BOARD, hosts={}) as device:
        (device.directory / "flash.bin").write_bytes(world.flashes["1.0.0"])
        device.power_on(hold_repl=True)
        said = json.loads(device.exec(_UPDATE, 40).split("=>")[1])
        assert said["code"] == "E_NETWORK"
        assert "name not found" in said["sentence"]
