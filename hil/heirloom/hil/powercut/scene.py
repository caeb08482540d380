"""The product and the devices of a sweep: the example application in some releases, published step by step."""

import base64
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from heirloom import boards
from heirloom.boards import Board
from heirloom.boards.images import app, esp32, lfs
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import missing
from heirloom.cli.files import write_atomic
from heirloom.hil import provision
from heirloom.hil.demo.steps import BOARD, HOST, Unit, Workshop, weather
from heirloom.hil.demo.story import repaired
from heirloom.hil.powercut import web
from heirloom.hil.powercut.enrol import enrol
from heirloom.hil.powercut.facts import Facts
from heirloom.hil.powercut.judge import Judge
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.powercut.medium import Medium
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.esp32.start import PANICS

_FILE = "scene.json"
_ROOT = "successor.json"
_PART_BYTES = 900  # of a root, typed at a REPL
_CLIENT = "/lib/heirloom/"
_FIRMWARE_BYTES, _OLDER_BYTES = 6 * 4096, 9 * 4096
# On an ESP32 the applications of the first two releases take turns.
_APPLICATION = {"3.0.0": "1.0.0", "3.1.0": "1.1.0", "3.2.0": "1.0.0"}
_NEW_BYTES = 20_000  # of the releases that bring a file of data

_MIGRATE = """import json

with open("settings.json") as file:
    settings = json.load(file)
settings["migrated"] = settings.get("migrated", 0) + 1
with open("settings.json", "w") as file:
    json.dump(settings, file)
"""
# Before the application: it resets when it is confirmed, because what was migrated takes its place at the next start.
_SETTLES = """import asyncio
import machine
from heirloom.device import trial


async def settle():
    while trial.running():
        await asyncio.sleep_ms(50)
        if not trial.running():
            machine.reset()


asyncio.create_task(settle())
"""


@dataclass(frozen=True)
class Served:
    """A state of the repository: the order of the release that its channel points to, and the version of its root."""

    order: tuple[int, int]
    root: int


@dataclass
class Scene:
    """A product in the state of each life.

    Attributes:
        directory: Holds the repositories, a folder for each state.
        served: By the release that the channel points to.
        first: By board, the cells of a device that was just provisioned.
        ports: Where each state is served at the moment.
    """

    directory: Path
    served: dict[str, Served] = field(default_factory=dict)
    first: dict[str, bytes] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def device(self, directory: Path, life: Life, cells: bytes) -> SimDevice:
        """A device in a folder of its own, with that flash, in that life."""
        made = SimDevice.create(directory, life.board, hosts={HOST: f"127.0.0.1:{self.ports[life.serves]}"})
        self.medium(life).write(made, cells)
        return made

    @staticmethod
    def medium(life: Life) -> Medium:
        """What the cells of a device in that life are."""
        return _medium(life.board)

    def begins(self, life: Life, last: bytes) -> bytes:
        """The cells that a life begins with; last: in the end of the one before, on its board."""
        return lfs.build(self.medium(life).board.flash, {}) if life.provisions else last

    def enrol(self, life: Life, device: SimDevice) -> None:
        """Provision a device that is on. Raises NotProvisioned."""
        root = (self.directory / life.serves / "metadata" / "1.root.json").read_bytes()
        enrol(device, root, self.directory / "build")

    def says(self, life: Life) -> str:
        """What a person types in that life."""
        if not life.adopts:
            return life.says
        root = (self.directory / _ROOT).read_bytes()
        parts = [root[at : at + _PART_BYTES] for at in range(0, len(root), _PART_BYTES)]
        return life.says.replace("{root}", repr([base64.b64encode(part).decode() for part in parts]))

    def judge(self, life: Life, *, again: bool = False) -> Judge:
        """Who judges the flashes of a life. again: it is lived after a cut."""
        return Judge(self.medium(life), life, again)

    def facts(self, life: Life, cells: bytearray) -> Facts:
        """What a flash says.

        Raises:
            HeirloomError: littlefs cannot read it.
        """
        return self.judge(life).look(cells).facts

    def save(self) -> None:
        """Write down what `load` needs."""
        for board, cells in self.first.items():
            (self.directory / f"{board}.flash").write_bytes(cells)
        served = {version: asdict(one) for version, one in self.served.items()}
        write_atomic(self.directory / _FILE, json.dumps(served).encode())

    @contextmanager
    def serving(self, lives: Sequence[Life]) -> Iterator[None]:
        """Serve the state of each of these lives, each at a port of its own."""
        with ExitStack() as stack:
            for version in dict.fromkeys(life.serves for life in lives):
                self.ports[version] = stack.enter_context(web.serving(self.directory / version))
            yield


@cache
def _medium(board: str) -> Medium:
    return Medium(boards.load(board))


def load(directory: Path) -> Scene:
    """The scene that was made in a folder.

    Raises:
        RigTrouble: It is incomplete.
    """
    try:
        described: dict[str, Any] = json.loads((directory / _FILE).read_bytes())
        served = {
            version: Served((one["order"][0], one["order"][1]), one["root"]) for version, one in described.items()
        }
        return Scene(directory, served, {path.stem: path.read_bytes() for path in directory.glob("*.flash")})
    except (OSError, ValueError, KeyError) as exc:
        raise RigTrouble(f"there is no product to go on with in {directory}: {exc}", "name a new folder") from exc


def make(directory: Path, lives: Sequence[Life], progress: Callable[[str], object]) -> Scene:
    """Make the product, publish the releases of these lives and of those before them, and keep each state.

    Args:
        directory: Empty; keys and repositories of no value come there.
        lives: Some.
        progress: Told what is being done.
    """
    made = Scene(directory)
    for board in dict.fromkeys(life.board for life in until(lives)):
        shop = Workshop(directory / f"shop-{board}", f"http://{HOST}/", board)
        with shop.at_work():
            progress(f"founding a product for {board}")
            shop.found()
            for life in until(lives):
                if life.board == board and life.serves not in made.served:
                    progress(f"publishing {life.serves}")
                    made.served[life.serves] = _serve(shop, life, directory)
                    if board not in made.first:
                        made.first[board] = _provisioned(shop)
    if any(life.adopts for life in until(lives)):
        (directory / _ROOT).write_bytes(_root_of_another(directory / "successor"))
    made.save()
    return made


def _serve(shop: Workshop, life: Life, directory: Path) -> Served:
    """Publish what a life is about, and keep that state of the repository."""
    if life.serves == "1.1.0":
        _renew(shop)
    _publish(shop, life, directory)
    epoch, sequence = shop.order(life.serves)
    shutil.copytree(shop.repository_dir, directory / life.serves)
    return Served((epoch, sequence), shop.metadata_versions()["root"])


def _root_of_another(directory: Path) -> bytes:
    """The first root of people who go on with the product."""
    shop = Workshop(directory, f"http://{HOST}/")
    with shop.at_work():
        shop.found()
        return (shop.repository_dir / "metadata" / "1.root.json").read_bytes()


def until(lives: Sequence[Life]) -> tuple[Life, ...]:
    """Lives in their order, with those that lead to them."""
    last = {life.board: LIVES.index(life) for life in sorted(lives, key=LIVES.index)}
    return tuple(life for at, life in enumerate(LIVES) if at <= last.get(life.board, -1))


def _provisioned(shop: Workshop) -> bytes:
    """The file system of a device that was provisioned just now, before its first start."""
    unit = Unit.new(shop, 9)
    try:
        unit.provision(shop)
        cells = unit.sim.filesystem_image()
        return cells if not unit.sim.board.partitions else _with_firmware(unit.sim.board, cells)
    finally:
        unit.sim.close()
        shutil.rmtree(unit.sim.directory)


def _with_firmware(board: Board, cells: bytes) -> bytes:
    """The flash of an ESP32 with this file system; something older lies where the next firmware will go."""
    table = board.partitions
    if table is None:
        raise ValueError(f"{board.name} has no partition table")
    image = _firmware(board, 0)
    parts = esp32.Parts(board.chip, board.flash.size, app.build(board.chip, b"loader"), table, image, app.read(image))
    flash = bytearray(esp32.whole_flash(board, parts, filesystem=cells))
    older, place = random.Random(9).randbytes(_OLDER_BYTES), table.ota_slots[1].offset  # noqa: S311 - of no value
    flash[place : place + len(older)] = older
    return bytes(flash)


def _firmware(board: Board, number: int) -> bytes:
    """A firmware of its own, of some blocks and a bit."""
    content = random.Random(number).randbytes(_FIRMWARE_BYTES)  # noqa: S311 - of no value
    return app.build(board.chip, content, version=f"v1.27.{number}")


def _brought(board: Board, kind: str) -> bytes:
    """What a release brings: the "bad" firmware is the "good" one, as a patch makes it, and panics as it starts."""
    good = _firmware(board, 1)
    if kind == "good":
        return good
    content = bytearray(random.Random(1).randbytes(_FIRMWARE_BYTES))  # noqa: S311 - as above
    content[_FIRMWARE_BYTES // 2 :] = content[_FIRMWARE_BYTES // 2 :][::-1]
    return app.build(board.chip, bytes(content), version="v1.27.2", project=PANICS)


def _publish(shop: Workshop, life: Life, directory: Path) -> None:
    version = life.serves
    old_enough = version < "1.3.0" or life.board != BOARD
    source = weather(_APPLICATION.get(version, version)) if old_enough else repaired(directory / f"source-{version}")
    if life.name == "client":
        _bring_client(source)
    if "1.4.0" < version < "3":
        (source / "lib" / "forecast.bin").write_bytes(random.Random(version).randbytes(_NEW_BYTES))  # noqa: S311 - of no value
    if life.migrates:
        (source / "heirloom_migrate.py").write_text(_MIGRATE)
        (source / "main.py").write_text(_SETTLES + (source / "main.py").read_text())
    if life.name == "background":
        settings = shop.project_dir / "heirloom.toml"
        settings.write_text(settings.read_text().replace('\ninstall = "reboot"\n', '\ninstall = "background"\n'))
    shop.take_source(source)
    floor = ["--floor", "2"] if version == "1.1.0" else []  # its own place in the order
    image = []
    if life.firmware:
        path = directory / f"{version}.app-bin"
        path.write_bytes(_brought(boards.load(life.board), life.firmware))
        image = ["--firmware", str(path)]
    shop.heirloom("release", "build", "--version", version, *floor, *image)
    shop.heirloom("release", "sign", version)
    shop.heirloom("release", "publish", version, "--channel", "stable")


def _bring_client(source: Path) -> None:
    """Put the client into an application, compiled as on the device."""
    for path, data in provision.client_files(boards.load(BOARD)).items():
        if path.startswith(_CLIENT):
            target = source / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _renew(shop: Workshop) -> None:
    """A new root and targets: everybody signs."""
    started = shop.heirloom("ceremony", "start", "--renew", "root", "--renew", "targets")
    folder = str(started["folder"])
    with redirect_stderr(io.StringIO()):  # what people look at before they sign
        shop.heirloom("ceremony", "sign", folder)
    shop.heirloom("ceremony", "finish", folder)


def named(names: Sequence[str]) -> list[Life]:
    """The lives of these names; without, all for which the tools are here (an ESP32's images need esptool).

    Raises:
        HeirloomError: There is none of that name.
    """
    known = {life.name: life for life in LIVES}
    if wrong := [name for name in names if name not in known]:
        raise HeirloomError(f"no life {wrong[0]}", f"there are {', '.join(known)}", exit_code=2)
    return [known[name] for name in names] or [life for life in LIVES if not life.boots or not missing("flash")]
