"""Install mode "background": the release is fetched while the application runs, and installed after a reset."""

import pytest
from e2e_world import CONFIRMED, NewUnit, World

from heirloom.hil.demo.steps import Workshop, weather


@pytest.mark.slow
def test_a_release_comes_beside_the_application(world: World, new_unit: NewUnit, shop: Workshop) -> None:
    settings = shop.project_dir / "heirloom.toml"
    text = settings.read_text()
    assert '\ninstall = "reboot"\n' in text
    settings.write_text(text.replace('\ninstall = "reboot"\n', '\ninstall = "background"\n'))
    shop.publish("1.1.0", weather("1.1.0"))
    world.shops["background"] = shop
    unit = new_unit("1.0.0")
    world.serve("background")
    mark = world.wire.mark()
    unit.power_on()
    unit.wait_for(r"release 1\.1\.0 will be fetched beside the application")
    unit.wait_for(r"weather 1\.0\.0 starting")
    unit.wait_for(r"[1-9]\d* bytes came beside the application")
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    unit.power_off()
    requests = [one.path for one in world.wire.since(mark).of("/blobs/")]
    assert len(requests) == len(set(requests)) == 2
    report = unit.report()
    assert report["active"]["version"] == "1.1.0"
    assert report["fetched"]["bytes"] == 0
    assert unit.damaged_files(report["active"]["slot"]) == []
