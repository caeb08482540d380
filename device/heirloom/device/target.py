"""Targets: the files a repository is about, as targets roles list them (TUF 4.5)."""

import binascii

from heirloom.device.compat import const
from heirloom.device.errors import E_FORMAT, E_HASH, UpdateError
from heirloom.device.roles import hasher, hashes_of, natural

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Document


class Target:
    """One target as a verified role lists it."""

    def __init__(
        self, path: str, role: str, length: int, hashes: "dict[str, bytes]", custom: "dict[str, object]"
    ) -> None:
        self.path = path
        self.role = role  # the role that lists it
        self.length = length  # bytes
        self.hashes = hashes  # "sha256" -> digest, perhaps "sha512" too
        self.custom = custom  # {} when the role gives none

    @property
    def sha256(self) -> bytes:
        """The SHA-256 digest. Raises UpdateError E_FORMAT when the role gives only another."""
        if "sha256" not in self.hashes:
            raise UpdateError(E_FORMAT, f"target {self.path} in {self.role} has no sha256")
        return self.hashes["sha256"]


def find(document: "Document", path: str) -> "Optional[Target]":
    """The target with this path in a targets role, None when it is not listed.

    Raises UpdateError E_FORMAT when it is malformed, E_HASH when it has a hash this device does not know.
    """
    where = document.field("targets", path)
    if where is None:
        return None
    what = f"target {path} in {document.name}"
    value = document.load(where)
    if not isinstance(value, dict):
        raise UpdateError(E_FORMAT, f"{what} is not an object")
    length = natural(value.get("length"), f"length of {what}")
    hashes = {}
    for kind, digest in hashes_of(value.get("hashes"), what).items():
        hasher(kind, what)
        try:
            hashes[kind] = binascii.unhexlify(digest)
        except ValueError:
            raise UpdateError(E_HASH, f"{what} has a {kind} that is not hexadecimal") from None
    custom = value.get("custom")
    return Target(path, document.name, length, hashes, custom if isinstance(custom, dict) else {})
