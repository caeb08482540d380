"""The REPL is not a boot: tools that hold a device there spend nothing of a trial."""

import pytest
from e2e_world import NewUnit, World

from heirloom.hil.demo.steps import Unit

SOFT_RESETS = 20


def on_trial(world: World, unit: Unit) -> None:
    """Leaves the device switched off in the middle of a trial: 1.1.0 runs, and nobody answers its check."""
    world.serve("1.1.0")
    unit.power_on()
    unit.wait_for(r"is installed and on trial")
    world.wire.upstream = None
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.power_off()


@pytest.mark.timeout(60)
def test_twenty_soft_resets_spend_no_trial_boot(world: World, new_unit: NewUnit) -> None:
    unit = new_unit("1.0.0")
    on_trial(world, unit)
    before = unit.report()
    assert before["trial"] is not None
    assert before["active"]["version"] == "1.1.0"
    unit.hold()
    unit.sim.exec("print(1)")
    for _ in range(SOFT_RESETS):
        unit.sim.soft_reset()
    assert unit.sim.boots == 1 + SOFT_RESETS
    assert unit.sim.exec("print(2)").strip() == "2"
    after = unit.report()
    assert after["trial"] == before["trial"]
    assert after["boots"] == before["boots"]


@pytest.mark.timeout(60)
def test_ctrl_c_and_a_soft_reset_in_a_trial_cost_nothing(world: World, new_unit: NewUnit) -> None:
    """What mpremote does to a device that runs: Ctrl-C, raw REPL, soft reset."""
    unit = new_unit("1.0.0")
    on_trial(world, unit)
    boots_left = unit.report()["trial"]["boots_left"]
    for _ in range(4):
        unit.power_on()
        unit.wait_for(r"weather 1\.1\.0 starting")
        unit.sim.exec("print(1)")
        unit.sim.soft_reset()
        assert unit.report()["trial"]["boots_left"] == boots_left
    assert unit.report()["active"]["version"] == "1.1.0"
