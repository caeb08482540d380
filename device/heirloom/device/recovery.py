"""When the state or a slot is damaged: make the state anew, fetch damaged files again, turn to the other slot, or start over."""

import json
import time

import heirloom_boot
import machine

from heirloom.device.blobs import Blobs, load
from heirloom.device.errors import UpdateError
from heirloom.device.store import TRUST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_FIRST_WAIT_S = 5
_LONGEST_WAIT_S = 600


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
    found.sort(key=lambda entry: entry[0])
    if found:
        order, floor, slot, confirm = found[-1]
        state["a"] = slot
        if len(found) == 2:
            state["f"] = found[0][2]
            state["t"] = [heirloom_boot.TRIAL_BOOTS, heirloom_boot.TRIAL_POWER_LOSSES, heirloom_boot.ORDERLY]
            state["y"] = order + [floor, confirm]
        state["o"] = found[0][0]
        state["l"] = [found[0][0][0], found[0][1]]
    heirloom_boot.save(state)
    return state


def damaged(slot: str) -> "Optional[list[tuple[int, bytes]]]":
    """(length, sha256) of the blobs of a slot that are not what they should be; None when its manifest is damaged."""
    try:
        return Blobs().damaged(load(heirloom_boot.slot_path(slot)))
    except UpdateError:
        return None


def repair(bad: "list[tuple[int, bytes]]") -> bool:
    """Fetches damaged blobs again, by their hash alone. Returns whether all are whole now."""
    from heirloom.device import network
    from heirloom.device.updater import Updater

    blobs = Blobs()
    try:
        network.connect()
        places = Updater().places()
        for length, sha256 in bad:
            blobs.fetch(places, length, sha256, lambda done: None)
        return True
    except UpdateError as error:
        heirloom_boot.log(str(error))
        return False


def fall_over(state: "dict[str, Any]", slot: "Optional[str]", why: str) -> None:
    """Gives a slot up and resets: the other one runs when it is whole, else the recovery. Marks nothing failed."""
    other = state["f"] if state["f"] != slot else None
    if other and damaged(other) != []:
        other = None
    heirloom_boot.log(f"slot {slot} cannot run: {why}; " + (f"slot {other} runs instead" if other else "starting over"))
    heirloom_boot.change(a=other, f=None, t=None, y=None)
    machine.reset()


def recover() -> None:
    """Nothing can run: checks and installs, again and again, until something does. Ctrl-C reaches the REPL."""
    from heirloom.device import network
    from heirloom.device.run import progress
    from heirloom.device.updater import Updater

    wait_s = heirloom_boot.timing("check_after_s", _FIRST_WAIT_S)
    while True:
        try:
            network.connect()
            updater = Updater(progress, recovering=True)
            release = updater.check()
            if release and updater.install(release):
                machine.reset()
        except UpdateError as error:
            print("heirloom: recovery:", error)
        except OSError as error:
            heirloom_boot.log(f"recovery: {error!r}")
        print("heirloom: nothing is installed; press Ctrl-C for the REPL")
        for _ in range(wait_s * 10):
            time.sleep_ms(100)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
