"""The owner's switches, obeyed before anything else: /heirloom/owner.cbor and its last good copy.

Without any file the owner has said nothing, and updates are on. A file that cannot be read means its last
good copy; when that is gone too, updates are off until somebody says otherwise: never the defaults.

An owner who stands beside the device may also let it take expired metadata, once (docs/adr/0006):

    from heirloom.device import owner
    owner.accept_stale()               # at the REPL, or where the application reads a button held down
    machine.reset()

Only a person's act at the device may lead to that call. Nothing that a release, a server or a stick brings makes it.
"""

import os

import heirloom_boot

from heirloom.device.errors import E_STATE, UpdateError
from heirloom.device.store import flash_error, read, write_atomic

_FILE = "/heirloom/owner.cbor"
_COPY = "/heirloom/owner.bak"
# A file of its own: from the copy of the switches a permission would come back.
_STALE = "/heirloom/stale-once"
_NAMES = {1: "updates", 2: "network", 3: "channel", 4: "pinned", 5: "url", 6: "tls_only"}


class Owner:
    """updates: "on", "ask" or "off"; network: may the client use it; channel, pinned version and url: None or text."""

    updates: "str" = "on"
    network: "bool" = True
    channel: "str | None" = None
    pinned: "str | None" = None
    url: "str | None" = None
    tls_only: "bool" = False

    def as_dict(self) -> "dict[str, object]":
        """The switches by name, for status reports."""
        return {name: getattr(self, name) for name in _NAMES.values()}


def load() -> Owner:
    """The switches as last set."""
    owner = Owner()
    data, copy = read(_FILE), read(_COPY)
    if not data and not copy:
        return owner
    if not (_apply(owner, data) or _apply(owner, copy)):
        owner.updates = "off"
    return owner


def _apply(owner: Owner, data: bytes) -> bool:
    from heirloom.device import cbor  # only who said something pays for it

    try:
        values = cbor.decode(data)
        if not isinstance(values, dict) or values.get(1) not in ("on", "ask", "off"):
            return False
    except cbor.CborError:
        return False
    for key, name in _NAMES.items():
        if key in values:
            setattr(owner, name, values[key])
    return True


def change(**values: object) -> Owner:
    """Sets switches by name; only a person's wish may call this. Raises UpdateError."""
    from heirloom.device import cbor

    owner = load()
    for name, value in values.items():
        if name not in _NAMES.values() or (name == "updates" and value not in ("on", "ask", "off")):
            raise UpdateError(E_STATE, f"the owner has no switch {name}={value!r}")
        setattr(owner, name, value)
    set_names = {key: getattr(owner, name) for key, name in _NAMES.items()}
    data = cbor.encode({key: value for key, value in set_names.items() if value is not None})
    write_atomic(_FILE, data)
    write_atomic(_COPY, data)
    return owner


def accept_stale() -> None:
    """The next check that could install takes expired metadata, whatever comes of it; signatures and versions hold.

    That check is due at the next start. Raises UpdateError.
    """
    write_atomic(_STALE, b"1")
    try:
        heirloom_boot.change(d=1)
    except OSError as error:
        raise flash_error(error, "state") from None


def stale_pending() -> bool:
    """Whether that permission is there and not yet used."""
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
