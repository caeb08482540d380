"""The owner's switches, obeyed before anything else: /heirloom/owner.cbor and its last good copy.

Without any file the owner has said nothing, and updates are on. A file that cannot be read means its last
good copy; when that is gone too, updates are off until somebody says otherwise: never the defaults.
"""

from heirloom.device import cbor
from heirloom.device.errors import E_STATE, UpdateError
from heirloom.device.store import read, write_atomic

_FILE = "/heirloom/owner.cbor"
_COPY = "/heirloom/owner.bak"
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
