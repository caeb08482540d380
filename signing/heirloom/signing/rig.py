"""Rig keys: keys with which a rig signs the releases that it tested, and nothing else.

A rig is a machine, so its key is a CI key too: it never releases anything alone (ci.py). The targets role says which
keys are such, and a publisher takes a releases role that has one only with its signature, however many people signed.
So nothing untested is published; a device counts signatures only, and knows nothing of rigs.
"""

from collections.abc import Collection

from tuf.api.metadata import Targets

from heirloom.cli.errors import HeirloomError

# In the signed part of targets: [keyid, ...]. Devices ignore it.
RIG_KEYS = "x-heirloom-rig-keys"


def mark(targets: Targets, keyid: str) -> None:
    """State in targets that a rig signs with a key."""
    targets.unrecognized_fields[RIG_KEYS] = sorted({*marked(targets), keyid})


def marked(targets: Targets) -> frozenset[str]:
    """The keyids of the rig keys that targets states."""
    field = targets.unrecognized_fields.get(RIG_KEYS)
    return frozenset(keyid for keyid in field if isinstance(keyid, str)) if isinstance(field, list) else frozenset()


def keys_of(targets: Targets, role: str) -> frozenset[str]:
    """The keyids of the rig keys among the keys of a role that targets delegates to."""
    return marked(targets) & frozenset(targets.get_delegated_role(role).keyids)


def check_signed(targets: Targets, role: str, signed_by: Collection[str], versions: Collection[str]) -> None:
    """Refuse a releases role that has a rig key whose signature is missing.

    Args:
        targets: Delegates to the role.
        role: As in "releases-RPI_PICO_W".
        signed_by: Keyids whose signatures are valid.
        versions: What the role would publish, for the sentence.

    Raises:
        HeirloomError: No rig signed it.
    """
    keyids = keys_of(targets, role)
    if keyids and keyids.isdisjoint(signed_by):
        raise HeirloomError(
            f"{', '.join(versions)}: no rig has attested it, and {role} has the rig key "
            f"{', '.join(keyid[:8] for keyid in sorted(keyids))}",
            f"on the rig: heirloom hil attest {' '.join(versions)}",
        )
