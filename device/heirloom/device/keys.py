"""Public keys, signatures and thresholds (TUF 4.2, 4.3 and the step "arbitrary software attack" of 5.3 to 5.6).

Who may sign a role is a Delegation, read from the root or from a targets role. Keys of unknown type and malformed
ones are not an error: they just never count. What counts towards a threshold are different keys, however many
key ids they go by.
"""

import binascii
import hashlib

from heirloom.device.canonical import tidy
from heirloom.device.compat import const
from heirloom.device.errors import E_KEYS, E_LIMIT, E_THRESHOLD, UpdateError
from heirloom.device.roles import natural

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from heirloom.device.canonical import Document, Slice
    from heirloom.device.protocols import Table, TableCache

MAX_SIGNATURES = const(64)

_ED25519 = const("ed25519")
_P256 = const("p256")
_RSA = const("rsa")
_KINDS = {
    ("ed25519", "ed25519"): _ED25519,
    ("ecdsa", "ecdsa-sha2-nistp256"): _P256,
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"): _P256,
    ("rsa", "rsassa-pss-sha256"): _RSA,
}


class Key:
    """A public key. name: hexadecimal, made from the key itself, so that one key has one name."""

    def __init__(self, kind: str, material: "Any") -> None:
        self.kind = kind
        self.material = material
        self.name = binascii.hexlify(hashlib.sha256(f"{kind}:{material}".encode()).digest()[:10]).decode()

    def verify(self, document: "Document", signature: bytes, tables: "Optional[TableCache]") -> bool:
        """Whether the signature is this key's over `signed` of the document.

        tables: where tables of keys are kept; without them, or when a kept one fails, one is made in memory.
        """
        try:
            if tables is None or self.kind == _RSA:
                return self._verify(document, signature, None)
            table = self._kept_table(tables)
            if table is not None and self._verify(document, signature, table):
                return True
            verified = self._verify(document, signature, None)
        except ValueError:  # the key is no point of its curve
            return False
        if verified:
            tables.drop(self.name)  # what it has is wrong
        return verified

    def _kept_table(self, tables: "TableCache") -> "Optional[Table]":
        table = tables.get(self.name)
        if table is None:
            tidy()
            tables.put(self.name, self.make_table)
            table = tables.get(self.name)
        return table

    def _verify(self, document: "Document", signature: bytes, table: "Optional[Table]") -> bool:
        scheme = _scheme(self.kind)
        if self.kind == _RSA:
            n, e = self.material
            return bool(scheme.verify(n, e, signature, document.digest))
        message = document.feed if self.kind == _ED25519 else document.digest
        return bool(scheme.verify(self.material, signature, message, table))

    def make_table(self, write: "Any") -> None:
        """Writes the comb table of this key by calling write(data)."""
        _scheme(self.kind).make_table(self.material, write)


def _scheme(kind: str) -> "Any":
    """The module that verifies keys of a kind; loaded when it is first needed."""
    if kind == _ED25519:
        from heirloom.device import ed25519

        return ed25519
    if kind == _RSA:
        from heirloom.device import rsapss

        return rsapss
    from heirloom.device import p256

    return p256


def parse(value: "Any") -> "Optional[Key]":
    """The key in a key object of TUF metadata (TUF 4.2); None when it is of no known type or malformed."""
    try:
        kind, public = _KINDS[value["keytype"], value["scheme"]], value["keyval"]["public"]
        if kind == _ED25519:
            point = binascii.unhexlify(public)
            return Key(kind, point) if len(point) == 32 else None
        from heirloom.device import der

        found, material = der.public_key(public)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return Key(kind, material) if found == kind else None


class Delegation:
    """Who signs a role: key ids and how many of them, with the document that says so and its keys."""

    def __init__(self, delegator: "Document", keys: "Optional[Slice]", role: "Slice") -> None:
        """keys, role: slices of the object of keys and of the one with keyids and threshold.

        Raises UpdateError E_FORMAT.
        """
        parts = dict(delegator.members(role))
        key_ids = delegator.load(parts.get("keyids"))
        if not isinstance(key_ids, list) or len(set(map(str, key_ids))) != len(key_ids):
            raise delegator.malformed("has a role with repeated key ids, or without a list of them")
        if keys is None:
            raise delegator.malformed("has a role without keys")
        self.delegator = delegator
        self.keys = keys
        self.key_ids: "list[str]" = list(map(str, key_ids))
        # A threshold of 0 would make everything signed (TUF 4.3).
        self.threshold = natural(delegator.load(parts.get("threshold")), f"threshold of a role in {delegator.name}", 1)

    def key(self, key_id: str) -> "Optional[Key]":
        """The key with this id, or None when there is none that is usable."""
        return parse(self.delegator.load(self.delegator.find(self.keys, key_id)))

    def verify(self, document: "Document", section: str, tables: "Optional[TableCache]" = None) -> None:
        """Checks that enough of these keys signed the document.

        section: of the specification, for the sentence. Raises UpdateError E_KEYS when none of them signed,
        E_THRESHOLD when too few did, E_FORMAT for malformed or repeated signatures.
        """
        signatures = _signatures(document, self.key_ids)
        counted: "set[str]" = set()
        for key_id, where in signatures.items():
            key = self.key(key_id)
            if key is None or key.name in counted:
                continue
            try:
                signature = binascii.unhexlify(document.load(where))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if key.verify(document, signature, tables):
                counted.add(key.name)
                if len(counted) == self.threshold:
                    return
        by = f"by {len(counted)} of the {self.threshold} keys that {self.delegator.name} wants"
        raise UpdateError(E_THRESHOLD if counted else E_KEYS, f"{document.name} is signed {by} (TUF {section})")


def _signatures(document: "Document", key_ids: "list[str]") -> "dict[str, Slice]":
    """Slices of the signatures by these keys. Raises UpdateError E_FORMAT when a key id occurs twice (TUF 4.2.1)."""
    seen: "set[str]" = set()
    found: "dict[str, Slice]" = {}
    for where in document.elements(document.signatures):
        parts = dict(document.members(where))
        key_id, signature = document.load(parts.get("keyid")), parts.get("sig")
        if not isinstance(key_id, str) or signature is None:
            raise document.malformed("has a malformed signature")
        if key_id in seen:
            raise document.malformed(f"has two signatures of key {key_id}")
        if len(seen) == MAX_SIGNATURES:
            raise UpdateError(E_LIMIT, f"{document.name} has more than {MAX_SIGNATURES} signatures")
        seen.add(key_id)
        if key_id in key_ids:
            found[key_id] = signature
    return found
