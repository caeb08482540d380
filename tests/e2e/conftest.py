"""Fixtures of the end-to-end tests: one product and its devices are made once a session; every test gets copies."""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heirloom.hil.demo.steps import BOARD, HOST, Unit, Workshop, weather
from heirloom.hil.demo.story import repaired
from heirloom.hil.demo.wire import Wire
from heirloom.hil.sim import SimDevice
from heirloom.server.serve import serving
from heirloom.server.store import Store
from heirloom.signing import online
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

# The interpreter and the cross compiler are installed beside this Python, which need not be on the PATH.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")

STARTING = r"weather ([\d.]+) starting, boot (\d+)"
CONFIRMED = r"release \[.*\] confirmed"


def copy_of(original: Workshop, directory: Path) -> Workshop:
    """The same product, with the same keys, in another folder."""
    shutil.copytree(original.directory, directory, symlinks=True)
    copy = Workshop(directory, original.url)
    copy.passphrase = original.passphrase
    return copy


def renew_offline_roles(workshop: Workshop) -> None:
    """Publish the next version of root and targets, signed by their keepers: nothing else changes."""
    repository, now = workshop.repository, utc_now()
    changed = {}
    for role, current in ((ROOT, repository.root()), (TARGETS, repository.role(TARGETS))):
        following = next_role(current, role, now)
        sign(following, role_signers(workshop.project, role))
        changed[file_name(role, following.signed.version)] = to_bytes(following)
    signers = {role: role_signers(workshop.project, role) for role in (SNAPSHOT, TIMESTAMP)}
    Store(repository.path).commit(online.refresh(repository, changed, signers, now), {}, [])


@dataclass
class World:
    """A product in several states, and the flash of a device in two.

    Attributes:
        shops: By name: "1.0.0", "1.1.0" (root and targets were renewed, too), "1.2.0" (crashes), "1.3.0".
        flashes: By the version that runs and is confirmed on it: "1.0.0", "1.1.0".
    """

    directory: Path
    wire: Wire
    shops: dict[str, Workshop] = field(default_factory=dict)
    flashes: dict[str, bytes] = field(default_factory=dict)
    _urls: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def add_shop(self, name: str, before: str, source: Path, also: Callable[[Workshop], None] | None = None) -> None:
        """The product one release later."""
        shop = copy_of(self.shops[before], self.directory / name)
        with shop.at_work():
            if also is not None:
                also(shop)
            shop.publish(name, source)
        self.shops[name] = shop

    def serve(self, name: str) -> None:
        """From now on, devices see the product in that state."""
        if name not in self._urls:
            self._urls[name] = self._stack.enter_context(serving(self.shops[name].repository_dir))
        self.wire.upstream = self._urls[name]
        self.wire.attack = None

    def unit(self, directory: Path, flash: str) -> Unit:
        """A device of the product."""
        sim = SimDevice.create(directory, BOARD, hosts={HOST: f"127.0.0.1:{self.wire.port}"})
        (directory / "flash.bin").write_bytes(self.flashes[flash])
        return Unit(sim)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A product with release 1.0.0 published on the channel. Not to be changed."""
    workshop = Workshop(tmp_path_factory.mktemp("product") / "1.0.0", f"http://{HOST}/")
    with workshop.at_work():
        workshop.found()
        workshop.publish("1.0.0", weather("1.0.0"))
    return workshop


@pytest.fixture(scope="session")
def world(founded: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that is made once."""
    directory = tmp_path_factory.mktemp("world")
    with Wire() as wire:
        made = World(directory, wire, {"1.0.0": founded})
        made.add_shop("1.1.0", "1.0.0", weather("1.1.0"), renew_offline_roles)
        made.add_shop("1.2.0", "1.1.0", weather("1.2.0"))
        made.add_shop("1.3.0", "1.2.0", repaired(directory / "source-1.3.0"))
        _make_flashes(made)
        yield made
        made.close()


def _make_flashes(made: World) -> None:
    shop = made.shops["1.0.0"]
    with shop.at_work():
        unit = Unit.new(shop, made.wire.port)
        unit.provision(shop)
    for version in ("1.0.0", "1.1.0"):
        made.serve(version)
        unit.power_on()
        unit.wait_for(f"weather {version} starting")
        unit.wait_for(CONFIRMED)
        unit.power_off()
        made.flashes[version] = (unit.sim.directory / "flash.bin").read_bytes()
    unit.sim.close()


@pytest.fixture
def shop(founded: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A workshop of this test's own, at work: 1.0.0 is published."""
    workshop = copy_of(founded, tmp_path / "shop")
    with workshop.at_work():
        yield workshop


NewUnit = Callable[[str], Unit]


@pytest.fixture
def new_unit(world: World, tmp_path: Path) -> Iterator[NewUnit]:
    """Makes devices; they are switched off at the end."""
    with ExitStack() as stack:

        def make(flash: str) -> Unit:
            unit = world.unit(tmp_path / f"device{len(list(tmp_path.iterdir()))}", flash)
            stack.callback(unit.sim.close)
            return unit

        yield make
    world.wire.attack = None
