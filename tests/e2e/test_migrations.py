"""A release migrates what the application keeps: undone by its rollback, committed when it is confirmed."""

import json
import shutil
from pathlib import Path

import pytest
from e2e_world import CONFIRMED, NewUnit, World
from test_updates import rename_station

from heirloom.hil.demo.steps import Unit, Workshop, weather

MIGRATE = """
import json
with open("settings.json") as file:
    settings = json.load(file)
settings["migrated"] = settings.get("migrated", 0) + 1
with open("settings.json", "w") as file:
    json.dump(settings, file)
"""


def kept(unit: Unit) -> dict[str, object]:
    """The settings under /data; the device is off before and afterwards."""
    unit.hold()
    found = json.loads(unit.sim.exec("print(open('/data/settings.json').read())"))
    unit.power_off()
    assert isinstance(found, dict)
    return found


def source(folder: Path, version: str, main: str = "") -> Path:
    shutil.copytree(weather("1.1.0"), folder / version)
    (folder / version / "heirloom_migrate.py").write_text(MIGRATE)
    file = folder / version / "main.py"
    file.write_text(main or file.read_text())
    return folder / version


@pytest.mark.slow
def test_a_migration_lives_and_dies_with_its_release(
    world: World, new_unit: NewUnit, shop: Workshop, tmp_path: Path
) -> None:
    bad = "with open('settings.json') as file:\n    print('seen', file.read())\nraise ValueError('no good')\n"
    world.shops["migrating"] = shop
    shop.publish("2.0.0", source(tmp_path, "2.0.0", bad))
    unit = new_unit("1.0.0")
    rename_station(unit, "Roof")
    world.serve("migrating")
    unit.power_on()
    unit.wait_for(r'seen [^\n]*"migrated": 1')
    unit.wait_for(r"back to the one before")
    unit.wait_for(r"weather 1\.0\.0 starting")
    unit.power_off()
    settings = kept(unit)
    assert settings["name"] == "Roof"
    assert "migrated" not in settings

    shop.publish("2.1.0", source(tmp_path, "2.1.0"))
    unit.power_on()
    unit.wait_for(CONFIRMED)
    unit.power_off()
    assert "migrated" not in kept(unit)
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.power_off()
    settings = kept(unit)
    assert (settings["name"], settings["migrated"]) == ("Roof", 1)
