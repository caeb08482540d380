"""What the roles have in common: type, version, expiry (TUF 4.3), and how files are described by others."""

import binascii
import hashlib

from heirloom.device.compat import const
from heirloom.device.errors import E_FORMAT, E_HASH, E_LENGTH, E_LIMIT, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from heirloom.device.canonical import Document

SPEC_MAJOR = const("1")
MAX_NAME = const(120)  # bytes of an escaped role name: it becomes a file name


class Header:
    """The fields that every role has. expires, signed_at: unix seconds; signed_at is 0 when absent."""

    def __init__(self, document: "Document", kind: str) -> None:
        """Reads them from a checked document of type kind. Raises UpdateError E_FORMAT."""
        name = document.name
        found = document.value("_type")
        if found != kind:
            raise document.malformed(f"is of type {found}, not {kind}")
        spec = document.value("spec_version")
        if not isinstance(spec, str) or not _supported(spec):
            raise document.malformed(f"follows TUF {spec}; this device knows {SPEC_MAJOR}.x")
        self.name = name
        self.version = natural(document.value("version"), f"version of {name}", 1)
        self.expires_text = document.value("expires")
        expires = seconds(self.expires_text)
        if expires is None:
            raise document.malformed("has no proper date in expires")
        self.expires = expires
        # Only Heirloom writes it, and it only ever helps: malformed, it counts as absent.
        self.signed_at = seconds(document.value("x-heirloom-signed-at")) or 0


class MetaFile:
    """How the timestamp describes the snapshot, and the snapshot a targets role (TUF 4.4, 4.5)."""

    def __init__(self, value: object, name: str) -> None:
        """value: the object; name: what it describes. Raises UpdateError E_FORMAT."""
        what = f"description of {name}"
        if not isinstance(value, dict):
            raise UpdateError(E_FORMAT, f"{what} is not an object")
        self.version = natural(value.get("version"), f"version in the {what}", 1)
        self.length: "Optional[int]" = None
        if "length" in value:
            self.length = natural(value["length"], f"length in the {what}")
        self.hashes: "dict[str, str]" = {}
        if "hashes" in value:
            self.hashes = hashes_of(value["hashes"], what)


def verify_file(document: "Document", meta: MetaFile, section: str) -> None:
    """Checks the file itself against what another role says of it.

    Raises UpdateError E_LENGTH or E_HASH; a hash of an unknown kind cannot be checked, so it is refused.
    """
    if meta.length is not None and document.length != meta.length:
        raise UpdateError(E_LENGTH, f"{document.name} has {document.length} bytes, not {meta.length} (TUF {section})")
    for kind in meta.hashes:
        digest = hasher(kind, document.name)
        document.hash_file(digest.update)
        if binascii.hexlify(digest.digest()).decode() != meta.hashes[kind]:
            raise UpdateError(E_HASH, f"{document.name} has another {kind} than signed (TUF {section})")


def hasher(kind: str, name: str) -> "Any":
    """A new hash object by its name in metadata. Raises UpdateError E_HASH for an unknown one."""
    if kind == "sha256":
        return hashlib.sha256()
    if kind == "sha512":
        from heirloom.device.sha512 import Sha512

        return Sha512()
    raise UpdateError(E_HASH, f"{name} has a {kind} to check, which this device does not know")


def natural(value: object, what: str, least: int = 0) -> int:
    """The value if it is an integer and not below the least. Raises UpdateError E_FORMAT."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UpdateError(E_FORMAT, f"the {what} is {value}")
    return value


def hashes_of(value: object, what: str) -> "dict[str, str]":
    """The value if it is an object of at least one hash. Raises UpdateError E_FORMAT."""
    if not isinstance(value, dict) or not value:
        raise UpdateError(E_FORMAT, f"the {what} has no proper hashes")
    for digest in value.values():
        if not isinstance(digest, str):
            raise UpdateError(E_FORMAT, f"the {what} has no proper hashes")
    return value


def _supported(spec_version: str) -> bool:
    parts = spec_version.split(".")
    for part in parts:
        if not part.isdigit():
            return False
    return parts[0] == SPEC_MAJOR and len(parts) in (2, 3)


def seconds(value: object) -> "Optional[int]":
    """Unix seconds of a date "YYYY-MM-DDTHH:MM:SSZ" (TUF 4.2.3); None when it is anything else."""
    if not isinstance(value, str):
        return None
    try:
        year, month, day = int(value[:4]), int(value[5:7]), int(value[8:10])
        hour, minute, second = int(value[11:13]), int(value[14:16]), int(value[17:19])
    except ValueError:
        return None
    # What int() took beside digits, and everything else in between, does not come out again as it was.
    if value != "%04d-%02d-%02dT%02d:%02d:%02dZ" % (year, month, day, hour, minute, second):
        return None
    first = _days(year, month)
    in_range = year > 0 and 1 <= month <= 12 and 1 <= day <= _days(year, month + 1) - first
    if not in_range or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return None
    return ((first + day) * 24 + hour) * 3600 + minute * 60 + second


def _days(year: int, month: int) -> int:
    """Days from 1970 to the one before a month; month 13 is the next January."""
    # With February last in the year, which then begins in March.
    if month < 3:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 - 719469


def escaped(role: str) -> str:
    """The name of a role as in file names: percent-encoded, all but A-Z a-z 0-9 _ . - ~ (as python-tuf does).

    Raises UpdateError E_LIMIT when it is too long to be a file name.
    """
    out = ""
    for c in role.encode():
        text = chr(c)
        out += text if text in "_.-~" or (c < 128 and (text.isalpha() or text.isdigit())) else "%%%02X" % c
    if len(out) > MAX_NAME:
        raise UpdateError(E_LIMIT, f"the name of role {out[:20]}... is longer than {MAX_NAME} bytes")
    return out
