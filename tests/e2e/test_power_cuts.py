"""Power fails at, inside and after flash operations of an update: the old release or the new one, and it goes on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from e2e_world import CONFIRMED, World

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import Unit
from heirloom.hil.sim import CutKind

# They mostly wait for timers, so more of them than there are cores.
AT_ONCE = 6
SAMPLES = 18
KINDS: list[CutKind] = ["before", "torn", "after"]


def update(unit: Unit) -> None:
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)


def survive(world: World, directory: Path, operation: int, kind: CutKind) -> str | None:
    """One cut in the middle of an update. Returns what went wrong, or None."""
    unit = world.unit(directory, "1.0.0")
    try:
        unit.sim.cut_power_at(operation, kind)
        unit.power_on()
        unit.sim.wait_off(20)
        report = unit.report()
        active = report["active"] or {}
        if active.get("version") not in ("1.0.0", "1.1.0"):
            return f"after the cut it has {active}"
        if unit.damaged_files(active["slot"]) != []:
            return f"after the cut, files of {active['version']} are damaged"
        unit.power_on()
        unit.wait_for(r" hPa")
        unit.power_off()
        if unit.report()["confirmed"] != world.shops["1.1.0"].order("1.1.0"):
            update(unit)
        report = unit.report()
        if report["active"]["version"] != "1.1.0" or report["failed"]:
            return f"it did not go on: {report['active']}, failed {report['failed']}"
    except HeirloomError as exc:
        return f"{exc.message}; {exc.advice}"
    finally:
        unit.sim.close()
    return None


@pytest.mark.slow
def test_cuts_spread_over_the_whole_update(world: World, tmp_path: Path) -> None:
    world.serve("1.1.0")
    whole = world.unit(tmp_path / "whole", "1.0.0")
    update(whole)
    operations = whole.sim.flash.operations
    whole.sim.close()
    assert operations > SAMPLES

    points = [1 + number * (operations - 2) // (SAMPLES - 1) for number in range(SAMPLES)]
    cuts = [(operation, KINDS[number % len(KINDS)]) for number, operation in enumerate(points)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {cut: pool.submit(survive, world, tmp_path / f"cut{cut[0]}", *cut) for cut in cuts}
        seen = {cut: job.result() for cut, job in jobs.items()}
    assert {cut: what for cut, what in seen.items() if what is not None} == {}
