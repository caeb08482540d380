"""When the state or a slot is damaged: make the state anew, fetch damaged files again, or turn to the other slot."""

import json

import heirloom_boot
import machine
from micropython import const

from heirloom.device.blobs import Blobs, load, path_of
from heirloom.device.errors import UpdateError
from heirloom.device.store import TRUST, remove

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional


def rebuild() -> "dict[str, Any]":
    """Makes the state anew from the slots that verify: the newest on trial, the one before as what is confirmed."""
    state = heirloom_boot.new_state()
    try:
        with open(TRUST + "root.json") as file:
            state["r"] = json.load(file)["signed"]["version"]
    except Exception:
        pass  # the provisioned root starts the chain
    found = []
    for slot in "ab":
        if damaged(slot) == []:
            manifest = load(heirloom_boot.slot_path(slot))
            found.append((list(manifest.order), manifest.floor, slot, manifest.confirm))
    state["p"] = _marks([slot for _, _, slot, _ in found])
    found.sort(key=lambda entry: entry[0])
    if found:
        order, floor, slot, confirm = found[-1]
        state["a"] = slot
        if len(found) == 2:
            # The newer one may have been confirmed already: then its floor holds, and below it there is no way back.
            if found[0][0] >= [order[0], floor]:
                state["f"] = found[0][2]
            state["t"] = [heirloom_boot.TRIAL_BOOTS, heirloom_boot.TRIAL_POWER_LOSSES, heirloom_boot.ORDERLY]
            state["y"] = order + [floor, confirm]
        state["o"] = found[0][0]
        state["l"] = [found[0][0][0], found[0][1]]
    heirloom_boot.save(state)
    return state


def _marks(slots: "list[str]") -> "Optional[dict[str, str]]":
    """The firmware of each slot whose release brought one, found anew on flash; "-" where it is not there any more."""
    marks = {}
    for slot in slots:
        firmware = load(heirloom_boot.slot_path(slot)).firmware
        if firmware:
            from heirloom.device.firmware import find

            marks[slot] = find(firmware) or "-"
    return marks or None


def damaged(slot: str) -> "Optional[list[tuple[int, bytes]]]":
    """(length, sha256) of the blobs of a slot that are not what they should be; None when its manifest is damaged."""
    try:
        return Blobs().damaged(load(heirloom_boot.slot_path(slot)))
    except UpdateError:
        return None


def repair(slot: str) -> bool:
    """Fetches the damaged blobs of a slot again, by their hash alone. Returns whether all are whole now."""
    from heirloom.device import network, owner
    from heirloom.device.updater import Updater

    switches = owner.load()
    if switches.updates == "off" or not switches.network:
        heirloom_boot.log("its files are not fetched again: the owner has switched that off")
        return False
    bad = damaged(slot) or []
    blobs = Blobs()
    try:
        network.connect()
        places = Updater().places()
        heirloom_boot.forget("errors", "store", "cbor", "manifest", "blobs", "recovery", "run")
        for length, sha256 in bad:
            remove(path_of(sha256))
            blobs.fetch(places, length, sha256, lambda _done: None)
        return True
    except Exception as error:  # of the WLAN, too: whatever it is, what is damaged must not run
        heirloom_boot.log(str(error) if hasattr(error, "code") else repr(error))
        return False


def fall_over(state: "dict[str, Any]", slot: "Optional[str]", why: str) -> None:
    """Gives a slot up and resets: the other one runs when it is whole, else the recovery. Marks nothing failed."""
    other = state["f"] if state["f"] != slot else None
    if other and damaged(other) != []:
        other = None
    heirloom_boot.log(f"slot {slot} cannot run: {why}; " + (f"slot {other} runs instead" if other else "starting over"))
    heirloom_boot.change(a=other, f=None, t=None, y=None)
    machine.reset()
