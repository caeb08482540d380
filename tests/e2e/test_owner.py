"""The owner has the last word: switches by command and by menu, a yes, a new owner, a new root."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from e2e_world import CONFIRMED, World

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.main import call
from heirloom.hil import devices, owners
from heirloom.hil.demo.steps import HOST, Unit, Workshop, weather
from heirloom.signing import keyfile

NAME = "kitchen"
SETTING = """
import json
s = json.load(open("/app/settings.json"))
s["name"] = "Roof"
with open("/app/settings.json", "w") as f:
    json.dump(s, f)
"""


class Home:
    """Where a device of the product stands, and its owner with a laptop."""

    def __init__(self, world: World, shop: Workshop) -> None:
        self.world = world
        self.shop = shop

    def heirloom(self, *argv: str) -> Any:
        return self.shop.heirloom("device", *argv)

    @contextmanager
    def device(self) -> Iterator[Unit]:
        with devices.open_device(self.shop.project, NAME) as sim:
            yield Unit(sim)


@pytest.fixture
def home(world: World, shop: Workshop) -> Home:
    """A device of the product in a project of this test's own; it runs 1.0.0."""
    made = shop.heirloom("device", "new", NAME, "--host", f"{HOST}=127.0.0.1:{world.wire.port}")
    (Path(made["directory"]) / "flash.bin").write_bytes(world.flashes["1.0.0"])
    return Home(world, shop)


def test_ask_waits_and_a_yes_installs(home: Home) -> None:
    said = home.heirloom("owner", NAME, "--updates", "ask")
    assert said["owner"]["updates"] == "ask"
    home.world.serve("1.1.0")
    with home.device() as unit:
        unit.power_on()
        unit.wait_for(r"release 1\.1\.0 (is available|waits)")
        unit.wait_for(r"weather 1\.0\.0 starting")
        unit.settle()
    found = home.heirloom("owner", NAME)
    assert found["waiting"]["version"] == "1.1.0"
    with pytest.raises(HeirloomError, match="E_STATE"):
        home.heirloom("owner", NAME, "--updates", "perhaps")
    assert home.heirloom("owner", NAME, "--approve")["approved"] == "1.1.0"
    with home.device() as unit:
        unit.power_on()
        unit.wait_for(r"weather 1\.1\.0 starting")
        unit.wait_for(CONFIRMED)
        report = unit.report()
    assert (report["active"]["version"], report["waiting"], report["owner"]["updates"]) == ("1.1.0", None, "ask")


def test_every_switch_by_command_and_back(home: Home) -> None:
    options = ["--no-network", "--channel", "beta", "--pin", "1.0.0", "--url", "https://mine.example/", "--tls-only"]
    said = home.heirloom("owner", NAME, "--updates", "off", *options, "--media", "/sd")
    assert said["owner"] == {
        "updates": "off",
        "network": False,
        "channel": "beta",
        "pinned": "1.0.0",
        "url": "https://mine.example/",
        "tls_only": True,
        "media": "/sd",
    }
    back = [word for name in ("channel", "pin", "url", "media") for word in ("--unset", name)]
    said = home.heirloom("owner", NAME, "--updates", "on", "--network", "--no-tls-only", *back)
    assert set(said["owner"].values()) == {"on", True, None, False}
    with pytest.raises(UsageError, match="no such switch"):
        home.heirloom("owner", NAME, "--unset", "updates")
    for option, value in (("--url", "ftp://x/"), ("--channel", "a b"), ("--media", "sd"), ("--pin", "x" * 65)):
        with pytest.raises(HeirloomError, match="E_STATE"):
            home.heirloom("owner", NAME, option, value)
    assert home.heirloom("owner", NAME)["owner"] == said["owner"]


def test_the_menu_over_the_serial_line(home: Home) -> None:
    with home.device() as unit:
        unit.hold()
        unit.sim.send(b"from heirloom.device import menu; menu.run()\r")
        unit.wait_for(r"weather on SIM_RPI_PICO_W, runs 1\.0\.0")
        for question, answer in (
            ("Number, or q to leave: ", "1"),
            (r"Updates \(.*\): ", "ask"),
            ("Number, or q to leave: ", "4"),
            (r"Stay at version \(.*\): ", "bad version"),
            (r"refused: E_STATE: pinned is a version", ""),
            ("Number, or q to leave: ", "q"),
        ):
            unit.wait_for(question)
            if answer:
                unit.sim.send(answer.encode() + b"\r")
        unit.wait_for(r">>> ")
        report = unit.report()
    assert (report["owner"]["updates"], report["owner"]["pinned"]) == ("ask", None)


def test_a_failed_release_is_forgotten(home: Home) -> None:
    home.world.serve("1.2.0")
    with home.device() as unit:
        unit.power_on()
        unit.wait_for(r"back to the one before")
        unit.wait_for(r"weather 1\.0\.0 starting")
    assert home.heirloom("forget", NAME) == {"device": NAME, "forgotten": 1}
    with home.device() as unit:
        assert unit.report()["failed"] == []
        unit.power_on()
        unit.wait_for(r"installed 1\.2\.0")


def test_a_factory_reset_and_a_new_owner(home: Home) -> None:
    home.heirloom("owner", NAME, "--updates", "off")
    with home.device() as unit:
        unit.hold()
        unit.sim.exec(SETTING)
        unit.power_off()
        before = unit.report()
    assert home.heirloom("reset", NAME)["reset"] is True
    with home.device() as unit:
        report = unit.report()
        unit.hold()
        assert "Roof" not in unit.sim.exec("print(open('/app/settings.json').read())"), "as the release brings it"
        assert unit.sim.exec("print(len(open('/heirloom/network.json').read()) > 20)").strip() == "True"
    assert report["owner"]["updates"] == "on"
    for kept in ("active", "floor", "confirmed", "id"):
        assert report[kept] == before[kept]
    identity = home.shop.project.state_dir / "devices" / NAME / devices.IDENTITY
    assert home.heirloom("new-owner", NAME)["new_secret"] is True
    first = json.loads(identity.read_text())["secret"]
    assert identity.stat().st_mode & 0o077 == 0
    home.heirloom("new-owner", NAME)
    with home.device() as unit:
        unit.hold()
        found = unit.sim.exec(
            "import json\nprint(json.load(open('/heirloom/device.json'))['secret'])\n"
            "print(json.load(open('/heirloom/network.json')))"
        ).split("\n")
        assert first not in unit.sim.console()
    assert found[0] == json.loads(identity.read_text())["secret"] != first
    assert found[1] == "{'networks': []}"


@pytest.fixture(scope="module")
def heirs(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """People who go on with the product without any key of the maker's."""
    made = Workshop(tmp_path_factory.mktemp("heirs"), f"http://{HOST}/")
    with made.at_work(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "SCRYPT_N", 2)
        made.found()
        made.publish("2.0.0", weather("1.1.0"))
    return made


@pytest.mark.timeout(90)
def test_adopting_a_device_of_a_maker_who_is_gone(home: Home, heirs: Workshop) -> None:
    world = home.world
    world.shops["heirs"] = heirs
    with home.device() as unit:
        unit.hold()
        unit.sim.exec(SETTING)
        before = unit.report()
    world.serve("heirs")
    with home.device() as unit:
        unit.power_on()
        unit.wait_for(r"E_\w+: ")
        unit.settle()
        assert unit.report()["active"] == before["active"], "over the network nobody adopts it"
    place = home.shop.project.state_dir / "devices" / NAME
    with heirs.at_work():
        kept = heirs.project.state_dir / "devices" / NAME
        kept.parent.mkdir(parents=True)
        place.rename(kept)
        done = heirs.heirloom("device", "adopt", NAME)
        assert (done["product"], done["root"]) == ("weather", 1)
        with devices.open_device(heirs.project, NAME) as sim:
            unit = Unit(sim)
            unit.power_on()
            unit.wait_for(r"installed 2\.0\.0")
            unit.wait_for(r"Roof: ")
            unit.wait_for(CONFIRMED)
            report = unit.report()
    assert (report["active"]["version"], report["floor"]) == ("2.0.0", [0, 0])
    world.shops.pop("heirs")


def test_adopt_asks_and_refuses_what_does_not_fit(home: Home, tmp_path: Path) -> None:
    project = str(home.shop.project_dir)
    with pytest.raises(UsageError, match="nobody to ask"):
        call(["device", "adopt", NAME, "--project", project])
    (tmp_path / "root.json").write_bytes(b"{}")
    with pytest.raises(HeirloomError, match="no valid root metadata"):
        home.heirloom("adopt", NAME, "--root", str(tmp_path / "root.json"))
    with home.device() as unit:
        unit.hold()
        unit.sim.exec("import heirloom_boot; heirloom_boot.change(t=[3,10,0], y=[0,1,0,'check'])")
    with pytest.raises(HeirloomError, match="E_TRIAL"):
        home.heirloom("adopt", NAME)


@pytest.mark.timeout(90)
def test_a_power_cut_while_a_device_is_adopted(home: Home, heirs: Workshop) -> None:
    """The next start has the old root, or finishes with the new one; either way the device runs its release."""
    with heirs.at_work():
        adoption = owners.adoption(heirs.project, None, [], "stable", other_product=False)
    home.world.serve("1.0.0")  # to whom it has adopted, this is a stranger's
    folder = home.shop.project.state_dir / "devices" / NAME
    outcomes = set()
    for operation in (4, 30, 45):
        (folder / "flash.bin").write_bytes(home.world.flashes["1.0.0"])
        with home.device() as unit:
            with suppress(HeirloomError), unit.sim.at_repl() as repl:
                repl.exec("pass")
                unit.sim.cut_power_at(operation, "torn")
                send(repl, adoption)
            unit.sim.disarm()
            unit.power_on()
            unit.wait_for(r"weather 1\.0\.0 starting")
            report = unit.report()
            unit.hold()
            names = json.loads(unit.sim.exec("import os, json; print(json.dumps(os.listdir('/heirloom')))"))
        assert "owed" not in names
        assert report["floor"] == [0, 0]
        outcomes.add(report["confirmed"] == [0, 0])
    assert outcomes == {True, False}


def send(repl: Any, adoption: owners.Adoption) -> None:
    part = base64.b64encode(adoption.root).decode()
    owners.call(repl, NAME, "ownership.receive_root", {"part": part, "first": True}, 20)
    owners.call(repl, NAME, "ownership.adopt", {"product": adoption.product, "urls": adoption.urls}, 20)
