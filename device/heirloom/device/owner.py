"""The owner's switches, obeyed before anything else: /heirloom/owner.cbor and its last good copy.

Without any file the owner has said nothing, and updates are on. A file that cannot be read, or says what no switch
means, means its last good copy; when that is gone too, updates are off until somebody says otherwise: never the
defaults.

    from heirloom.device import owner
    owner.change(updates="ask")        # at the REPL, in a menu of the application's own
    owner.accept_stale()               # take expired metadata, once (docs/adr/0006)
    owner.install_from("/sd")          # at the next start, from a card
    owner.approve()                    # yes to the release that waits

Only a person's act at the device may lead to those calls (presence.py). Nothing that a release, a server or a stick
brings makes them.
"""

import os

import heirloom_boot
from micropython import const

from heirloom.device.store import read

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

FILE = "/heirloom/owner.cbor"
COPY = "/heirloom/owner.bak"
# A file of its own: from the copy of the switches a permission would come back.
_STALE = "/heirloom/stale-once"
NAMES = {1: "updates", 2: "network", 3: "channel", 4: "pinned", 5: "url", 6: "tls_only", 7: "media"}
_FILE_BYTES = const(1024)
_NAME_BYTES = const(64)
_PLACE_BYTES = const(255)


class Owner:
    """updates: "on", "ask" or "off"; network: may the client use it; the others: None or text.

    media: where a card or stick is looked at by itself at each start. damaged: neither file could be read.
    others: what a newer client wrote, by number; kept when a switch is changed.
    """

    updates: "str" = "on"
    network: "bool" = True
    channel: "str | None" = None
    pinned: "str | None" = None
    url: "str | None" = None
    tls_only: "bool" = False
    media: "str | None" = None
    damaged: "bool" = False

    def __init__(self) -> None:
        self.others: "dict[object, object]" = {}

    def as_dict(self) -> "dict[str, object]":
        """The switches by name, for status reports."""
        return {name: getattr(self, name) for name in NAMES.values()}


def load() -> Owner:
    """The switches as last set."""
    if not heirloom_boot.exists(FILE) and not heirloom_boot.exists(COPY):
        return Owner()
    for path in (FILE, COPY):
        owner = Owner()
        if _apply(owner, read(path, _FILE_BYTES)):
            return owner
    owner = Owner()
    owner.updates, owner.damaged = "off", True
    return owner


def _apply(owner: Owner, data: bytes) -> bool:
    from heirloom.device import cbor  # only who said something pays for it

    try:
        values = cbor.decode(data)
    except cbor.CborError:
        return False
    if not isinstance(values, dict) or 1 not in values:
        return False
    for number, name in NAMES.items():
        if number in values:
            if not valid(name, values[number]):
                return False
            setattr(owner, name, values.pop(number))
    owner.others = values
    return True


def valid(name: str, value: object) -> bool:
    """Whether a switch can have this value."""
    if name == "updates":
        return isinstance(value, str) and value in ("on", "ask", "off")
    if name == "network" or name == "tls_only":
        return value is True or value is False
    if value is None:
        return True
    longest = _PLACE_BYTES if name == "url" else _NAME_BYTES
    if not isinstance(value, str) or not 0 < len(value) <= longest or not all(" " < c < "\x7f" for c in value):
        return False
    if name == "url":
        return value.startswith(("http://", "https://"))
    if name == "media":
        return len(value) > 1 and value[0] == "/" and ".." not in value
    return "/" not in value


def change(**values: object) -> Owner:
    """Sets switches by name; only a person's wish may call this. Raises UpdateError."""
    from heirloom.device import presence

    return presence.change(**values)


def accept_stale() -> None:
    """The next check that could install takes expired metadata, whatever comes of it; signatures and versions hold.

    That check is due at the next start. Raises UpdateError.
    """
    from heirloom.device import presence

    presence.accept_stale()


def install_from(path: str = "/sd", stale: bool = False) -> None:
    """The next start installs from a card, a stick or a bundle file; see presence.install_from. Raises UpdateError."""
    from heirloom.device import presence

    presence.install_from(path, stale)


def approve(version: "Optional[str]" = None) -> str:
    """Yes to the release that waits; the next start installs it. Returns its version. Raises UpdateError."""
    from heirloom.device import presence

    return presence.approve(version)


def stale_pending() -> bool:
    """Whether expired metadata may be taken, which was not yet used."""
    return heirloom_boot.exists(_STALE)


def take_stale() -> bool:
    """Uses that permission up; whether there was one.

    It has left flash before this returns, so a power cut after it never gives a second one.
    """
    try:
        os.remove(_STALE)
    except OSError:
        return False
    return True
