"""The driver `sim`: a simulated device behind the protocol."""

import re
from pathlib import Path

from heirloom.boards.images import app, esp32
from heirloom.cli.errors import RigTrouble
from heirloom.cli.files import write_atomic
from heirloom.hil.drivers.protocol import Capability, CutKind, Driver, FirmwareKind
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.provision import Network
from heirloom.hil.sim import Power, SimDevice
from heirloom.hil.sim.device import FLASH


class SimDriver(Driver):
    """Drives a `SimDevice`.

    Args:
        resource: Says its board.
        directory: The device's folder; made if it is not there.
    """

    def __init__(self, resource: Resource, directory: Path) -> None:
        super().__init__(resource)
        if (directory / "device.toml").exists():
            self.sim = SimDevice(directory)
        else:
            self.sim = SimDevice.create(directory, resource.board, name=resource.name, definition=resource.definition)
            if "firmware-ota" in self.board.capabilities:
                write_atomic(directory / FLASH, self._with_firmware())
        self.network = Network(self.sim.settings.ssid, self.sim.settings.password or "")
        found = {Capability.FILESYSTEM, Capability.EXACT_CUTS, Capability.POWER, Capability.NETWORK}
        if "deepsleep" in self.board.capabilities:
            found.add(Capability.DEEP_SLEEP)
        if "firmware-ota" in self.board.capabilities:
            found.add(Capability.FIRMWARE)
        self.capabilities = frozenset(found - self.given_up)

    @property
    def firmware(self) -> bytes:
        """An image without code, which its bootloader takes."""
        return app.build(self.board.chip, b"as delivered", version="v1.27.0")

    def firmware_image(self, kind: FirmwareKind) -> bytes:
        """One that says that it panics does so in the simulation."""
        project = "panics" if kind == "bad" else "micropython"
        return app.build(self.board.chip, f"{kind} firmware".encode() * 1000, version="v1.28.0", project=project)

    def _with_firmware(self) -> bytes:
        table = self.board.partitions
        if table is None:
            raise RigTrouble(f"{self.board.name} has no partition table")
        loader, image = app.build(self.board.chip, b"bootloader"), self.firmware
        parts = esp32.Parts(self.board.chip, self.board.flash.size, loader, table, image, app.read(image))
        return esp32.whole_flash(self.board, parts)

    @property
    def id(self) -> str:
        """As the board says it."""
        return self.sim.id

    @property
    def is_on(self) -> bool:
        """Asleep counts."""
        return self.sim.power in (Power.ON, Power.ASLEEP)

    def connect(self, port: int) -> str:
        """The board reaches loopback as it is."""
        return f"http://127.0.0.1:{port}/"

    def power_on(self) -> None:
        """A process for each of its boots."""
        self.sim.power_on()

    def hold(self, timeout_s: float = 30.0) -> None:
        """The simulation can skip main.py at a start."""
        self.sim.power_cycle(hold_repl=True)
        self.sim.wait_for(r"^>>> ", timeout_s)

    def power_off(self) -> None:
        """Off."""
        self.sim.power_off()

    def close(self) -> None:
        """The folder stays."""
        self.sim.close()

    def console(self) -> str:
        """As recorded."""
        return self.sim.console()

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """As the simulation does it."""
        return self.sim.wait_for(pattern, timeout_s * self.pace)

    def send(self, data: bytes) -> None:
        """To its serial port."""
        self.sim.send(data)

    def exec(self, code: str, timeout_s: float = 30.0) -> str:
        """In its raw REPL."""
        return self.sim.exec(code, timeout_s)

    def soft_reset(self, timeout_s: float = 30.0) -> None:
        """From its raw REPL."""
        self.sim.soft_reset(timeout_s)

    def filesystem_image(self) -> bytes:
        """Of its flash file."""
        return self.sim.filesystem_image()

    def write_filesystem(self, image: bytes) -> None:
        """Into its flash file."""
        self.sim.write_filesystem(image)

    def cut_power_at(self, operation: int, kind: CutKind = "before") -> None:
        """In the flash model."""
        self.sim.cut_power_at(operation, kind)

    def wait_off(self, timeout_s: float) -> None:
        """Until the flash model has stopped it."""
        self.sim.wait_off(timeout_s * self.pace)

    @property
    def flash_operations(self) -> int:
        """As the flash model counts them."""
        return self.sim.flash.operations
