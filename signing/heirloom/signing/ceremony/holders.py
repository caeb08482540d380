"""Who holds a key: names in signed metadata, and the key itself, under whatever name it comes."""

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing.kinds import SCHEMES

# In the signed part of root and targets: {keyid: name}. Devices ignore it.
HOLDERS = "x-heirloom-holders"
_SHOWN_DIGITS = 16


def material(key: Key) -> bytes:
    """What makes two keys the same key, whatever their keyids are.

    Raises:
        HeirloomError: Devices do not verify this kind of key, or it is damaged.
    """
    public = key.keyval.get("public")
    if key.scheme not in SCHEMES or not isinstance(public, str):
        raise HeirloomError(f"key {key.keyid[:8]} is for {key.scheme}, which devices do not verify")
    try:
        if key.scheme == SCHEMES[0]:
            return bytes.fromhex(public)
        loaded = load_pem_public_key(public.encode())
    except ValueError as exc:
        raise HeirloomError(f"key {key.keyid[:8]} is damaged: {exc}") from exc
    return loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def names_in(metadata: Metadata[Root] | Metadata[Targets]) -> dict[str, str]:
    """The holders' names that signed metadata states, by keyid."""
    field = metadata.signed.unrecognized_fields.get(HOLDERS)
    entries = field.items() if isinstance(field, dict) else ()
    return {keyid: name for keyid, name in entries if isinstance(keyid, str) and isinstance(name, str) and name}


def keys_of(delegator: Root | Targets, role: str) -> list[Key]:
    """The keys that a delegator names for a role; empty if it does not know the role."""
    try:
        keyids = delegator.get_delegated_role(role).keyids
    except ValueError:
        return []
    return [delegator.get_key(keyid) for keyid in keyids]


def check_distinct(role: str, keys: Iterable[Key], names: Mapping[str, str]) -> None:
    """Refuse one key under two keyids: its holder alone would count twice.

    Raises:
        HeirloomError: Names both.
    """
    seen: dict[bytes, str] = {}
    for key in keys:
        known = seen.setdefault(material(key), key.keyid)
        if known != key.keyid:
            both = " and ".join(f"{names.get(keyid, 'a key')} ({keyid[:8]})" for keyid in (known, key.keyid))
            raise HeirloomError(
                f"{both} are the same key under two names; in {role} its holder would count twice",
                "each holder needs a key of their own",
            )


def label(key: Key, names: Mapping[str, str]) -> str:
    """A key for people: its holder's name, kind, and enough of the keyid to compare over the phone."""
    return f"{names.get(key.keyid, 'unnamed')} ({key.keytype} key {key.keyid[:_SHOWN_DIGITS]})"
