"""A life that was lived: its flash operations, and the flash in the end. And how to live one."""

import secrets
import shutil
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import write_atomic
from heirloom.hil.powercut import cuts
from heirloom.hil.powercut.enrol import NotProvisioned
from heirloom.hil.sim.page import Operation

if TYPE_CHECKING:
    from heirloom.hil.powercut.lives import Life
    from heirloom.hil.powercut.scene import Scene
    from heirloom.hil.sim import SimDevice

_LIFE_S = 60.0  # for one start to reach its end, on a busy machine
_GLANCE_S = 0.03
_HEAD = struct.Struct("<iI")
# What a device objects to has to be on its console.
_TRYING = "try:\n{}\nexcept Exception as error:\n    import sys\n    sys.print_exception(error)\n"


@dataclass(frozen=True)
class Record:
    """What came of a start.

    Attributes:
        operations: On flash, in their order.
        cells: The flash in the end.
        reached: Whether the device was where it should be.
        console: What it said.
    """

    operations: list[Operation]
    cells: bytes
    reached: bool
    console: str

    def save(self, path: Path, start: bytes) -> None:
        """Keep it, with the flash that it started from."""
        packed = [_HEAD.pack(one.address, len(one.data)) + one.data for one in self.operations]
        write_atomic(path, zlib.compress(struct.pack("<I", len(start)) + start + b"".join(packed), 1))


def load(path: Path) -> tuple[bytes, list[Operation]]:
    """A record's start and its operations, as `Record.save` wrote them.

    Raises:
        RigTrouble: It is damaged.
    """
    try:
        data = zlib.decompress(path.read_bytes())
        (length,) = struct.unpack_from("<I", data)
        at, found = 4 + length, []
        while at < len(data):
            address, count = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            found.append(Operation(address, data[at : at + count]))
            at += count
        return data[4 : 4 + length], found
    except (OSError, zlib.error, struct.error) as exc:
        raise RigTrouble(f"the record {path} cannot be read: {exc}", "sweep again into a new folder") from exc


def live(scene: "Scene", life: "Life", cells: bytes, folder: Path) -> Record:
    """Start a device from a flash, in a process of its own, and let it live until it is where it should be.

    Args:
        scene: The product, being served.
        life: Says where it should be.
        cells: The flash.
        folder: For the device.

    Raises:
        RigTrouble: What was recorded does not lead to what the flash holds.
    """
    place = folder / f"device-{secrets.token_hex(6)}"
    try:
        medium = scene.medium(life)
        with scene.device(place, life, cells) as device:
            device.record_flash()
            why = ""
            try:
                reached = goes_its_way(scene, life, device)
            except NotProvisioned as exc:
                reached, why = False, exc.message
            device.power_off()
            record = Record(medium.operations(device), medium.read(device), reached, device.console() + why)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if not _leads_to(cells, record, medium.block_size):
        raise RigTrouble("the record of a device does not lead to its flash")
    return record


def _leads_to(start: bytes, record: Record, block_size: int) -> bool:
    """Whether the operations lead to the flash; the last one may have been cut by the switch."""
    cells = bytearray(start)
    for operation in record.operations[:-1]:
        cuts.apply(cells, operation, block_size)
    if not record.operations:
        return bytes(cells) == record.cells
    last = record.operations[-1]
    end = last.address + (len(last.data) or block_size)
    cells[last.address : end] = record.cells[last.address : end]
    return bytes(cells) == record.cells


def goes_its_way(scene: "Scene", life: "Life", device: "SimDevice") -> bool:
    """Switch a device on, or say to it what its life is about; whether it gets where it should be. It stays on."""
    if life.says:
        _say(device, scene.says(life))
    else:
        device.power_on()
    if life.provisions:
        scene.enrol(life, device)
    return _wait(scene, life, device)


def _say(device: "SimDevice", code: str) -> None:
    """A person at the REPL; whether the device understood is seen on its flash."""
    device.power_on(hold_repl=True)
    try:
        device.wait_for(r"^>>> ", _LIFE_S)
        device.exec(_TRYING.format(indent(code, "    ")), _LIFE_S)
    except RigTrouble:
        raise
    except HeirloomError:
        return


def _wait(scene: "Scene", life: "Life", device: "SimDevice") -> bool:
    deadline = time.monotonic() + _LIFE_S
    seen = looked = -1
    while True:
        now = device.flash.operations
        # Only at a flash that stands still, and once.
        if now == seen != looked:
            looked = now
            if _has_reached(scene, life, device, now):
                return True
        if time.monotonic() > deadline:
            return False
        seen = now
        time.sleep(_GLANCE_S)


def _has_reached(scene: "Scene", life: "Life", device: "SimDevice", operations: int) -> bool:
    try:
        facts = scene.facts(life, bytearray(scene.medium(life).read(device)))
    except HeirloomError:
        if device.flash.operations != operations:
            return False  # it wrote while it was read
        raise
    served = scene.served[life.serves]
    return device.flash.operations == operations and life.reached(facts, served.order, served.root)
