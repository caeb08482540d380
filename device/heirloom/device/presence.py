"""What only a person at the device may ask for: at its REPL, in its menu, by a button held down.

Nothing that a release, a server or a medium brings leads here. What is asked for is done at the next start, when the
whole heap is free; `install_now` does it at once, for whoever holds the REPL.
"""

import gc
import os

import heirloom_boot
from micropython import const

from heirloom.device import owner
from heirloom.device.errors import E_STATE, UpdateError
from heirloom.device.store import flash_error, read, remove, write_atomic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

_MEDIA = "/heirloom/media-once"
_STALE = "/heirloom/stale-once"
_MEANS = {
    "updates": '"on", "ask" or "off"',
    "network": "True or False",
    "channel": "a name, or None for the one it was made with",
    "pinned": "a version, or None",
    "url": "an http or https address, or None",
    "tls_only": "True or False",
    "media": 'a path as in "/sd", or None',
}


def change(**wanted: "Any") -> owner.Owner:
    """Sets switches by name, all or none of them. Raises UpdateError E_STATE for a switch or value that is none."""
    from heirloom.device import cbor

    switches = owner.load()
    for name, value in wanted.items():
        if name not in _MEANS:
            raise UpdateError(E_STATE, f"the owner has no switch {name[:20]}; there are {', '.join(sorted(_MEANS))}")
        if not owner.valid(name, value):
            raise UpdateError(E_STATE, f"{name} is {_MEANS[name]}, not {repr(value)[:60]}")
        setattr(switches, name, value)
    kept = switches.as_dict()
    values = dict(switches.others)
    values.update({key: kept[name] for key, name in owner.NAMES.items() if kept[name] is not None})
    data = cbor.encode(values)
    write_atomic(owner.FILE, data)
    write_atomic(owner.COPY, data)
    if wanted:
        due()  # perhaps there is something to do now
    return switches


def accept_stale() -> None:
    """The next check that could install takes expired metadata, whatever comes of it; signatures and versions hold."""
    write_atomic(_STALE, b"1")
    due()


def install_from(path: str = "/sd", stale: bool = False) -> None:
    """The next start installs from a folder or bundle file, whatever the switches say of the network's updates.

    stale: also take expired metadata, this once.
    """
    from heirloom.device.media import path_of

    path = path_of(path)
    if not owner.valid("media", path):
        raise UpdateError(E_STATE, f"the place is {_MEANS['media']}, not {path[:60]!r}")
    write_atomic(_MEDIA, path.encode())
    if stale:  # after the place: cut here, the permission must not be left for the network
        write_atomic(_STALE, b"1")
    due()


def take_media() -> str:
    """Uses that wish up; the path, or "" when there was none. It has left flash before this returns."""
    path = wished_media()
    try:
        os.remove(_MEDIA)
    except OSError:
        return ""
    return path


def wished_media() -> str:
    """The path of the medium that the next start is to install from; "" when there is no such wish."""
    try:
        path = str(read(_MEDIA, 100), "utf-8")
    except ValueError:
        return ""
    return path if path and owner.valid("media", path) else ""


def install_now(path: str, stale: bool = False) -> "Optional[str]":
    """Installs from a folder or bundle file at once; returns the version that the next start runs, or None.

    For a REPL at which nothing else runs, as with `mpremote mount`. Raises UpdateError.
    """
    if stale:
        write_atomic(_STALE, b"1")
    heirloom_boot.unmount()
    gc.threshold(heirloom_boot._TIDY_BYTES)  # noqa: SLF001 - as main.py has it for the client
    updater = heirloom_boot.client("updater").Updater(_say, media=path, present=True)
    release = updater.check()
    if release and updater.install(release):
        return str(release.version)
    return None


def approve(version: "Optional[str]" = None) -> str:
    """The owner's yes to the release that waits for it; the next start installs it. Returns its version.

    version: only to this one. Raises UpdateError E_STATE when it is not that one that waits.
    """
    waiting = heirloom_boot.read_json("last").get("waiting") or {}
    if not waiting or version not in (None, waiting.get("version")):
        waits = waiting.get("version") or "nothing"
        raise UpdateError(E_STATE, f"{version or 'no release'} does not wait for the owner's yes; {waits} does")
    _state(k=waiting["order"], d=1)
    return str(waiting["version"])


def forget_failed() -> int:
    """Forgets which releases failed here, so that they are tried again; returns how many there were."""
    state = heirloom_boot.current()
    _state(x=[], w=None, d=1)
    return len(state["x"]) + (1 if state.get("w") else 0)


def due() -> None:
    """The next start begins with a check. Raises UpdateError."""
    _state(d=1)


def withdraw() -> None:
    """Takes back what was allowed once and not yet used."""
    remove(_STALE)
    remove(_MEDIA)
    _state(k=None)


def _state(**values: "Any") -> None:
    try:
        heirloom_boot.change(**values)
    except OSError as error:
        raise flash_error(error, "state") from None


def _say(done: int, total: int) -> None:
    print(f"heirloom: {done} of {total} bytes")
