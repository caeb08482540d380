"""What the device says about itself: one dictionary, fit for JSON, without secrets."""

import sys

import heirloom_boot
import machine
from micropython import const

from heirloom.device import owner
from heirloom.device.blobs import free_blocks, load
from heirloom.device.errors import UpdateError
from heirloom.device.store import read

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

CLIENT = "0.1.0"


def report() -> "dict[str, Any]":
    """The status report: versions of the client, the slots and the metadata, the owner's switches, the last check."""
    state = heirloom_boot.current()
    device = heirloom_boot.read_json("device.json")
    last = heirloom_boot.read_json("last")
    trial = state["t"]
    switches = owner.load()
    return {
        "client": CLIENT,
        "product": device.get("product"),
        "board": device.get("board"),
        "id": device.get("id"),
        "active": _slot(state["a"]),
        "fallback": _slot(state["f"]),
        "trial": trial
        and {"boots_left": trial[0], "power_left": trial[1], "started": trial[2] == heirloom_boot.STARTED},
        "confirmed": state["o"],
        "floor": state["l"],
        "failed": state["x"],
        "metadata": last.get("metadata") or {},
        "due": bool(state["d"]),
        "last_check": last.get("check"),
        "fetched": last.get("fetched"),
        "traceback": str(read("/heirloom/traceback"), "utf-8") or None,
        "owner": switches.as_dict(),
        "owner_damaged": switches.damaged,
        "waiting": last.get("waiting"),
        "media_once": _wished_media(),
        "accept_stale": owner.stale_pending(),
        "firmware": _firmware(),
        "free_blocks": free_blocks(),
        "boots": state["n"],
        "reset_cause": machine.reset_cause(),
    }


def _firmware() -> "dict[str, Any]":
    """What runs: on an ESP32 as its image says, with the partition."""
    try:
        firmware: "dict[str, Any]" = heirloom_boot.esp32().describe()
        return firmware
    except (ImportError, OSError):
        version = ".".join([str(part) for part in sys.implementation.version[:3]])
        return {"partition": None, "version": "v" + version, "mark": None}


def _wished_media() -> "Optional[str]":
    if not heirloom_boot.exists("/heirloom/media-once"):
        return None
    from heirloom.device import presence

    return presence.wished_media() or None


def _slot(slot: "Optional[str]") -> "Optional[dict[str, Any]]":
    if not slot:
        return None
    try:
        manifest = load(heirloom_boot.slot_path(slot))
    except UpdateError:
        return {"slot": slot, "version": None, "epoch": None, "sequence": None}
    return {"slot": slot, "version": manifest.version, "epoch": manifest.epoch, "sequence": manifest.sequence}
