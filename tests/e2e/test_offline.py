"""Devices without any network, updated by a stick: bundles made by the program, read by simulated devices."""

import json
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e_world import CONFIRMED, World

from heirloom.cli.errors import HeirloomError
from heirloom.hil import devices, owners
from heirloom.hil.demo.steps import BOARD, Unit, Workshop
from heirloom.hil.sim import SimDevice

Offline = Callable[..., Unit]


@pytest.fixture
def offline(world: World, tmp_path: Path) -> Iterator[Offline]:
    """Makes devices that resolve no name: there is no network for them."""
    with ExitStack() as stack:

        def make(flash: str = "1.0.0", clock: str = "board") -> Unit:
            folder = tmp_path / f"offline{len(list(tmp_path.iterdir()))}"
            sim = SimDevice.create(folder, BOARD, clock=clock)
            (folder / "flash.bin").write_bytes(world.flashes[flash])
            stack.callback(sim.close)
            return Unit(sim)

        yield make


def bundle(shop: Workshop, out: Path, *options: str) -> Path:
    with shop.at_work():
        made = shop.heirloom("bundle", str(out), *options)
    assert made["product"] == "weather"
    return out


def stick_with(shop: Workshop, tmp_path: Path) -> Path:
    return bundle(shop, tmp_path / "stick")


def test_a_stick_updates_a_device_that_has_no_network(world: World, offline: Offline, tmp_path: Path) -> None:
    """And it is confirmed without one: the next fix can come the same way."""
    unit = offline()
    unit.sim.insert(stick_with(world.shops["1.1.0"], tmp_path))
    owners.install_from(unit.sim, "/sd", 20)
    assert unit.report()["media_once"] == "/sd"
    unit.power_on()
    unit.wait_for(r"installed 1\.1\.0")
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    report = unit.report()
    assert (report["active"]["version"], report["media_once"], report["trial"]) == ("1.1.0", None, None)


def test_a_name_that_is_not_found_has_its_sentence(world: World, offline: Offline) -> None:
    """No name server answers, or none knows the name: the release that is there runs on."""
    unit = offline()
    unit.hold()
    unit.sim.exec("import heirloom_boot; heirloom_boot.change(d=1)")
    unit.power_off()
    unit.power_on()
    unit.wait_for(r"E_NETWORK: no place answers: [^\n]*name not found")
    unit.wait_for(r"weather 1\.0\.0 starting")
    assert "name not found" in unit.report()["last_check"]["error"]


def test_pulled_out_at_once_it_is_confirmed_all_the_same(world: World, offline: Offline, tmp_path: Path) -> None:
    unit = offline()
    unit.sim.insert(bundle(world.shops["1.1.0"], tmp_path / "stick" / "heirloom.tar", "--file").parent)
    owners.install_from(unit.sim, "/sd", 20)
    unit.power_on()
    unit.wait_for(r"installed 1\.1\.0")
    unit.power_off()
    unit.sim.eject()
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)


def test_a_bad_release_from_a_stick_undoes_itself_and_stays_away(
    world: World, offline: Offline, tmp_path: Path
) -> None:
    unit = offline("1.1.0")
    unit.sim.insert(stick_with(world.shops["1.2.0"], tmp_path))
    owners.install_from(unit.sim, "/sd", 20)
    unit.power_on()
    unit.wait_for(r"back to the one before")
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.power_off()
    owners.install_from(unit.sim, "/sd", 20)
    unit.power_on()
    unit.wait_for(r"E_FAILED: ")
    report = unit.report()
    assert report["active"]["version"] == "1.1.0"
    assert report["failed"] == [world.shops["1.2.0"].order("1.2.0")]


def test_a_stick_alone_is_not_looked_at(world: World, offline: Offline, tmp_path: Path) -> None:
    """Without a person, or a person's word given before, it means nothing; with it, each new bundle is taken."""
    unit = offline()
    unit.sim.insert(stick_with(world.shops["1.1.0"], tmp_path))
    unit.hold()
    unit.sim.exec("import heirloom_boot; heirloom_boot.change(d=1)")
    unit.power_off()
    unit.power_on()
    unit.wait_for(r"E_NETWORK: no place answers")
    unit.wait_for(r"weather 1\.0\.0 starting")
    unit.settle()
    assert unit.report()["active"]["version"] == "1.0.0"
    owners.ask(unit.sim, "presence.change", {"media": "/sd"}, 20)
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    unit.power_off()
    boots = unit.report()["boots"]
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    assert unit.report()["boots"] == boots + 1, "what was looked at is not looked at again"


def test_updates_are_off_but_the_owner_comes_with_a_stick(world: World, offline: Offline, tmp_path: Path) -> None:
    unit = offline()
    unit.sim.insert(stick_with(world.shops["1.1.0"], tmp_path))
    owners.ask(unit.sim, "presence.change", {"updates": "off", "media": "/sd"}, 20)
    unit.power_on()
    unit.wait_for(r"weather 1\.0\.0 starting")
    unit.settle()
    unit.power_off()
    owners.install_from(unit.sim, "/sd", 20)
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    assert unit.report()["owner"]["updates"] == "off"


def test_eighteen_months_later(world: World, offline: Offline, tmp_path: Path) -> None:
    unit = offline()
    stick = stick_with(world.shops["1.1.0"], tmp_path)
    unit.sim.insert(stick)
    late = "import machine; machine.RTC().datetime((2028, 5, 25, 0, 12, 0, 0, 0))"

    def take(stale: bool) -> str | None:
        with unit.sim.at_repl() as repl:
            repl.exec(late)
            arguments = {"path": "/sd", "stale": stale}
            done = owners.call(repl, "barn", "presence.install_now", arguments, 30)
            return None if done is None else str(done)

    with pytest.raises(HeirloomError, match=r"E_STALE: .* has expired"):
        take(False)
    assert take(True) == "1.1.0"
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")


def test_power_fails_while_it_is_installed_from_a_stick(world: World, offline: Offline, tmp_path: Path) -> None:
    """The old release or the new one, and the wish is used up: the owner still stands there."""
    stick = stick_with(world.shops["1.1.0"], tmp_path)
    for operation in (12, 45):
        unit = offline()
        unit.sim.insert(stick)
        owners.install_from(unit.sim, "/sd", 20)
        unit.sim.cut_power_at(operation, "torn")
        unit.power_on()
        unit.sim.wait_off(30)
        unit.power_on()
        unit.wait_for(r"weather 1\.[01]\.0 starting")
        if unit.report()["active"]["version"] == "1.0.0":
            owners.install_from(unit.sim, "/sd", 20)
        unit.power_on()
        unit.wait_for(r"weather 1\.1\.0 starting")


def test_the_hosts_folder_over_the_serial_line(world: World, offline: Offline, tmp_path: Path) -> None:
    """As docs/bundle.md says it: mpremote mounts the folder, and nothing else is needed."""
    mpremote = shutil.which("mpremote", path=sysconfig.get_path("scripts")) or shutil.which("mpremote")
    if mpremote is None:
        pytest.skip("no `mpremote`: pip install mpremote")
    unit = offline()
    unit.hold()
    stick = stick_with(world.shops["1.1.0"], tmp_path)
    code = "import heirloom_boot; print('installed', heirloom_boot.client('presence').install_now('/remote'))"
    command = [mpremote, "connect", str(unit.sim.tty), "mount", str(stick), "exec", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "installed 1.1.0" in done.stdout, done.stdout + done.stderr
    unit.power_off()
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)


def test_the_command_inserts_a_stick_and_says_the_owners_word(world: World, tmp_path: Path) -> None:
    shop = world.shops["1.1.0"]
    with shop.at_work():
        stick = bundle(shop, tmp_path / "stick")
        made = shop.heirloom("device", "new", "barn")
        (Path(made["directory"]) / "flash.bin").write_bytes(world.flashes["1.0.0"])
        with pytest.raises(HeirloomError, match="there is no stick"):
            shop.heirloom("device", "boot", "barn", "--from-stick")
        done = shop.heirloom("device", "boot", "barn", "--stick", str(stick), "--from-stick")
        assert "confirmed" in done["said"]
        with devices.open_device(shop.project, "barn") as sim:
            report = devices.report(sim, 20)
    active = report["active"]
    assert isinstance(active, dict)
    assert active["version"] == "1.1.0"


def test_what_a_bundle_holds(world: World, tmp_path: Path) -> None:
    """All that one board needs of one moment, and nothing else; the file holds the same."""
    shop = world.shops["1.1.0"]
    with shop.at_work():
        said = shop.heirloom("bundle", str(tmp_path / "stick"), "--board", BOARD, "--channel", "stable")
        assert said["releases"] == {BOARD: ["1.1.0"]}
        shop.heirloom("bundle", str(tmp_path / "heirloom.tar"), "--file", "--release", "1.1.0")
        with pytest.raises(HeirloomError, match="not served"):
            shop.heirloom("bundle", str(tmp_path / "other"), "--release", "1.0.0")
        with pytest.raises(HeirloomError, match="no board"):
            shop.heirloom("bundle", str(tmp_path / "other"), "--board", "RPI_PICO")
        with pytest.raises(HeirloomError, match="exists already"):
            shop.heirloom("bundle", str(tmp_path / "stick"))
    folder = {path.relative_to(tmp_path / "stick").as_posix(): path for path in (tmp_path / "stick").rglob("*")}
    folder = {name: path for name, path in folder.items() if path.is_file()}
    blobs = {name.removeprefix("blobs/") for name in folder if name.startswith("blobs/")}
    patches = {record[2].hex() for record in shop.repository.manifest(BOARD, "1.1.0").patches}
    assert blobs == set(shop.contents("1.1.0")) | patches
    assert {"metadata/1.root.json", "metadata/2.root.json", "metadata/timestamp.json.z"} <= set(folder)
    assert said["files"] == len(folder)
    with tarfile.open(tmp_path / "heirloom.tar") as tar:
        names = [member.name for member in tar]
        assert names[0] == "index.cbor"
        assert set(names[1:]) == set(folder)
        for name, path in folder.items():
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == path.read_bytes()
    assert json.loads(folder["metadata/timestamp.json"].read_bytes())["signed"]["expires"] == said["accepted_until"]
