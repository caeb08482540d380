"""The driver `esp32`: a real MicroPython image behind the real second-stage bootloader, in QEMU."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.boards.images import esp32 as images
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for
from heirloom.hil.drivers import firmware, relay, variants
from heirloom.hil.drivers.emulated import EmulatedDriver
from heirloom.hil.drivers.protocol import Capability, FirmwareKind
from heirloom.hil.drivers.resource import Resource
from heirloom.hil.provision import Network

#: The network that the emulated Wi-Fi sees, and the address under which it finds this machine.
SSID, HOST = "PICSimLabWifi", "10.0.2.100"


@dataclass(frozen=True)
class Machine:
    """How a chip is emulated.

    Attributes:
        program: Of QEMU; found on PATH, or named by the variable.
        variable: HEIRLOOM_QEMU_XTENSA or HEIRLOOM_QEMU_RISCV32.
        model: As for `-M`.
        wifi: Whether its radio is emulated.
        pace: As `Driver.pace`.
    """

    program: str
    variable: str
    model: str
    wifi: bool
    pace: float

    def find(self) -> str | None:
        """The program, or None."""
        return os.environ.get(self.variable) or shutil.which(self.program)


MACHINES = {
    "esp32": Machine("qemu-system-xtensa", "HEIRLOOM_QEMU_XTENSA", "esp32-picsimlab", wifi=True, pace=60.0),
    "esp32c3": Machine("qemu-system-riscv32", "HEIRLOOM_QEMU_RISCV32", "esp32c3", wifi=False, pace=4.0),
}


def unavailable_reason(resource: Resource) -> str | None:
    """Why this board cannot be emulated here, or None."""
    chip = resource.load_board().chip
    machine = MACHINES.get(chip)
    if machine is None:
        return f"QEMU has no machine for {chip}"
    if machine.find() is None:
        return f"no {machine.program} with the ESP32 machines: put it on PATH, or name it in {machine.variable}"
    return firmware.unavailable_reason(resource)


class Esp32Driver(EmulatedDriver):
    """Drives an emulated ESP32 or ESP32-C3. Its console is its first serial port.

    Power is cut by ending the process at any moment: the flash commands that were done stay, nothing else.
    """

    # MicroPython reads its serial port from a small buffer, as on a real board.
    pacing = (32, 0.01)

    def __init__(self, resource: Resource, directory: Path) -> None:
        if reason := unavailable_reason(resource):
            raise HeirloomError(reason, "see docs/rigs.md")
        super().__init__(resource, directory)
        self.machine = MACHINES[self.board.chip]
        self.pace = self.machine.pace
        found = {Capability.FILESYSTEM, Capability.POWER}
        if self.machine.wifi:
            found.add(Capability.NETWORK)
            self.network = Network(SSID)
        if "firmware-ota" in self.board.capabilities:
            found.add(Capability.FIRMWARE)
        self.capabilities = frozenset(found - self.given_up)

    @property
    def id(self) -> str:
        """The fuses of the emulated chips hold no address."""
        return "00" * 6

    def blank_flash(self) -> bytes:
        """A published image laid out anew, with two slots where its board has them."""
        try:
            parts = self._parts()
        except ImportError as exc:
            raise HeirloomError("esptool is not installed", advice_for("esptool")) from exc
        return images.whole_flash(self.board, variants.for_flash_size(parts, self.board.flash.size))

    @property
    def firmware(self) -> bytes:
        """Of the published image."""
        return self._parts().app

    def firmware_image(self, kind: FirmwareKind) -> bytes:
        """The published one, changed."""
        return variants.other(self.firmware) if kind == "other" else variants.bad(self.firmware)

    def _parts(self) -> images.Parts:
        return images.split(firmware.find(self.resource).read_bytes(), self.board.chip)

    def connect(self, port: int) -> str:
        """The emulated network leads to that port, and nowhere else."""
        self.port = port
        return f"http://{HOST}:{port}/"

    def command(self) -> Sequence[str]:
        """QEMU."""
        program = self.machine.find()
        if program is None:
            raise RigTrouble(f"{self.machine.program} is gone", "put it on PATH again")
        argv = [program, "-M", self.machine.model, "-nographic", "-monitor", "none", "-serial", "stdio"]
        argv += ["-drive", f"file={_escaped(str(self.flash_path))},if=mtd,format=raw"]
        # Its clock runs with its instructions: on a busy machine it would take itself for hung, and reset.
        if self.machine.wifi:
            argv += ["-icount", "shift=2", "-nic", self._network()]
        else:
            argv += ["-icount", "shift=2,sleep=off"]
        return argv

    def _network(self) -> str:
        """`restrict` shuts everything off, and the one forward opens one door.

        QEMU starts a process for each connection; a forward to a socket of its own would serve only the first.
        """
        found = "user,model=esp32_wifi,restrict=on"
        if self.port:
            command = f"{sys.executable} -I -S {relay.__file__} {self.port}"
            found += f",guestfwd=tcp:{HOST}:{self.port}-cmd:{_escaped(command)}"
        return found


def _escaped(text: str) -> str:
    """QEMU's options end at a comma."""
    return text.replace(",", ",,")
