"""Looks for updates while the application runs, as a task in its own event loop; confirms a trial.

Stays in memory: everything else is imported when a check is due and dropped after it.
"""

import asyncio
import gc
import os

import heirloom_boot
import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AFTER_S = 5
_EVERY_S = 3600
_RETRY_S = 15

loop_ran = False  # the application runs asyncio


async def task() -> None:
    """Checks soon after the start and then each hour, give or take an eighth; earlier again when nobody answered."""
    global loop_ran
    loop_ran = True
    state = heirloom_boot.change(s=0)
    mode = state["y"][3] if state["t"] else None
    if isinstance(mode, int):
        asyncio.create_task(_confirm_after(mode))
    every_s = heirloom_boot.timing("check_every_s", _EVERY_S)
    wait_s = heirloom_boot.timing("check_after_s", _AFTER_S)
    failures = 0
    while True:
        await asyncio.sleep(wait_s)
        try:
            completed = await _check(mode == "check")
        except Exception as error:
            heirloom_boot.log(f"check: {error!r}")
            completed = False
        gc.collect()
        failures = 0 if completed else failures + 1
        jitter = every_s * (os.urandom(1)[0] - 128) // 1024
        wait_s = every_s + jitter if completed else min(every_s, _RETRY_S << min(failures, 8))


async def _confirm_after(seconds: int) -> None:
    await asyncio.sleep(seconds)
    heirloom_boot.confirm()


async def _check(confirms: bool) -> bool:
    """One check; resets into main.py when there is something to install. Returns whether it completed."""
    updater = heirloom_boot.client("updater").Updater()
    try:
        release = await updater.apoll()
    finally:
        heirloom_boot.forget()
    if updater.completed and confirms:
        heirloom_boot.confirm()
    if release and updater.wants(release):
        heirloom_boot.log(f"release {release.version} is there; restarting to install it")
        heirloom_boot.change(d=1)
        machine.reset()
    return bool(updater.completed)


class Patience:
    """Watches a trial from the timer, for an application without an event loop: tick() each second."""

    def __init__(self, alive_s: int, mode: "Any", checked: bool) -> None:
        self._left = mode if isinstance(mode, int) else alive_s
        self._confirms = isinstance(mode, int) or (mode == "check" and checked)

    def tick(self) -> None:
        """After the time given: confirms, or has the next boot check before the application starts."""
        self._left -= 1
        if self._left != 0 or loop_ran:
            return
        heirloom_boot.watch.hook = None
        if self._confirms:
            heirloom_boot.confirm()
        elif not heirloom_boot.load()["s"]:
            heirloom_boot.log("the application runs no event loop: updates are checked before it starts")
            heirloom_boot.change(s=1)
            heirloom_boot.orderly()
            machine.reset()
