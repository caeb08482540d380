"""Which ports there are, and which one is meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for
from heirloom.hil.serial.line import is_url

AUTO = "auto"

# USB vendors: bridges from USB to a serial line, and chips that are their own.
_BRIDGES = {0x10C4: "CP210x", 0x1A86: "CH340", 0x0403: "FTDI", 0x067B: "PL2303"}
_ESPRESSIF, _RASPBERRY_PI = 0x303A, 0x2E8A
_VENDORS = {
    "rp2040": {_RASPBERRY_PI},
    "rp2350": {_RASPBERRY_PI},
    "esp32": set(_BRIDGES),
    "esp32c3": {_ESPRESSIF, *_BRIDGES},
    "esp32s3": {_ESPRESSIF, *_BRIDGES},
}


@dataclass(frozen=True)
class Port:
    """A serial port of this machine.

    Attributes:
        device: Its file; the name changes with what was plugged in before.
        serial_number: Of the USB device, which never changes; None: it has none.
        location: Hub and socket that it is plugged into, as in "1-2.3"; None: unknown.
        vendor: USB vendor id.
        product: USB product id.
        description: For people.
    """

    device: str
    serial_number: str | None = None
    location: str | None = None
    vendor: int | None = None
    product: int | None = None
    description: str = ""

    def __str__(self) -> str:
        number = f"serial number {self.serial_number}" if self.serial_number else f"hub port {self.location}"
        usb = f", USB {self.vendor:04x}:{self.product:04x}, {number}" if self.vendor is not None else ""
        return f"{self.device}{usb}"


def available() -> list[Port]:
    """The ports with something at them over USB.

    Raises:
        HeirloomError: pyserial is not installed.
    """
    try:
        from serial.tools import list_ports
    except ImportError as exc:
        raise HeirloomError("pyserial is not installed", advice_for("serial")) from exc
    found = [
        Port(p.device, p.serial_number or None, p.location or None, p.vid, p.pid, p.description or "")
        for p in list_ports.comports()
        if p.vid is not None
    ]
    return sorted(found, key=lambda port: port.device)


def choose(port: str, board: Board | None = None, taken: Sequence[Port] = ()) -> Port:
    """The port that is meant.

    Args:
        port: "auto", a file, an address, or the serial number of a USB device.
        board: Narrows "auto" to what such a board shows itself as.
        taken: Not for "auto": ports of units that are known already.

    Raises:
        RigTrouble: There is none, or several could be meant; names them.
    """
    if is_url(port):
        return Port(port)
    if port != AUTO:
        return _named(port)
    there = available()
    fitting = [found for found in there if board is None or found.vendor in _VENDORS[board.chip]]
    free = [found for found in fitting if found not in taken]
    if len(free) == 1:
        return free[0]
    if free:
        raise RigTrouble(f"which port? {_listed(free)}", "name one with --port, best by its serial number")
    if fitting:
        raise RigTrouble(
            f"the ports here belong to devices of this project: {_listed(fitting)}", "name the device, or give --port"
        )
    if there:
        kind = board.name if board else "device"
        raise RigTrouble(f"no port looks like a {kind}: {_listed(there)}", "if one is, name it with --port")
    raise RigTrouble("no device is plugged in: no serial port over USB", "check the cable (some only charge)")


def _named(port: str) -> Port:
    real = str(Path(port).resolve())
    for found in available():
        if port in (found.device, found.serial_number) or str(Path(found.device).resolve()) == real:
            return found
    if "/" not in port and not Path(port).exists():
        raise RigTrouble(f"no port and no USB device with the serial number {port}", _advice())
    return Port(port)


def find(known: Port) -> str:
    """Where a unit that was seen before is now, for `serial_for_url`.

    Raises:
        RigTrouble: It is not plugged in.
    """
    if known.serial_number is None and known.location is None:
        return known.device
    key = "serial_number" if known.serial_number else "location"
    for found in available():
        if getattr(found, key) == getattr(known, key) and found.vendor == known.vendor:
            return found.device
    what = f"serial number {known.serial_number}" if known.serial_number else f"hub port {known.location}"
    raise RigTrouble(f"no USB device with {what} is plugged in", _advice())


def _advice() -> str:
    there = available()
    return f"there are {_listed(there)}" if there else "plug it in; no serial port over USB is there"


def _listed(ports: Sequence[Port]) -> str:
    return "; ".join(str(port) for port in ports)
