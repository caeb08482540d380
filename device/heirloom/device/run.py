"""What main.py does with the client before the application starts: check the slot, repair, install what is due."""

import time

import heirloom_boot
import machine
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_ALIVE_S = const(30)
_FIRST_WAIT_S = const(5)
_LONGEST_WAIT_S = const(600)


def before(abnormal: bool, done: int) -> None:
    """Returns when the application may start; resets when another slot must run, or the client took memory.

    abnormal: the device did not just power on or wake, so what lies on flash is looked at before it is trusted.
    done: TRIED or CHECKED when the client did its work and then reset for the application to find an empty heap.
    """
    state = heirloom_boot.load()
    if state is None:
        from heirloom.device import recovery

        there = heirloom_boot.exists("/heirloom/state")
        heirloom_boot.log("the state is damaged and is made anew" if there else "there is no state yet: it is made")
        recovery.rebuild()
        machine.reset()
    slot = heirloom_boot.choose(state)
    if not done:
        mounted = heirloom_boot.exists("/app")
        if slot and (state["t"] or abnormal or not mounted):
            _check_slot(state, slot, mounted)
            heirloom_boot.forget("run")
        if not slot:
            _recover()
        if state["d"] or (state["t"] and state["y"][3] == "check") or (state["s"] and _something_new()):
            _check_and_restart(bool(state["t"]))
    _start_poll(state, done)


def _something_new() -> bool:
    """For an application without an event loop, which cannot look while it runs."""
    import asyncio

    return bool(asyncio.run(heirloom_boot.client("poll").look()) == heirloom_boot.client("poll").CHANGED)


def _check_and_restart(on_trial: bool) -> None:
    """Checks and installs, then resets: names once interned never leave the heap, and lie between what was freed."""
    checked = check_and_install(on_trial)
    heirloom_boot.change(d=0, h=heirloom_boot.CHECKED if checked else heirloom_boot.TRIED)
    heirloom_boot.orderly()
    machine.reset()


def _check_slot(state: "dict[str, Any]", slot: str, mounted: bool) -> None:
    """Hashes every blob of the slot; repairs it, else turns to the other one."""
    from heirloom.device import recovery

    damaged = recovery.damaged(slot)
    if damaged is None:
        recovery.fall_over(state, slot, "its manifest is damaged")
    elif damaged:
        heirloom_boot.log(f"{len(damaged)} files of slot {slot} are damaged; fetching them again")
        if not recovery.repair(slot):
            recovery.fall_over(state, slot, "its files are damaged")
    elif not mounted:
        raise RuntimeError("the release is intact but cannot be mounted")
    elif slot != state["a"]:
        recovery.fall_over(state, state["a"], "its manifest is missing")


def _recover() -> None:
    """Nothing can run: checks and installs, again and again, until something does. Ctrl-C reaches the REPL."""
    wait_s = heirloom_boot.timing("check_after_s", _FIRST_WAIT_S)
    while True:
        short = False
        try:
            check_and_install(False, True)
        except MemoryError as error:
            print("heirloom:", error)
            short = True
        print("heirloom: nothing is installed; press Ctrl-C for the REPL")
        for _ in range(wait_s * 10):
            time.sleep_ms(100)
        if short:
            machine.reset()  # a heap that is in pieces stays so: trying again in it would never end
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def check_and_install(on_trial: bool, recovering: bool = False) -> bool:
    """One update check with the whole heap; installs and resets when there is something.

    Returns whether verified, fresh metadata was reached. Raises MemoryError when nothing runs that could go on.
    """
    heirloom_boot.unmount()
    completed = False
    try:
        heirloom_boot.client("network").connect()
        updater = heirloom_boot.client("updater").Updater(progress, recovering=recovering)
        try:
            release = updater.check()
        finally:
            completed = updater.completed
        if release and not on_trial and updater.install(release):
            machine.reset()
    except MemoryError as error:
        if recovering:
            raise
        print("heirloom:", error)
    except Exception as error:  # of the client, which was loaded anew: its UpdateError is another class than ours
        if not getattr(error, "recorded", False):
            print("heirloom:", error)
    heirloom_boot.forget()
    return completed


def progress(done: int, total: int) -> None:
    """Prints how far a download is."""
    print(f"heirloom: {done} of {total} bytes")


def _start_poll(state: "dict[str, Any]", done: int) -> None:
    """Leaves the poll behind for the application's own event loop, and for one without a loop a look each second."""
    import asyncio

    checked = done == heirloom_boot.CHECKED
    poll = heirloom_boot.client("poll")
    asyncio.create_task(poll.task(bool(done), checked))  # noqa: RUF006 - MicroPython's loop keeps its tasks
    if state["t"]:
        heirloom_boot.watch.hook = poll.Patience(heirloom_boot.timing("alive_s", _ALIVE_S), state["y"][3], checked).tick
