"""What the tests of one run share: the rig, one product and one server for each kind of device."""

import os
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from heirloom.cli.errors import HeirloomError, RigTrouble, UsageError
from heirloom.cli.project import Project
from heirloom.hil import drivers
from heirloom.hil.drivers import Driver, Resource, open_driver
from heirloom.hil.rig.device import Device
from heirloom.hil.rig.product import Product
from heirloom.hil.rig.server import Server
from heirloom.hil.rig.shelf import Shelf, shelf_of
from heirloom.hil.sim.device import LOG

#: Without a rig: the boards that a driver is tried with.
BOARDS = {
    "sim": ("SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"),
    "rp2040": ("RPI_PICO_W",),  # by stick: its radio takes minutes to start
    "esp32": ("ESP32_GENERIC_C3", "ESP32_GENERIC_C3_8MB", "ESP32_GENERIC"),
}
_OWN_BOARDS = Path(drivers.__file__).parent / "boards"
#: How long to wait for another process to let go of a device, and how often a device is opened before that is trouble.
WAIT_S, ATTEMPTS = 600.0, 3
Content = tuple[str, dict[str, bytes]]
T = TypeVar("T")


class Session:
    """Made once; everything in it is made when it is first asked for.

    Args:
        resources: The devices that tests run on.
        project: The maker's project, or None.
        published: The repository that the field sees; None: the project's.
        wanted: The version of the built release that is to be tested; None: the application's folder.
        shelf: What the rig remembers of its devices; None: there is no rig.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        project: Project | None = None,
        published: str | None = None,
        wanted: str | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._resources = list(resources)
        self._shelf = shelf
        self._wanted = wanted
        self._project = project
        self._place = published
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="heirloom-rig-"))
        self.directory = Path(folder)
        self._servers: dict[str, Server] = {}
        self._products: dict[str, Product] = {}
        self._made: dict[Hashable, Any] = {}

    @classmethod
    def of_options(
        cls,
        *,
        rig: str | None,
        asked: Sequence[str],
        project: str | None,
        published: str | None,
        wanted: str | None = None,
    ) -> "Session":
        """As the options say it.

        Raises:
            HeirloomError: A driver is unknown, or the project or the rig is wrong.
        """
        rig = rig or os.environ.get("HEIRLOOM_RIG")
        shelf = shelf_of(Path(rig)) if rig else None
        return cls(resources_of(rig, asked), _project(project), published, wanted, shelf)

    def resources(self) -> list[Resource]:
        """The devices."""
        return self._resources

    def close(self) -> None:
        """Let go of everything."""
        self._stack.close()

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes, made only once: a state that many tests begin with."""
        if what not in self._made:
            self._made[what] = make()
        found: T = self._made[what]
        return found

    def server(self, resource: Resource) -> Server:
        """The server that the device looks at."""
        if resource.name not in self._servers:
            self._servers[resource.name] = self._stack.enter_context(Server())
        return self._servers[resource.name]

    def founded(self, resource: Resource) -> Product:
        """The product of the device, nothing published. Not to be changed: copy it."""
        if resource.name not in self._products:
            folder = self.directory / resource.name
            with open_driver(resource, folder / "asked") as driver:
                url = driver.connect(self.server(resource).port)
            like, definition = self._project, resource.definition
            made = Product(
                folder / "product", url, resource.board, definition=definition, like=like, wanted=self._wanted
            )
            made.found()
            self._products[resource.name] = made
        return self._products[resource.name]

    @contextmanager
    def device(self, resource: Resource, server: Server, product: Product, folder: Path) -> Iterator[Device]:
        """The device for one test; an emulated or simulated one is blank.

        Raises:
            RigTrouble: It is in quarantine, in use, or does not work; then it goes into quarantine.
        """
        taken = self._shelf.taken(resource.name, WAIT_S) if self._shelf else nullcontext()
        with taken, self._opened(resource, folder) as driver:
            made = Device(driver, server, product, self.directory / "client")
            yield made
            if made.trouble is not None and self._shelf is not None:
                self._shelf.put_aside(resource.name, made.trouble, folder / LOG)

    def _opened(self, resource: Resource, folder: Path) -> Driver:
        """The driver; what a second attempt cures is counted, and no trouble."""
        for left in reversed(range(ATTEMPTS)):
            try:
                driver = open_driver(resource, folder)
                driver.check()
            except RigTrouble:
                if not left:
                    raise
                if self._shelf is not None:
                    self._shelf.count(resource.name, retries=1)
            else:
                return driver
        raise AssertionError("the last attempt returns or raises")

    def published(self, resource: Resource) -> Content | str:
        """Version and files of what the field runs on that board, or why there is none."""
        from heirloom.hil.rig.published import read

        return read(self._project, self._place, resource.board)


def resources_of(rig: str | None, asked: Sequence[str]) -> list[Resource]:
    """The devices of a rig that these drivers drive; without a rig one of each board.

    Raises:
        HeirloomError: A driver is unknown, or the rig's file is wrong.
    """
    wanted = [text.partition(":") for text in asked]
    if rig is not None:
        from heirloom.hil.rig.file import read

        found = [
            one
            for one in read(Path(rig))
            if not wanted or any(_fits(one, driver, board) for driver, _, board in wanted)
        ]
        if not found:
            raise UsageError(f"the rig {rig} has no device for {', '.join(asked)}", "see `heirloom hil list`")
        return found
    made = []
    for driver, _, board in wanted or [("sim", "", "")]:
        if driver not in BOARDS:
            raise UsageError(f"no driver {driver!r} without a rig", f"there are {', '.join(BOARDS)}")
        named, _, how = board.partition(":")
        if how not in ("", "stick"):
            raise UsageError(
                f"--heirloom-driver {driver}:{board}: {how!r} is no way to reach it", "say stick, or nothing"
            )
        stick = how == "stick" or (driver == "rp2040" and not named)
        mark = "-stick" if stick else ""
        names = (named,) if named else BOARDS[driver]
        for name in names:
            definition = _OWN_BOARDS / f"{name}.toml"
            known = definition if definition.exists() else None
            # Under the name of the board that it extends, as a maker with other flash describes theirs.
            model = name.rpartition("_")[0] if known else name
            made.append(Resource(f"{driver}-{name}{mark}", driver, model, known, by_stick=stick))
    return made


def _fits(resource: Resource, driver: str, board: str) -> bool:
    return resource.driver == driver and board in ("", resource.board)


def _project(folder: str | None) -> Project | None:
    """The maker's project, if there is one here."""
    if folder is not None:
        return Project.load(Path(folder))
    try:
        return Project.load()
    except HeirloomError:
        return None
