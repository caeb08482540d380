"""The sweep of power cuts: it computes what a flash does, devices survive a sample, and it finds what is wrong."""

import dataclasses
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.boards.images import lfs
from heirloom.hil import provision
from heirloom.hil.powercut import cuts, facts
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.scene import PHASES, Phase, Scene, scene
from heirloom.hil.powercut.sweep import Result, Sweep
from heirloom.hil.sim.page import Operation

if TYPE_CHECKING:
    from heirloom.hil.sim import SimDevice

BLOCK = 4096
SAMPLE = int(os.environ.get("HEIRLOOM_POWERCUT", "700"))  # of each of the four phases
WRITE = (
    "import os\nwith open('new', 'w') as file:\n    file.write('x' * 3000)\nos.rename('new', 'old')\nprint('done')\n"
)


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
    assert len(set(chosen)) == len(chosen) <= number
    assert [cut.at for cut in chosen] == sorted(cut.at for cut in chosen)
    assert chosen == list(cuts.choose(operations, number, seed, BLOCK))
    assert len(chosen) == number or number > 100


def test_facts_tell_what_is_wrong() -> None:
    nothing = facts.read({})
    assert (nothing.runs, nothing.wrong, nothing.trial) == (None, (), False)
    assert facts.read({"/heirloom/state": b'{"a":"a"}\n00000000\n'}).wrong == ("the state is damaged",)
    later = facts.read({"/heirloom/trust/root.json": b'{"signed": {"version": 3}}'})
    assert nothing.went_back(later) == ["trusted root went from [3] back to [0]"]
    assert later.went_back(nothing) == []


def test_what_the_application_wrote_tells_two_devices_apart() -> None:
    assert len({facts.read(written).digest for written in ({}, {"/data/s": b""}, {"/data/s": b"{}"})}) == 3


@pytest.fixture(scope="module")
def made(micropython: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    del micropython
    with scene(tmp_path_factory.mktemp("scene"), quiet) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)  # quiet: half a minute
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_no_device_is_lost(made: Scene, phase: Phase, tmp_path: Path) -> None:
    seed = secrets.randbits(31)
    result = Sweep(made, tmp_path, SAMPLE, 0, seed, 3, quiet).run([phase])
    assert result.problems == {}, f"seed {seed}"
    assert result.cuts > 0.8 * SAMPLE  # some leave the same bytes as another
    assert result.starts > 10


def mutated(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """From now on, devices are provisioned with a client in which that is changed."""
    compiled, tree = provision._compiled, provision._tree

    def change(data: bytes) -> bytes:
        text = data.decode()
        assert text.count(old) == 1, f"{name} changed; change the mutant with it"
        return text.replace(old, new).encode()

    def other_compiled(board: Any, sources: Mapping[str, bytes], build_dir: Path) -> dict[str, bytes]:
        return compiled(board, {key: change(data) if key == name else data for key, data in sources.items()}, build_dir)

    def other_tree(folder: Any, prefix: str) -> list[tuple[str, bytes]]:
        return [(path, change(data) if path == f"lib/{name}" else data) for path, data in tree(folder, prefix)]

    monkeypatch.setattr(provision, "_compiled", other_compiled)
    monkeypatch.setattr(provision, "_tree", other_tree)


MUTANTS = {
    "the old state is removed before the new one has its name": (
        "update",
        "heirloom_boot.py",
        '    os.rename(_STATE + ".new", _STATE)',
        '    exists(_STATE) and os.remove(_STATE)\n    os.rename(_STATE + ".new", _STATE)',
    ),
    "a kept file is empty until its first writing is closed": (
        "install",
        "appfs.py",
        "self._own(path, copy=True)",
        'self._own(path, copy="w" not in mode)',
    ),
    "the state names the new slot before its manifest is there": (
        "update",
        "install.py",
        "    try:\n        os.rename(STAGING, heirloom_boot.slot_path(new))",
        "    _set(a=new, f=None)\n    try:\n        os.rename(STAGING, heirloom_boot.slot_path(new))",
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(300)  # quiet: half a minute
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_of_the_client_is_found(
    mutant: str, made: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, module, old, new = MUTANTS[mutant]
    mutated(monkeypatch, module, old, new)
    other = dataclasses.replace(made, first=made.provisioned())
    result: Result = Sweep(other, tmp_path, 330, 0, 1, 3, quiet, enough=1).run(
        [phase for phase in PHASES if phase.name == name]
    )
    assert result.problems != {}
    assert list((tmp_path / "problems").iterdir()) != []
