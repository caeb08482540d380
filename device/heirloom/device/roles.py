"""What the roles have in common: type, version, expiry (TUF 4.3), and how files are described by others."""

import binascii
import hashlib

from heirloom.device.compat import const
from heirloom.device.errors import E_FORMAT, E_HASH, E_LENGTH, E_LIMIT, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from heirloom.device.canonical import Document

SPEC_MAJOR = "1"
MAX_NAME = 120  # bytes of an escaped role name: it becomes a file name

_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SHAPE = "0000-00-00T00:00:00Z"
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"


class Header:
    """The fields that every role has. expires, signed_at: unix seconds; signed_at is 0 when absent."""

    def __init__(self, document: "Document", kind: str) -> None:
        """Reads them from a checked document of type kind. Raises UpdateError E_FORMAT."""
        name = document.name
        found = document.value("_type")
        if found != kind:
            raise UpdateError(E_FORMAT, f"{name} is of type {found}, not {kind}")
        spec = document.value("spec_version")
        if not isinstance(spec, str) or not _supported(spec):
            raise UpdateError(E_FORMAT, f"{name} follows TUF {spec}; this device knows {SPEC_MAJOR}.x")
        self.name = name
        self.version = positive(document.value("version"), f"version of {name}")
        self.expires_text = document.value("expires")
        expires = seconds(self.expires_text)
        if expires is None:
            raise UpdateError(E_FORMAT, f"{name} has no proper date in expires")
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
        self.version = positive(value.get("version"), f"version in the {what}")
        self.length: "Optional[int]" = None
        if "length" in value:
            self.length = natural(value["length"], f"length in the {what}")
        self.hashes: "dict[str, str]" = {}
        if "hashes" in value:
            self.hashes = hashes_of(value["hashes"], what)


def verify_file(document: "Document", length: "Optional[int]", hashes: "dict[str, str]", section: str) -> None:
    """Checks the file itself against what another role says of it.

    Raises UpdateError E_LENGTH or E_HASH; a hash of an unknown kind cannot be checked, so it is refused.
    """
    if length is not None and document.length != length:
        raise UpdateError(E_LENGTH, f"{document.name} has {document.length} bytes, not {length} (TUF {section})")
    for kind in hashes:
        digest = hasher(kind, document.name)
        document.hash_file(digest.update)
        if binascii.hexlify(digest.digest()).decode() != hashes[kind]:
            raise UpdateError(E_HASH, f"{document.name} has another {kind} than signed (TUF {section})")


def hasher(kind: str, name: str) -> "Any":
    """A new hash object by its name in metadata. Raises UpdateError E_HASH for an unknown one."""
    if kind == "sha256":
        return hashlib.sha256()
    if kind == "sha512":
        from heirloom.device.sha512 import Sha512

        return Sha512()
    raise UpdateError(E_HASH, f"{name} has only to be checked by {kind}, which this device does not know")


def positive(value: object, what: str) -> int:
    """The value if it is an integer from 1. Raises UpdateError E_FORMAT."""
    number = natural(value, what)
    if number < 1:
        raise UpdateError(E_FORMAT, f"the {what} is {value}")
    return number


def natural(value: object, what: str) -> int:
    """The value if it is an integer from 0. Raises UpdateError E_FORMAT."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
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
    if len(parts) not in (2, 3) or parts[0] != SPEC_MAJOR:
        return False
    return all(_digits(part) for part in parts)


def _digits(text: str) -> bool:
    return bool(text) and all("0" <= character <= "9" for character in text)


def seconds(value: object) -> "Optional[int]":
    """Unix seconds of a date "YYYY-MM-DDTHH:MM:SSZ" (TUF 4.2.3); None when it is anything else."""
    if not isinstance(value, str) or len(value) != len(_SHAPE):
        return None
    for character, shape in zip(value, _SHAPE):
        if not ("0" <= character <= "9") if shape == "0" else character != shape:
            return None
    year, month, day = int(value[:4]), int(value[5:7]), int(value[8:10])
    hour, minute, second = int(value[11:13]), int(value[14:16]), int(value[17:19])
    if not (year and 1 <= month <= 12 and 1 <= day <= _days(year, month) and hour < 24 and minute < 60 and second < 60):
        return None
    # Days since 0000-03-01, with February last in the year.
    if month < 3:
        year -= 1
        month += 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1
    return ((days - 719468) * 24 + hour) * 3600 + minute * 60 + second


def _days(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and leap else _DAYS[month - 1]


def escaped(role: str) -> str:
    """The name of a role as in file names: percent-encoded, all but A-Z a-z 0-9 _ . - ~ (as python-tuf does).

    Raises UpdateError E_LIMIT when it is too long to be a file name.
    """
    out = "".join(chr(c) if chr(c) in _PLAIN else "%%%02X" % c for c in role.encode())
    if len(out) > MAX_NAME:
        raise UpdateError(E_LIMIT, f"the name of role {out[:20]}... is longer than {MAX_NAME} bytes")
    return out
