"""Any file of the client lost or damaged: the device still runs the application, or answers at its REPL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from e2e_world import CONFIRMED, World
from flash_files import filesystem_of, list_files, read_file, with_file

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import Unit

# They mostly wait for timers, so more of them than there are cores.
AT_ONCE = 6
RUNS_WITHIN_S = 12
SHOWN_BY_THE_APPLICATION = r" hPa"
# No need to wait any longer for the application: recovery, the REPL, or a pause after a crash.
STANDS_STILL = r"press Ctrl-C|^>>> |the application raised"


def nothing(_: bytes) -> bytes | None:
    return None


def empty(_: bytes) -> bytes | None:
    return b""


def garbage(content: bytes) -> bytes | None:
    return Random(len(content)).randbytes(max(16, len(content)))


Damage = Callable[[bytes], bytes | None]
DAMAGES: list[Damage] = [nothing, empty, garbage]


def runs(unit: Unit) -> bool:
    try:
        unit.wait_for(f"{SHOWN_BY_THE_APPLICATION}|{STANDS_STILL}", RUNS_WITHIN_S)
        unit.wait_for(SHOWN_BY_THE_APPLICATION, 0.5)
    except HeirloomError:
        return SHOWN_BY_THE_APPLICATION in unit.sim.console()
    return True


def answers(unit: Unit) -> bool:
    return unit.sim.exec("print(6 * 7)").strip() == "42"


def damaged(world: World, path: str, damage: Damage) -> bytes:
    """The file system of a device that runs 1.1.0, with one damaged file. Not to be called in threads: littlefs."""
    image = filesystem_of(world.flashes["1.1.0"])
    return with_file(image, path, damage(read_file(image, path)))


def outcome(world: World, directory: Path, image: bytes) -> str:
    """What becomes of a device with this file system: "runs", "answers", or what went wrong."""
    unit = world.unit(directory, "1.1.0")
    try:
        unit.sim.write_filesystem(image)
        unit.power_on()
        if runs(unit):
            return "runs"
        return "answers" if answers(unit) else "is silent"
    except HeirloomError as exc:
        return f"{exc.message}; {exc.advice}"
    finally:
        unit.sim.close()


Trial = Callable[[World, Path, bytes], str]


def with_each(trial: Trial, paths: list[str], damage: Damage, world: World, directory: Path) -> dict[str, str]:
    """What comes of each damaged file, several devices at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {}
        for number, path in enumerate(paths):
            jobs[path] = pool.submit(trial, world, directory / str(number), damaged(world, path, damage))
        return {path: job.result() for path, job in jobs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["/heirloom", "/lib"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_file_silences_the_device(folder: str, damage: Damage, world: World, tmp_path: Path) -> None:
    world.serve("1.1.0")
    paths = list_files(filesystem_of(world.flashes["1.1.0"]), folder)
    assert len(paths) > 20
    seen = with_each(outcome, paths, damage, world, tmp_path)
    assert {path: what for path, what in seen.items() if what not in ("runs", "answers")} == {}
    must_run = [path for path in paths if path.startswith("/heirloom/trust/") or path == "/heirloom/state"]
    assert {path: seen[path] for path in must_run if seen[path] != "runs"} == {}


@pytest.mark.parametrize("path", ["/boot.py", "/main.py"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_its_first_scripts_it_answers(path: str, damage: Damage, world: World, tmp_path: Path) -> None:
    assert outcome(world, tmp_path / "device", damaged(world, path, damage)) in ("runs", "answers")


HEALS = [
    "/heirloom/state",
    "/heirloom/slots/b.cbor",  # the active one
    "/heirloom/trust/root.json",
    "/heirloom/trust/timestamp.json",
    "/heirloom/trust/snapshot.json",
    "/heirloom/trust/targets.json",
    "/heirloom/trust/time",
    "/heirloom/last",
]


def heals(world: World, directory: Path, image: bytes) -> str:
    """What a device with this file system runs when the next good release was offered, or what went wrong."""
    unit = world.unit(directory, "1.1.0")
    try:
        unit.sim.write_filesystem(image)
        unit.power_on()
        unit.wait_for(r"weather 1\.3\.0 starting", 30)
        unit.wait_for(CONFIRMED, 20)
        return f"runs {unit.report()['active']['version']}"
    except HeirloomError as exc:
        return f"{exc.message}; {exc.advice}"
    finally:
        unit.sim.close()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_good_release_heals(damage: Damage, world: World, tmp_path: Path) -> None:
    world.serve("1.3.0")
    present = list_files(filesystem_of(world.flashes["1.1.0"]), "/heirloom")
    blob = next(path for path in present if "/blobs/" in path)
    paths = [path for path in [*HEALS, blob] if path in present]
    assert len(paths) >= 8
    seen = with_each(heals, paths, damage, world, tmp_path)
    assert {path: what for path, what in seen.items() if what != "runs 1.3.0"} == {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_fallback_is_no_hindrance(damage: Damage, world: World, tmp_path: Path) -> None:
    world.serve("1.3.0")
    assert heals(world, tmp_path / "device", damaged(world, "/heirloom/slots/a.cbor", damage)) == "runs 1.3.0"
