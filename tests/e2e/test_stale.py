"""A repository that nobody has kept for years: refused, until the owner stands beside the device and takes it, once."""

import re
from dataclasses import replace

from e2e_world import CONFIRMED, NewUnit, World

from heirloom.hil import devices
from heirloom.hil.demo.wire import Attack, Response

TAKEN = r"taken this once, as the owner wants it"


def years_later(date: str = "Fri, 01 Jan 2038 00:00:00 GMT") -> Attack:
    """Nothing is false but the time: what a web host says of its own clock."""

    def change(_: str, truth: Response) -> Response:
        headers = [(name, value) for name, value in truth.headers if name.lower() != "date"]
        return replace(truth, headers=[*headers, ("Date", date)])

    return change


def test_a_present_owner_updates_from_a_repository_that_has_expired(world: World, new_unit: NewUnit) -> None:
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    world.wire.attack = years_later()
    unit.power_on()
    unit.wait_for(r"E_STALE: root has expired on [^\n]*the network's clock says 2038-01-01T00:00:00Z")
    unit.settle()
    assert not re.search(r"^heirloom: (poll: )?E_", unit.sim.console(), re.MULTILINE), "a refusal is said once"
    assert unit.report()["active"]["version"] == "1.0.0"

    devices.accept_stale(unit.sim, 20)
    assert unit.report()["accept_stale"] is True
    unit.power_on()
    unit.wait_for(TAKEN)
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    report = unit.report()
    assert (report["active"]["version"], report["accept_stale"]) == ("1.1.0", False)

    world.serve("1.3.0")
    world.wire.attack = years_later()
    unit.power_on()
    unit.wait_for(r"E_STALE: ")
    unit.settle()
    assert unit.report()["active"]["version"] == "1.1.0"
    assert len(devices.log(unit.sim, 20)["device"].split(TAKEN)) == 2


def test_a_power_cut_in_the_middle_does_not_give_a_second_one(world: World, new_unit: NewUnit) -> None:
    world.serve("1.1.0")
    world.wire.attack = years_later()
    for operations in (6, 14, 30):
        unit = new_unit("1.0.0")
        devices.accept_stale(unit.sim, 20)
        unit.sim.cut_power_at(operations, "torn")
        unit.power_on()
        unit.sim.wait_off(20)
        unit.power_on()
        unit.wait_for(r"E_STALE: |weather 1\.[01]\.0 starting")
        unit.settle()
        unit.power_off()
        assert unit.sim.console().count("taken this once") <= 1
        assert unit.report()["accept_stale"] is False
