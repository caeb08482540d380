"""The host's part in the life "provision": files over the REPL of a blank device, as `device provision --port` does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import CHANNEL, HOST, PRODUCT, TIMING
from heirloom.hil.order import Order
from heirloom.hil.provision import Network
from heirloom.hil.serial.ports import Port
from heirloom.hil.serial.provisioning import Provisioning
from heirloom.hil.sim import SimDevice


class NotProvisioned(HeirloomError):  # noqa: N818 - a statement about the device
    """The host could not make a device of it."""


class _Unseen:
    """Nobody watches."""

    def advance(self, amount: float = 1) -> None:
        """As `Progress.advance`."""

    def update(self, *, completed: float) -> None:
        """As `Progress.update`."""

    def describe(self, description: str) -> None:
        """As `Progress.describe`."""

    def step(self, description: str, total: float | None = None) -> None:
        """As `Progress.step`."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """As `Progress.paused`."""
        yield


def enrol(device: SimDevice, root: bytes, build: Path) -> None:
    """Make a device of what is on, or repair it. It is reset then, and goes its way.

    Args:
        device: With MicroPython, and whatever the power cut left.
        root: What it shall trust.
        build: Where the compiled client is kept.

    Raises:
        NotProvisioned: It is not to be had.
    """
    networks = [Network(device.settings.ssid, device.settings.password)]
    order = Order(device.board, PRODUCT, root, [f"http://{HOST}/"], CHANNEL, TIMING, networks, build)
    port = Port(str(device.tty))
    turn = Provisioning(device.name, order, port, None, None, None, None, lambda _: None, _Unseen())
    try:
        turn.by_files(port)
    except HeirloomError as exc:
        raise NotProvisioned(f"{exc.message}: {exc.advice}") from exc
