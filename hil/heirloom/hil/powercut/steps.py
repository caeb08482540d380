"""Which phase of an update a stretch of flash operations belongs to, by what changed in the end."""

from collections.abc import Mapping
from typing import Any

from heirloom.hil.powercut.facts import HOME, STATE, read_state

_TRUST = f"{HOME}/trust/"
_BLOBS = f"{HOME}/blobs/"
_SLOTS = f"{HOME}/slots/"
_MIGRATED = f"{HOME}/migrated"
# Written first, then renamed: what they are for is seen then.
_DRAFTS = (f"{STATE}.new", f"{_TRUST}tmp", f"{_TRUST}time.new", f"{_SLOTS}staging.cbor.new", f"{HOME}/last.new")
# By the beginning of the path, the first that fits.
_PATHS = (
    (f"{_TRUST}root", "root rotation"),
    (f"{_TRUST}tables/", "key tables"),
    (_TRUST, "metadata save"),
    (_BLOBS, "download"),
    (f"{_SLOTS}staging", "check"),
    (_SLOTS, "activation"),
    (f"{HOME}/owner", "owner change"),
    (f"{HOME}/owed", "owner change"),
    (f"{HOME}/device.json", "owner change"),
    (f"{HOME}/network.json", "owner change"),
    (f"{HOME}/last", "check"),
    (f"{HOME}/log", "log"),
    (f"{HOME}/traceback", "log"),
    (HOME, "other"),
)


def phase(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    """The phase that this change belongs to; "" when no file changed that has its own name already."""
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path) and path not in _DRAFTS]
    if not changed:
        return ""
    if STATE in changed:
        return _state(read_state(before.get(STATE)), read_state(after.get(STATE)))
    if any(path.startswith(_MIGRATED) for path in changed):
        return "migration"
    path = min(changed, key=len)
    if path.startswith(_BLOBS) and path not in after and not any(new in after for new in changed):
        return "garbage collection"
    return next((name for start, name in _PATHS if path.startswith(start)), "application")


def _state(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if not old:
        return "first start"
    if old.get("r") != new.get("r"):
        return "root rotation"
    if old.get("t") and not new.get("t"):
        return "confirm" if old.get("o") != new.get("o") else "rollback"
    if new.get("t") and not old.get("t"):
        return "activation"
    return "trial" if new.get("t") else "start"
