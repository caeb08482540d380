"""The product and the devices of a sweep: the example application in some releases, published step by step."""

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heirloom import boards
from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import write_atomic
from heirloom.hil import provision
from heirloom.hil.demo.steps import BOARD, HOST, Unit, Workshop, weather
from heirloom.hil.demo.story import repaired
from heirloom.hil.powercut import web
from heirloom.hil.powercut.facts import Facts
from heirloom.hil.powercut.judge import Judge
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.sim import SimDevice

_FILE = "scene.json"
_CLIENT = "/lib/heirloom/"
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
        first: The flash of a device that was just provisioned.
        ports: Where each state is served at the moment.
    """

    directory: Path
    served: dict[str, Served] = field(default_factory=dict)
    first: bytes = b""
    ports: dict[str, int] = field(default_factory=dict)
    _board: Board = field(default_factory=lambda: boards.load(BOARD))

    def device(self, directory: Path, life: Life, cells: bytes) -> SimDevice:
        """A device in a folder of its own, with that flash, in that life."""
        made = SimDevice.create(directory, BOARD, hosts={HOST: f"127.0.0.1:{self.ports[life.serves]}"})
        made.write_filesystem(cells)
        return made

    @property
    def block_size(self) -> int:
        """Bytes that an erase reaches."""
        return self._board.flash.block_size

    @property
    def board(self) -> Board:
        """What the devices are."""
        return self._board

    def judge(self, life: Life, *, again: bool = False) -> Judge:
        """Who judges the flashes of a life. again: it is lived after a cut."""
        return Judge(self._board.flash, life, again)

    def facts(self, life: Life, cells: bytearray) -> Facts:
        """What a flash says.

        Raises:
            HeirloomError: littlefs cannot read it.
        """
        return self.judge(life).look(cells).facts

    def save(self) -> None:
        """Write down what `load` needs."""
        (self.directory / "first.littlefs").write_bytes(self.first)
        served = {version: asdict(one) for version, one in self.served.items()}
        write_atomic(self.directory / _FILE, json.dumps(served).encode())

    @contextmanager
    def serving(self, lives: Sequence[Life]) -> Iterator[None]:
        """Serve the state of each of these lives, each at a port of its own."""
        with ExitStack() as stack:
            for version in dict.fromkeys(life.serves for life in lives):
                self.ports[version] = stack.enter_context(web.serving(self.directory / version))
            yield


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
        return Scene(directory, served, (directory / "first.littlefs").read_bytes())
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
    shop = Workshop(directory / "shop", f"http://{HOST}/")
    with shop.at_work():
        progress("founding a product")
        shop.found()
        for life in until(lives):
            if life.serves in made.served:
                continue
            progress(f"publishing {life.serves}")
            if life.serves == "1.1.0":
                _renew(shop)
            _publish(shop, life, directory)
            epoch, sequence = shop.order(life.serves)
            made.served[life.serves] = Served((epoch, sequence), shop.metadata_versions()["root"])
            shutil.copytree(shop.repository_dir, directory / life.serves)
            if not made.first:
                made.first = _provisioned(shop)
    made.save()
    return made


def until(lives: Sequence[Life]) -> tuple[Life, ...]:
    """Lives in their order, with those that lead to them."""
    return LIVES[: 1 + max(map(LIVES.index, lives))]


def _provisioned(shop: Workshop) -> bytes:
    """The file system of a device that was provisioned just now, before its first start."""
    unit = Unit.new(shop, 9)
    try:
        unit.provision(shop)
        return unit.sim.filesystem_image()
    finally:
        unit.sim.close()
        shutil.rmtree(unit.sim.directory)


def _publish(shop: Workshop, life: Life, directory: Path) -> None:
    version = life.serves
    source = weather(version) if version < "1.3.0" else repaired(directory / f"source-{version}")
    if life.name == "client":
        _bring_client(source)
    if version > "1.4.0":
        (source / "lib" / "forecast.bin").write_bytes(random.Random(version).randbytes(_NEW_BYTES))  # noqa: S311 - of no value
    if life.migrates:
        (source / "heirloom_migrate.py").write_text(_MIGRATE)
        (source / "main.py").write_text(_SETTLES + (source / "main.py").read_text())
    if life.name == "background":
        settings = shop.project_dir / "heirloom.toml"
        settings.write_text(settings.read_text().replace('\ninstall = "reboot"\n', '\ninstall = "background"\n'))
    shop.take_source(source)
    floor = ["--floor", "2"] if version == "1.1.0" else []  # its own place in the order
    shop.heirloom("release", "build", "--version", version, *floor)
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
    """The lives of these names; all without.

    Raises:
        HeirloomError: There is none of that name.
    """
    known = {life.name: life for life in LIVES}
    if wrong := [name for name in names if name not in known]:
        raise HeirloomError(f"no life {wrong[0]}", f"there are {', '.join(known)}", exit_code=2)
    return [known[name] for name in names] or list(LIVES)
