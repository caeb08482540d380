"""The host's part in the life "provision": files over the REPL of a blank device, as `device provision --port` does."""

from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import Silent
from heirloom.hil.demo.steps import CHANNEL, HOST, PRODUCT, TIMING
from heirloom.hil.order import Order
from heirloom.hil.provision import Network
from heirloom.hil.serial.ports import Port
from heirloom.hil.serial.provisioning import Provisioning
from heirloom.hil.sim import SimDevice

_TRIES = 3  # what does not answer is tried again, as the message asks


class NotProvisioned(HeirloomError):  # noqa: N818 - a statement about the device
    """The host could not make a device of it."""


def enrol(device: SimDevice, root: bytes, build: Path) -> None:
    """Make a device of what is on, or repair it. It is reset then, and goes its way.

    Args:
        device: With MicroPython, and whatever the power cut left.
        root: What it shall trust.
        build: Where the compiled client is kept.

    Raises:
        NotProvisioned: It is not to be had.
    """
    networks = [Network(device.settings.ssid, device.settings.password or "")]
    order = Order(device.board, PRODUCT, root, [f"http://{HOST}/"], CHANNEL, TIMING, networks, build)
    port = Port(str(device.tty))
    turn = Provisioning(device.name, order, port, None, None, None, None, lambda _: None, Silent())
    for left in reversed(range(_TRIES)):
        try:
            turn.by_files(port)
            return
        except HeirloomError as exc:
            if not left:
                raise NotProvisioned(f"{exc.message}: {exc.advice}") from exc
