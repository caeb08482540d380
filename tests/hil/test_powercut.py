"""The sweep of power cuts: it computes what a flash does, devices survive a sample, and it finds what is wrong."""

import dataclasses
import json
import os
import random
import time
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom import boards
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.extras import missing
from heirloom.hil import provision
from heirloom.hil.powercut import campaign, cuts, facts, hunt, record, scene, unstable
from heirloom.hil.powercut.campaign import Plan
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.judge import Judge, flash_at
from heirloom.hil.powercut.lives import ADOPTED, ESP32, LIVES
from heirloom.hil.powercut.medium import Medium
from heirloom.hil.powercut.mutants import MUTANTS
from heirloom.hil.powercut.replay import parse, replay
from heirloom.hil.powercut.scene import Scene
from heirloom.hil.reporting import collect
from heirloom.hil.sim.page import Operation

if TYPE_CHECKING:
    from heirloom.hil.sim import SimDevice

BLOCK = 4096
SEED = int(os.environ["HEIRLOOM_SEED"])  # tests/conftest.py
SAMPLE = int(os.environ.get("HEIRLOOM_POWERCUT", "700"))  # cuts in each life
STARTS = 0 if "HEIRLOOM_POWERCUT" in os.environ else 7  # devices in each life; 0: all
ESP32_LIVES = not missing("flash")
ALL_MUTANTS = os.environ.get("HEIRLOOM_MUTANTS") == "all"
WRITE = (
    "import os\nwith open('new', 'w') as file:\n    file.write('x' * 3000)\nos.rename('new', 'old')\nprint('done')\n"
)
READINGS = """
import rp2
flash = rp2.Flash()
def read():
    buffer = bytearray(64)
    flash.readblocks(block, buffer, 0)
    return bytes(buffer)
print(len({read() for _ in range(8)}) > 4, all(read()[i] | 15 == 255 for i in range(64)))
print(read()[:16] == bytes([255] * 16) == read()[48:])
flash.ioctl(6, block)
print(len({read() for _ in range(8)}))
"""


def quiet(_: str) -> None:
    """Nobody watches."""


def test_the_record_of_a_run_leads_to_its_flash(make_device: Any) -> None:
    device: SimDevice = make_device({"main.py": WRITE})
    cells = bytearray(device.filesystem_image())
    device.record_flash()
    device.run_until("done")
    device.power_off()
    operations = device.recorded_flash()
    assert len(operations) == device.flash.operations > 10
    for operation in operations:
        cuts.apply(cells, operation, BLOCK)
    assert bytes(cells) == device.filesystem_image()
    assert lfs.read(device.board.flash, cells)["/old"] == b"x" * 3000


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_a_computed_cut_is_what_the_simulated_flash_makes_of_it(make_device: Any, fraction: float) -> None:
    device: SimDevice = make_device({"main.py": WRITE})
    first = device.filesystem_image()
    device.record_flash()
    device.run_until("done")
    device.power_off()
    operations = device.recorded_flash()
    for at in range(0, len(operations), 3):
        device.write_filesystem(first)
        device.cut_power_at(at + 1, "torn", fraction=fraction)
        device.power_on()
        device.wait_off()
        cells = bytearray(first)
        for operation in operations[:at]:
            cuts.apply(cells, operation, BLOCK)
        length = len(operations[at].data) or BLOCK
        cuts.tear(cells, operations[at], Cut(at, "prefix", int(length * fraction)), BLOCK)
        assert bytes(cells) == device.filesystem_image(), at


@given(st.binary(min_size=256, max_size=256), st.binary(max_size=256), st.integers(0, 2**31))
def test_torn_bits_lie_between_before_and_after(before: bytes, data: bytes, seed: int) -> None:
    programmed = bytes(old & new for old, new in zip(before, data, strict=False))  # as flash allows
    for operation in (Operation(0, programmed), Operation(0, b"")) if programmed else (Operation(0, b""),):
        cells = bytearray(before)
        undone = cuts.tear(cells, operation, Cut(0, "bits", seed), len(before))
        after = operation.data or b"\xff" * len(before)
        for old, now, new in zip(undone, cells, after, strict=False):
            assert not (now ^ old) & ~(old ^ new)
        assert undone == before[: len(undone)]


@given(st.integers(1, 400), st.integers(0, 2**31))
def test_chosen_cuts_differ_and_come_in_order(number: int, seed: int) -> None:
    operations = [Operation(0, b"12345678"), Operation(0, b""), Operation(4096, b"1234")] * 5
    chosen = list(cuts.choose(operations, number, seed, BLOCK))
    assert len(set(chosen)) == len(chosen) == number
    assert [cut.at for cut in chosen] == sorted(cut.at for cut in chosen)
    assert chosen == list(cuts.choose(operations, number, seed, BLOCK))
    assert [Cut.parse(str(cut)) for cut in chosen] == chosen
    if number >= 61:  # before each of them, after the last, and at least three inside each
        assert {(cut.at, cut.kind) for cut in chosen} >= {(at, kind) for at in range(15) for kind in ("before", "bits")}


def test_facts_tell_what_is_wrong() -> None:
    nothing = facts.read({})
    assert (nothing.runs, nothing.wrong, nothing.trial) == (None, (), None)
    assert facts.read({"/heirloom/state": b'{"a":"a"}\n00000000\n'}).wrong == ("the state is damaged",)
    later = facts.read({"/heirloom/trust/root.json": b'{"signed": {"version": 3}}'})
    assert nothing.went_back(later) == ["trusted root went from [3] back to [0]"]
    assert later.went_back(nothing) == []


def test_facts_tell_what_cannot_follow() -> None:
    trial = {"n": 1, "a": "a", "t": [3, 10, 0], "y": [0, 2, 1, "check"], "x": [[0, 1]]}
    before = _facts(trial)
    assert before.trial == (0, 2)
    assert _facts({**trial, "t": None, "o": [0, 2]}).follows(before) == []
    assert _facts({**trial, "t": None, "x": [[0, 1], [0, 2]]}).follows(before) == []
    assert _facts({**trial, "t": None}).follows(before) == ["the trial of [0, 2] has ended, and nothing says how"]
    assert "are remembered" in _facts({**trial, "x": []}).follows(before)[0]
    assert "no start of it is written down" in _facts(trial, {"/data/s": b"1"}).follows(before)[0]
    assert _facts({**trial, "t": [3, 10, 1]}, {"/data/s": b"1"}).follows(before) == []


def _facts(state: dict[str, object], more: dict[str, bytes] | None = None) -> facts.Facts:
    line = json.dumps(state).encode()
    return facts.read({"/heirloom/state": line + b"\n%08x\n" % zlib.crc32(line), **(more or {})})


def test_who_speaks_again_begins_again() -> None:
    life = next(life for life in LIVES if life.name == "owner")
    medium = Medium(boards.load("SIM_RPI_PICO_W"))
    nothing = facts.read({})
    ask, off = (dataclasses.replace(nothing, owner=word) for word in ("ask", "off"))
    back = "the owner's switch for updates went from off back to ask"
    assert back in Judge(medium, life).wrong(ask, off)
    assert back not in Judge(medium, life, again=True).wrong(ask, off)
    assert any("back to on" in wrong for wrong in Judge(medium, life, again=True).wrong(nothing, off))


def test_half_an_adoption_is_told() -> None:
    life = next(life for life in LIVES if life.adopts)
    judge = Judge(Medium(boards.load("SIM_RPI_PICO_W")), life)
    marks = {**facts.read({}).marks, "trusted root": (4,), "confirmed order": (0, 7)}
    before = dataclasses.replace(facts.read({}), runs="1.6.0", secret="old", marks=marks)
    after = dataclasses.replace(before, secret=life.secret, marks=facts.read({}).marks | {"trusted root": ADOPTED})
    back = "trusted root went from [4] back to [1]"
    assert judge.wrong(before, before) == ()
    assert judge.wrong(after, dataclasses.replace(before, owed=True)) == ()
    assert back in judge.wrong(after, before), "only what a person wrote down lets it forget"
    half = dataclasses.replace(after, secret="old")
    assert judge.wrong(half, dataclasses.replace(before, owed=True)) == (
        "half of the device belongs to who adopted it",
    )
    assert judge.wrong(dataclasses.replace(half, owed=True), dataclasses.replace(before, owed=True)) == ()


def test_what_the_application_wrote_tells_two_devices_apart() -> None:
    assert len({facts.read(written).digest for written in ({}, {"/data/s": b""}, {"/data/s": b"{}"})}) == 3


@pytest.mark.parametrize(
    "case", ["", "install", "nobody/1:before:0", "install/1:never:0", "install/1", "install/x:bits:0"]
)
def test_what_is_no_case_is_refused(case: str) -> None:
    with pytest.raises(UsageError):
        parse(case)


@dataclass
class Stage:
    """The product, its lives recorded, and the sweep's folder."""

    scene: Scene
    plan: Plan
    folder: Path


@pytest.fixture(scope="module")
def stage(micropython: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    del micropython
    folder = tmp_path_factory.mktemp("sweep")
    lives = scene.named([])
    plan = Plan(tuple(life.name for life in lives), SAMPLE, 0, SEED, STARTS)
    print("seed", SEED)
    with campaign.prepare(plan, folder, lives, quiet) as made:
        yield Stage(made, plan, folder)


@pytest.mark.slow
def test_a_chip_without_firmware_is_told(stage: Stage) -> None:
    if not ESP32_LIVES:
        pytest.skip("esptool is not installed: no images of an ESP32")
    life = next(life for life in LIVES if life.name == "firmware")
    judge, (start, _) = stage.scene.judge(life), record.load(stage.folder / "records" / "firmware.z")
    whole = judge.look(start)
    assert (whole.facts.firmware, whole.facts.wrong) == ("ota_0", ())
    table = boards.load(ESP32).partitions
    assert table is not None
    place = table.ota_slots[0].offset + 5000
    assert whole.read[place // 256]
    broken = judge.look(start[:place] + bytes([start[place] ^ 1]) + start[place + 1 :]).facts
    assert broken.wrong[0].startswith("no firmware starts: ota_0 is not bootable")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_littlefs_does_not_read_cannot_matter(stage: Stage) -> None:
    """The judge reads a flash anew only where a cut touches what littlefs read; that must not change a verdict."""
    coin = random.Random(SEED)
    for life in scene.named(stage.plan.lives):
        start, operations = record.load(stage.folder / "records" / f"{life.name}.z")
        judge = stage.scene.judge(life)
        cases = list(_kept(judge, start, operations, len(operations) + 150))
        skipped = [case for case in cases if not case[3]]
        for cut, wrong, digest, _ in coin.sample(skipped, min(8, len(skipped))):
            assert wrong == ()
            assert judge.look(flash_at(start, operations, cut, BLOCK)).facts.digest == digest, (SEED, life.name, cut)


def _kept(
    judge: Judge, start: bytes, operations: list[Operation], number: int
) -> Iterator[tuple[Cut, Any, bytes, bool]]:
    for case in judge.cases(start, operations, cuts.choose(operations, number, SEED, BLOCK)):
        assert case.facts is not None
        yield case.cut, case.wrong, case.facts.digest, case.mounted


@pytest.mark.slow
@pytest.mark.timeout(1200)  # quiet: half a minute
def test_no_device_is_lost(stage: Stage) -> None:
    result = campaign.sweep(stage.plan, stage.folder, stage.scene, quiet, time.monotonic())
    total = result.total
    print(f"{total.cuts} cuts, {total.starts} starts in {result.seconds:.0f} s, seed {SEED}")
    assert total.problems == {}, f"seed {SEED}: HEIRLOOM_SEED={SEED}"
    assert total.cuts > 0.75 * SAMPLE * len(stage.plan.lives)  # some leave the same bytes as another
    assert set(result.lives) == set(stage.plan.lives)
    for tally in result.lives.values():
        assert tally.starts >= min(STARTS or 1, tally.different) > 0
    if ESP32_LIVES:
        assert {"firmware download", "firmware switch"} <= set(total.phases)
    phases = {
        "provision",
        "check",
        "metadata save",
        "root rotation",
        "download",
        "activation",
        "trial",
        "confirm",
        "rollback",
    }
    assert phases | {"garbage collection", "owner change", "key tables"} <= set(total.phases)
    _documents(stage, total.cuts)
    # Once more, it goes on where it was: there is nothing left to do.
    again = campaign.sweep(stage.plan, stage.folder, stage.scene, quiet, time.monotonic())
    assert again.lives == result.lives
    with pytest.raises(HeirloomError, match="another seed"):
        campaign.run(dataclasses.replace(stage.plan, seed=SEED + 1), stage.folder, quiet)


def _documents(stage: Stage, number: int) -> None:
    folder = stage.folder
    suite = ET.fromstring((folder / "junit.xml").read_bytes())
    assert (suite.get("tests"), suite.get("failures")) == (str(len(stage.plan.lives)), "0")
    assert f'name="seed" value="{SEED}"' in (folder / "junit.xml").read_text()
    page = collect(folder).powercuts
    assert page is not None
    assert sum(count for phase in page.phases for _, _, _, count in phase.cells) == number


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_case_comes_again(stage: Stage) -> None:
    told: list[str] = []
    for case in ("update/90:before:0", "update/90:bits:7", "update/60:before:0/20:prefix:100"):
        found = replay(case, stage.scene, stage.folder, told.append)
        assert (found.wrong, found.reached) == ([], True), found.console[-2000:]
        first = Path(found.flash).read_bytes()
        assert first != record.load(stage.folder / "records" / "update.z")[0]
        if case.count("/") == 1:
            assert first == flash_at(*record.load(stage.folder / "records" / "update.z"), Cut.parse(case[7:]), BLOCK)
    with pytest.raises(UsageError, match="flash operations"):
        replay("update/99999:before:0", stage.scene, stage.folder, quiet)


@pytest.mark.slow
@pytest.mark.timeout(3600 if ALL_MUTANTS else 600)
def test_mistakes_of_the_client_are_found(stage: Stage, tmp_path: Path) -> None:
    """Two by default, others each time; HEIRLOOM_MUTANTS=all: each of them."""
    sample = MUTANTS if ALL_MUTANTS else random.Random(SEED).sample([one for one in MUTANTS if not one.survives], 2)
    plan = dataclasses.replace(stage.plan, cuts=400, starts=0)
    (tmp_path / "records").symlink_to(stage.folder / "records")
    verdicts = [hunt.hunt_one(stage.scene, mutant, plan, tmp_path) for mutant in sample]
    survivors = [verdict.mutant for verdict in verdicts if not verdict.expected]
    assert survivors == [], f"seed {SEED}"
    assert not any("/" not in verdict.killed for verdict in verdicts if verdict.killed), "it needs no sweep to find it"


def test_every_mutant_fits_the_client() -> None:
    sources = {**provision.client_sources(), "heirloom_boot": _chooser()}
    for mutant in MUTANTS:
        assert mutant.edit(mutant.module, sources[mutant.module]) != sources[mutant.module]
        assert mutant.life in {life.name for life in LIVES}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 23
    with pytest.raises(ValueError, match="change the mutant"):
        MUTANTS[0].edit(MUTANTS[0].module, "print(1)")


def _chooser() -> str:
    return (files("heirloom.device") / "rootfs" / "lib" / "heirloom_boot.py").read_text()


def test_unstable_cells_read_differently_until_they_are_erased(make_device: Any) -> None:
    device: SimDevice = make_device({"main.py": ""})
    block = device.board.flash.block_count - 1
    device.make_unstable(block * BLOCK + 16, b"\x0f" * 32, 5)
    device.run_until(">>> ")
    said = device.exec(f"block = {block}\n{READINGS}")
    assert said.split() == ["True", "True", "True", "1"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_losses_to_unstable_cells_are_explained(stage: Stage) -> None:
    life = next(life for life in LIVES if life.name == "update")
    start, operations = record.load(stage.folder / "records" / "update.z")
    found = unstable.cases(stage.scene, life, start, operations, 40, SEED)
    assert len({one.case for one in found}) == len(found) > 20
    owner = next(life for life in LIVES if life.name == "owner")
    findings = unstable.Findings(SEED)
    unstable.sweep_life(stage.scene, owner, stage.folder, 12, stage.plan, findings)
    assert 0 < findings.cuts <= 12
    assert findings.starts == findings.read >= findings.wavering
    for why in findings.losses.values():
        assert "littlefs takes two readings to be the same" in why
