"""The product and the devices of a sweep: the example application in four releases, published step by step."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path

from heirloom import boards
from heirloom.boards import Board
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import BOARD, HOST, Unit, Workshop, weather
from heirloom.hil.demo.story import repaired
from heirloom.hil.demo.wire import Wire
from heirloom.hil.powercut import facts
from heirloom.hil.powercut.facts import Facts
from heirloom.hil.sim import SimDevice


@dataclass(frozen=True)
class Phase:
    """One stretch of a device's life.

    Attributes:
        name: For people.
        serves: The release that the channel points to meanwhile.
        old: What the device runs before; None: nothing.
        ends: What it runs in the end.
        fails: Whether `serves` is one that must fail and be rolled back.
    """

    name: str
    serves: str
    old: str | None
    ends: str
    fails: bool = False

    def reached(self, seen: Facts, order: tuple[int, int]) -> bool:
        """Whether the device is where it should be in the end. order: of the release that is served."""
        settled = seen.runs == self.ends and not seen.trial and self.ends in seen.whole
        if self.fails:
            return settled and order in seen.failed
        return settled and seen.marks["confirmed order"] == order


#: In the order of a life. Root and targets are new in "update", so it has a root rotation in it.
PHASES = (
    Phase("install", "1.0.0", None, "1.0.0"),
    Phase("update", "1.1.0", "1.0.0", "1.1.0"),
    Phase("rollback", "1.2.0", "1.1.0", "1.1.0", fails=True),
    Phase("repair", "1.3.0", "1.1.0", "1.3.0"),
)


@dataclass
class Scene:
    """A product in the state of each phase, each served, and a wire that leads a device to one of them."""

    directory: Path
    wires: dict[str, Wire] = field(default_factory=dict)
    orders: dict[str, tuple[int, int]] = field(default_factory=dict)
    first: bytes = b""
    _board: Board = field(default_factory=lambda: boards.load(BOARD))

    def device(self, directory: Path, phase: Phase, cells: bytes) -> SimDevice:
        """A device in a folder of its own, with that file system, in that phase."""
        made = SimDevice.create(directory, BOARD, hosts={HOST: f"127.0.0.1:{self.wires[phase.serves].port}"})
        made.write_filesystem(cells)
        return made

    @property
    def block_size(self) -> int:
        """Bytes that an erase reaches."""
        return self._board.flash.block_size

    def provisioned(self) -> bytes:
        """The file system of a device that was provisioned just now, before its first start."""
        shop = Workshop(self.directory / PHASES[0].serves, f"http://{HOST}/")
        with shop.at_work():
            unit = Unit.new(shop, self.wires[PHASES[0].serves].port)
            try:
                unit.provision(shop)
                return unit.sim.filesystem_image()
            finally:
                unit.sim.close()
                shutil.rmtree(unit.sim.directory)

    def facts(self, cells: bytearray) -> Facts:
        """What a flash says.

        Raises:
            HeirloomError: littlefs cannot read it.
        """
        return facts.read(lfs.read(self._board.flash, cells, facts.HOME, facts.DATA))


@contextmanager
def scene(directory: Path, progress: Callable[[str], object]) -> Iterator[Scene]:
    """Make the product, publish its releases, and serve each state of it.

    Args:
        directory: Empty; keys and repositories of no value come there.
        progress: Told what is being done.
    """
    made = Scene(directory)
    with ExitStack() as stack:
        shop = Workshop(directory / "shop", f"http://{HOST}/")
        with shop.at_work():
            progress("founding a product")
            shop.found()
            for phase in PHASES:
                progress(f"publishing {phase.serves}")
                if phase.name == "update":
                    _renew(shop)
                source = repaired(directory / "source") if phase.name == "repair" else weather(phase.serves)
                shop.publish(phase.serves, source)
                made.orders[phase.serves] = (shop.order(phase.serves)[0], shop.order(phase.serves)[1])
                _serve(made, shop, phase, stack)
        made.first = made.provisioned()
        yield made


def _renew(shop: Workshop) -> None:
    """A new root and targets: everybody signs."""
    started = shop.heirloom("ceremony", "start", "--renew", "root", "--renew", "targets")
    folder = str(started["folder"])
    with redirect_stderr(io.StringIO()):  # what people look at before they sign
        shop.heirloom("ceremony", "sign", folder)
    shop.heirloom("ceremony", "finish", folder)


def _serve(made: Scene, shop: Workshop, phase: Phase, stack: ExitStack) -> None:
    copy = Workshop(made.directory / phase.serves, shop.url)
    shutil.copytree(shop.directory, copy.directory, symlinks=True)
    copy.passphrase = shop.passphrase
    wire = stack.enter_context(Wire())
    with copy.at_work():
        wire.upstream = stack.enter_context(copy.serving())
    made.wires[phase.serves] = wire


def phases(names: list[str]) -> list[Phase]:
    """The phases of these names; all without.

    Raises:
        HeirloomError: There is none of that name.
    """
    known = {phase.name: phase for phase in PHASES}
    if wrong := [name for name in names if name not in known]:
        raise HeirloomError(f"no phase {wrong[0]}", f"there are {', '.join(known)}", exit_code=2)
    return [known[name] for name in names] or list(PHASES)
