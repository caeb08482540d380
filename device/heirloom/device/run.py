"""What main.py does with the client before the application starts: check the slot, repair, install what is due."""

import time

import heirloom_boot
import machine
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_ALIVE_S = const(30)
# Key 16 of a manifest and its value, as they are encoded: looked for instead of decoding all of it at each start.
_BACKGROUND = b"\x10\x6abackground"
_FIRST_WAIT_S = const(5)
_LONGEST_WAIT_S = const(600)
_OWNER = "/heirloom/owner.cbor"
_WISHED = "/heirloom/media-once"


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
    if heirloom_boot.exists("/heirloom/owed"):  # a power cut came between a person's word and its end
        heirloom_boot.client("ownership").finish()
        heirloom_boot.orderly()
        machine.reset()
    slot = heirloom_boot.choose(state)
    if not done:
        mounted = heirloom_boot.exists("/app")
        if slot and (state["t"] or abnormal or not mounted):
            _check_slot(state, slot, mounted)
            heirloom_boot.forget("run")
        if not slot:
            _recover()
    if state.get("p"):
        heirloom_boot.esp32().keep()
    if not done:
        check = state["y"][3] == "check" if state["t"] else heirloom_boot.exists(_WISHED)
        if check or state["d"] or _medium_has_news() or (state["s"] and _something_new()):
            _check_and_restart(bool(state["t"]))
    if slot and (state["t"] or heirloom_boot.exists("/heirloom/migrated")):
        heirloom_boot.client("migrating").settle(state, slot)
        heirloom_boot.forget("run")
    _start_poll(state, done)


def _something_new() -> bool:
    """For an application without an event loop, which cannot look while it runs."""
    import asyncio

    return bool(asyncio.run(heirloom_boot.client("poll").look()) == heirloom_boot.client("poll").CHANGED)


def _medium_has_news() -> bool:
    """Whether the owner lets a card or stick be looked at, and there is one that holds something new."""
    if not heirloom_boot.exists(_OWNER):
        return False
    owner = heirloom_boot.client("owner").load()
    return bool(owner.media and owner.updates != "off" and _news(owner.media))


def _news(path: str) -> bool:
    try:
        found = heirloom_boot.client("media").Media(path).news()
    except Exception:
        return False  # there is no card
    return bool(found) and found != heirloom_boot.read_json("last").get("news")


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
    for media, present in _sources(on_trial):
        completed = _check_one(media, present, on_trial, recovering) or completed
        if completed and not recovering:
            break
    heirloom_boot.forget()
    return completed


def _sources(on_trial: bool) -> "list[tuple[str, bool]]":
    """What to ask, in this order: (path of a medium, whether the owner stands there and wants it); "": the network."""
    sources = []
    wished = ""
    if heirloom_boot.exists(_WISHED) and not on_trial:  # nothing is installed during a trial, so it stays
        wished = heirloom_boot.client("presence").take_media()
    if wished:
        sources.append((wished, True))
    media = heirloom_boot.client("owner").load().media if heirloom_boot.exists(_OWNER) else None
    if media and media != wished and (_news(media) or not heirloom_boot.current()["a"]):
        sources.append((media, False))
    came_from = heirloom_boot.read_json("last").get("media") if on_trial else ""
    if came_from:
        sources.append((came_from, False))  # the next fix can come the same way
    sources.append(("", False))
    return sources


def _check_one(media: str, present: bool, on_trial: bool, recovering: bool) -> bool:
    """Asks one medium, or the network; as check_and_install."""
    updater = None
    try:
        if not media:
            owner = heirloom_boot.client("owner").load()
            if owner.network and owner.updates != "off":  # else not even the radio is switched on
                heirloom_boot.client("network").connect()
        updater = heirloom_boot.client("updater").Updater(progress, recovering=recovering, media=media, present=present)
        release = updater.check()
        left = release and not (on_trial or recovering or media) and _left_to_poll(release, updater)
        if release and not on_trial and not left and updater.install(release):
            machine.reset()
    except MemoryError as error:
        if recovering:
            raise
        print("heirloom:", error)
    except Exception as error:  # of the client, which was loaded anew: its UpdateError is another class than ours
        if not getattr(error, "recorded", False):
            print("heirloom:", error)
    return bool(updater and updater.completed)


def _left_to_poll(release: "Any", updater: "Any") -> bool:
    """Whether the release is to be fetched beside the application first; the check after that installs it."""
    state = heirloom_boot.current()
    if release.install != "background" or state["s"] or not state["a"] or state.get("b") == release.order + [1]:
        return False
    try:
        if not updater.wants(release):
            return False
        heirloom_boot.client("install").prepare()
        heirloom_boot.change(b=release.order)
    except Exception as error:
        print("heirloom:", error)
        return False  # installing says what is wrong, for the record
    heirloom_boot.log(f"release {release.version} will be fetched beside the application")
    return True


def progress(done: int, total: int) -> None:
    """Prints how far a download is."""
    print(f"heirloom: {done} of {total} bytes")


def _in_background(state: "dict[str, Any]") -> bool:
    """Whether the running release says that updates must not hold its loop up."""
    slot = heirloom_boot.choose(state)
    if not slot:
        return False
    with open(heirloom_boot.slot_path(slot), "rb") as file:
        return _BACKGROUND in file.read()


def _start_poll(state: "dict[str, Any]", done: int) -> None:
    """Leaves the poll behind for the application's own event loop, and for one without a loop a look each second."""
    import asyncio

    checked = done == heirloom_boot.CHECKED
    poll = heirloom_boot.client("poll")
    asyncio.create_task(poll.task(bool(done), checked, _in_background(state)))  # noqa: RUF006 - MicroPython's loop keeps its tasks
    if state["t"]:
        heirloom_boot.watch.hook = poll.Patience(heirloom_boot.timing("alive_s", _ALIVE_S), state["y"][3], checked).tick
