"""A product in several states and the flash of its devices: what the end-to-end tests begin with."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.hil.demo.steps import BOARD, HOST, Unit, Workshop
from heirloom.hil.demo.wire import Wire
from heirloom.hil.sim import SimDevice
from heirloom.server.serve import serving
from heirloom.server.store import Store
from heirloom.signing import online
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

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


def make_flashes(made: World) -> None:
    """Let one device live through the first releases, and keep its flash after each."""
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


NewUnit = Callable[[str], Unit]
