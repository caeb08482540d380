"""Which firmware runs, and which one runs next: on an ESP32 whose releases brought firmware, and nowhere else.

Source, like heirloom_boot, and nothing of heirloom.*: whatever firmware the bootloader has started can read it. A
firmware is known by its mark, 12 hexadecimal digits of the SHA-256 of its partition's name and of the first 256 bytes
there: they hold its version and the hash of the program it was made from. Key p of the state has the mark of each slot.
"""

import binascii
import hashlib
import sys

import heirloom_boot
from esp32 import Partition
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

_HEAD_BYTES = const(256)
_VERSION = const(48)  # esp_app_desc_t.version, 32 bytes
_TRIES = 10


def running() -> Partition:
    """The partition whose firmware runs."""
    return Partition(Partition.RUNNING)  # type: ignore[arg-type]


def label(part: Partition) -> str:
    """The name of a partition."""
    return str(part.info()[4])


def mark(part: Partition) -> str:
    """What the firmware in a partition is known by."""
    head = bytearray(_HEAD_BYTES)
    part.readblocks(0, head, 0)
    return binascii.hexlify(hashlib.sha256(label(part).encode() + head).digest()[:6]).decode()


def find(wanted: str) -> "Optional[Partition]":
    """The partition whose firmware has that mark."""
    for part in Partition.find(Partition.TYPE_APP):
        if mark(part) == wanted:
            return part  # type: ignore[no-any-return]
    return None


def switch(state: "dict[str, Any]") -> None:
    """Has the bootloader start the firmware of the active slot, and resets. Returns when that cannot be.

    Then the firmware is gone or damaged: the slot is given up, and its release not marked failed. Raises OSError.
    """
    import machine

    slot, tries = state["a"], state.get("u") or 0
    part = find(state["p"][slot]) if tries <= _TRIES else None
    why = "its firmware does not stay" if tries > _TRIES else "its firmware is gone"
    if part:
        try:
            part.set_boot()
            machine.reset()
        except OSError as error:
            why = "its firmware is damaged: %r" % error
    heirloom_boot.log("slot %s cannot run: %s" % (slot, why))
    state["a"], state["f"], state["t"], state["y"], state["u"] = state["f"], None, None, None, None
    heirloom_boot.save(state)


def keep() -> None:
    """Tells the bootloader that the firmware which runs is well, so that it starts it again.

    Only when it is the one that was to start: after a fall back from a broken image the bootloader would take the
    word for that one.
    """
    if Partition(Partition.BOOT).info() == running().info():  # type: ignore[arg-type]
        Partition.mark_app_valid_cancel_rollback()


def describe() -> "dict[str, Any]":
    """For the status report: the partition that runs, its version, and its mark.

    The version is what the image names, or where it names none, as in those that MicroPython publishes, what runs says.
    """
    part = running()
    text = bytearray(32)
    part.readblocks(0, text, _VERSION)
    try:
        version = bytes(text).split(b"\0")[0].decode() or sys.version.split("MicroPython ")[-1].split(" ")[0]
    except UnicodeError:
        version = ""
    return {"partition": label(part), "version": version, "mark": mark(part)}
