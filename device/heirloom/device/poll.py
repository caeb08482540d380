"""Looks for updates while the application runs, as a task in its own event loop; confirms a trial.

A look is one conditional GET of the timestamp, which does not block the loop. Nothing in the answer is believed: when
it is not "not modified", the whole check is made, here when memory allows it, else in main.py after a reset.
Only this module stays in memory.
"""

import asyncio
import gc
import os
import sys
import time

import heirloom_boot
import machine
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_AFTER_S = const(5)
_EVERY_S = const(3600)
_RETRY_S = const(15)
_TRIES = const(4)
_PATIENCE_S = const(10)
UNCHANGED = 304
CHANGED = 200
_YEAR_2000 = 946684800
# Free heap with which a whole check is made beside the application.
_ROOM_BYTES = 110_000 if sys.maxsize > 1 << 32 else 56_000
# Free heap with which blobs are fetched beside it: their modules, a manifest, a kibibyte.
_FETCH_ROOM_BYTES = 64_000 if sys.maxsize > 1 << 32 else 32_000

loop_ran = False  # the application runs asyncio


async def task(tried: bool, checked: bool, background: bool = False) -> None:
    """Looks soon after the start and then each hour, give or take an eighth; earlier again when nobody answered.

    tried, checked: main.py began, and completed, a whole check at this start. background: the running release wants its
    loop left alone, so checks are made in main.py, and what they leave is fetched here.
    """
    global loop_ran  # noqa: PLW0603 - the one thing that the timer has to be told
    loop_ran = True
    state = heirloom_boot.change(s=0)
    mode = state["y"][3] if state["t"] else None
    # What a card brought was checked there, by the client that goes on: the next one can come the same way.
    offline = bool(mode) and bool(heirloom_boot.read_json("last").get("media"))
    if isinstance(mode, int):
        asyncio.create_task(_confirm_after(mode))  # noqa: RUF006 - MicroPython's loop keeps its tasks
    every_s = heirloom_boot.timing("check_every_s", _EVERY_S)
    wait_s = heirloom_boot.timing("check_after_s", _AFTER_S)
    failures = 0
    started = time.time()
    if len(state.get("b") or ()) == 2 and not state["t"]:
        await _fetch(state["b"], wait_s)
    while True:
        await asyncio.sleep(wait_s)
        status = await look()
        if status == CHANGED or (status and mode == "check" and not checked):
            # Whoever sits on the network can make this happen: at most one reset an hour comes of it.
            may_reset = not mode and (not tried or time.time() - started >= every_s)
            checked = _check(may_reset, background and not mode) or checked
        if (status or offline) and checked and mode == "check":
            heirloom_boot.confirm()
            mode = None
        failures = 0 if status else failures + 1
        jitter_s = every_s * (os.urandom(1)[0] - 128) // 1024
        wait_s = every_s + jitter_s if status else min(every_s, _RETRY_S << min(failures, 8))


async def _confirm_after(seconds: int) -> None:
    await asyncio.sleep(seconds)
    heirloom_boot.confirm()


async def look() -> int:
    """UNCHANGED, CHANGED (or never known, or expired), or 0 when nobody answers."""
    try:
        owner = heirloom_boot.client("owner").load()
        if owner.updates == "off" or not owner.network:
            return UNCHANGED
        for wait_ms in heirloom_boot.client("network").connecting():
            await asyncio.sleep_ms(wait_ms)
        last = heirloom_boot.read_json("last")
        etag = last.get("etag", "")
        if _expired():
            return CHANGED
        for url in last.get("urls") or heirloom_boot.read_json("device.json").get("urls", ()):
            status = await _ask(url, etag, owner.tls_only)
            if status:
                return UNCHANGED if status == UNCHANGED else CHANGED
    except Exception as error:
        print("heirloom: poll:", error)
    finally:
        heirloom_boot.forget()
    return 0


def _expired() -> bool:
    """Whether the timestamp that was verified last is past its date by the device's clock (TUF 5.4.4)."""
    signed = heirloom_boot.read_json("trust/timestamp.json").get("signed", {})
    year, month, day, hour, minute, second = time.gmtime()[:6]
    now = "%04d-%02d-%02dT%02d:%02d:%02dZ" % (year, month, day, hour, minute, second)
    return str(signed.get("expires", "")) <= now


async def _ask(url: str, etag: str, tls_only: bool) -> int:
    """The HTTP status of the timestamp at a place, 0 when it does not answer.

    The ETag's first letter says of which file it is, as in places.py.
    """
    urls = heirloom_boot.client("urls")
    name = "timestamp.json" if etag[:1] == "p" else "timestamp.json.z"
    tls, host, port, path = urls.split(url + "metadata/" + name)
    more = f"If-None-Match: {etag[1:]}\r\nConnection: close\r\n" if etag else "Connection: close\r\n"
    request = urls.head(host, port, path, more)
    try:
        return await asyncio.wait_for(_status(host, port, urls.tls_context() if tls else None, request), _PATIENCE_S)
    except (OSError, ValueError, asyncio.TimeoutError):
        if not tls or tls_only:
            return 0
    return await _ask("http" + url[5:], etag, tls_only)


async def _status(host: str, port: int, tls: "Any", request: bytes) -> int:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(request)
        await writer.drain()
        line = b""
        while len(line) < 12:  # "HTTP/1.1 304"
            more = await reader.read(12 - len(line))
            if not more:
                return 0
            line += more
        return int(line[9:12]) if line[:7] == b"HTTP/1." else 0
    finally:
        writer.close()


def _check(may_reset: bool, elsewhere: bool) -> bool:
    """The whole check; returns whether it was completed. Resets into main.py when there is something to install.

    elsewhere: it may not be made here, because it holds the loop up.
    """
    gc.collect()
    if elsewhere or gc.mem_free() < _ROOM_BYTES:
        if may_reset:
            _restart("something changed; restarting to check it")
        return False
    updater = heirloom_boot.client("updater").Updater(looking=True)
    try:
        release = updater.check()
        if release and updater.wants(release) and not heirloom_boot.current()["t"]:
            _restart(f"release {release.version} is there; restarting to install it")
    except Exception as error:
        if not getattr(error, "recorded", False):
            print("heirloom: poll:", error)
    heirloom_boot.forget()
    return bool(updater.completed)


async def _fetch(order: "list[int]", wait_s: int) -> None:
    """Fetches the release that main.py left staged, and resets for it to be installed; main.py does what fails here."""
    for attempt in range(_TRIES):
        await asyncio.sleep(wait_s if not attempt else _RETRY_S << attempt)
        gc.collect()
        if gc.mem_free() < _FETCH_ROOM_BYTES:
            print("heirloom: poll: too little memory to fetch beside the application")
            break
        try:
            owner = heirloom_boot.client("owner").load()
            if owner.updates == "off" or not owner.network:
                return
            for wait_ms in heirloom_boot.client("network").connecting():
                await asyncio.sleep_ms(wait_ms)
            background = heirloom_boot.client("background")
            came = await background.fetch(background.places(), owner.tls_only)
            heirloom_boot.log(f"{came} bytes came beside the application")
            break
        except Exception as error:
            print("heirloom: poll:", error)
        finally:
            heirloom_boot.forget()
    heirloom_boot.change(b=order + [1])
    _restart("restarting to install what was fetched")


def _restart(why: str) -> None:
    heirloom_boot.log(why)
    heirloom_boot.change(d=1)
    machine.reset()


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
        heirloom_boot.change(s=1)
        if self._confirms:
            heirloom_boot.confirm()
