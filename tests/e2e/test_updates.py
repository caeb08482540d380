"""A maker's ordinary life: two updates and a rollback. Settings are kept, and only what changed is moved."""

import json
from dataclasses import replace

import pytest
from e2e_world import CONFIRMED, STARTING, NewUnit, World

from heirloom.hil.demo.steps import Unit
from heirloom.hil.demo.wire import Response

SETTINGS = "/data/settings.json"
POLL_LIMIT_BYTES = 1024


def settings(unit: Unit) -> dict[str, object]:
    """The application's own settings; the device is off afterwards."""
    unit.hold()
    text = unit.sim.exec(f"print(open('/app/settings.json').read() == open({SETTINGS!r}).read())")
    assert text.strip() == "True"
    found = json.loads(unit.sim.exec(f"print(open({SETTINGS!r}).read())"))
    unit.power_off()
    assert isinstance(found, dict)
    return found


def rename_station(unit: Unit, name: str) -> None:
    """What an owner does with an editor."""
    unit.hold()
    code = f"import json\ns=json.load(open('/app/settings.json'))\ns['name']={name!r}\n"
    unit.sim.exec(code + "with open('/app/settings.json','w') as f: json.dump(s,f)")
    unit.power_off()


@pytest.mark.timeout(90)
def test_settings_live_through_two_updates_and_a_rollback(world: World, new_unit: NewUnit) -> None:
    unit = new_unit("1.0.0")
    rename_station(unit, "Roof")
    boots = settings(unit)["boots"]
    assert isinstance(boots, int)

    world.serve("1.1.0")
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting, boot \d+")
    unit.wait_for(r"Roof: ")
    unit.wait_for(CONFIRMED)
    assert settings(unit)["name"] == "Roof"

    world.serve("1.2.0")
    unit.power_on()
    unit.wait_for(r"KeyError: storm_drop_hpa")
    unit.wait_for(r"weather 1\.1\.0 starting, boot \d+")
    unit.wait_for(r"Roof: ")
    report = unit.report()
    assert report["active"]["version"] == "1.1.0"
    assert world.shops["1.2.0"].order("1.2.0") in report["failed"]

    world.serve("1.3.0")
    unit.power_on()
    unit.wait_for(r"weather 1\.3\.0 starting, boot \d+")
    unit.wait_for(r"Roof: ")
    unit.wait_for(CONFIRMED)
    kept = settings(unit)
    assert kept["name"] == "Roof"
    assert isinstance(kept["boots"], int)
    assert kept["boots"] >= boots + 6
    assert unit.report()["active"]["version"] == "1.3.0"


def test_an_update_moves_no_unchanged_file(world: World, new_unit: NewUnit) -> None:
    expected, patches = world.shops["1.1.0"].to_fetch("1.1.0", "1.0.0")
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    mark = world.wire.mark()
    unit.power_on()
    unit.wait_for(CONFIRMED)
    traffic = world.wire.since(mark)
    assert traffic.blobs() == expected.keys()
    assert len(expected) == 2
    requests = [one.path for one in traffic.of("/blobs/")]
    assert len(requests) == len(set(requests))
    fetched = unit.report()["fetched"]
    assert fetched["blobs"] == 2
    assert fetched["bytes"] == sum(expected.values())
    assert fetched["patches"] == patches > 0


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_a_patch_that_does_not_come_as_it_was_signed_costs_nothing_but_bytes(
    world: World, new_unit: NewUnit, fault: str
) -> None:
    """The files come in full; without such a fault the patches save bytes."""
    shop = world.shops["1.1.0"]
    before, after = shop.contents("1.0.0"), shop.contents("1.1.0")
    in_full = {sha256: length for sha256, length in after.items() if sha256 not in before}
    by_patch, _ = shop.to_fetch("1.1.0", "1.0.0")
    assert sum(by_patch.values()) < sum(in_full.values())
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    patches = by_patch.keys() - after.keys()

    def attack(path: str, truth: Response) -> Response:
        if path.rpartition("/")[2] not in patches:
            return truth
        return replace(truth, body=truth.body[::-1]) if fault == "changed" else replace(truth, status=404, body=b"")

    world.wire.attack = attack
    mark = world.wire.mark()
    unit.power_on()
    unit.wait_for("instead of its patch")
    unit.wait_for(CONFIRMED)
    assert in_full.keys() <= world.wire.since(mark).blobs()
    report = unit.report()
    assert report["active"]["version"] == "1.1.0"
    assert "patches" not in report["fetched"]
    assert unit.damaged_files(report["active"]["slot"]) == []


def test_an_idle_poll_moves_at_most_one_kibibyte(world: World, new_unit: NewUnit) -> None:
    unit = new_unit("1.1.0")
    world.serve("1.1.0")
    unit.power_on()
    unit.wait_for(STARTING)
    traffic = world.wire.wait_for_polls(world.wire.mark(), 2)
    unit.power_off()
    assert [one.status for one in traffic.exchanges] == [304, 304]
    for one in traffic.exchanges:
        assert "timestamp.json" in one.path
        assert one.sent_bytes + one.received_bytes <= POLL_LIMIT_BYTES


def test_a_failed_release_is_not_fetched_again(world: World, new_unit: NewUnit) -> None:
    unit = new_unit("1.1.0")
    world.serve("1.2.0")
    unit.power_on()
    unit.wait_for(r"back to the one before")
    unit.wait_for(r"weather 1\.1\.0 starting")
    traffic = world.wire.wait_for_polls(world.wire.mark(), 3)
    report = unit.report()
    assert report["active"]["version"] == "1.1.0"
    assert report["trial"] is None
    assert not traffic.blobs()
    assert "KeyError: storm_drop_hpa" in report["traceback"]
