"""What the device says about itself: one dictionary, fit for JSON, without secrets."""

import os

import heirloom_boot
import machine
from micropython import const

from heirloom.device import owner
from heirloom.device.blobs import load
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
        "owner": owner.load().as_dict(),
        "accept_stale": owner.stale_pending(),
        "free_blocks": os.statvfs("/")[3],
        "boots": state["n"],
        "reset_cause": machine.reset_cause(),
    }


def _slot(slot: "Optional[str]") -> "Optional[dict[str, Any]]":
    if not slot:
        return None
    try:
        manifest = load(heirloom_boot.slot_path(slot))
    except UpdateError:
        return {"slot": slot, "version": None, "epoch": None, "sequence": None}
    return {"slot": slot, "version": manifest.version, "epoch": manifest.epoch, "sequence": manifest.sequence}
