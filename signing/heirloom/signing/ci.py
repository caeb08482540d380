"""CI keys: keys with which a machine signs releases, no person being present.

Whoever controls the build controls such a key, so a releases role that has one needs a second signature (DESIGN 4).
The targets role says which of its keys are such: its holders decide it, and every publisher holds them to it.
"""

from collections.abc import Iterable

from tuf.api.metadata import Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles

# In the signed part of targets: [keyid, ...]. Devices ignore it.
CI_KEYS = "x-heirloom-ci-keys"
THRESHOLD = 2


def mark(targets: Targets, keyid: str) -> None:
    """State in targets that a machine signs with a key."""
    targets.unrecognized_fields[CI_KEYS] = sorted({*marked(targets), keyid})


def marked(targets: Targets) -> frozenset[str]:
    """The keyids of the CI keys that targets states."""
    field = targets.unrecognized_fields.get(CI_KEYS)
    return frozenset(keyid for keyid in field if isinstance(keyid, str)) if isinstance(field, list) else frozenset()


def least_threshold(role: str, keyids: Iterable[str], ci_keys: Iterable[str]) -> int:
    """The lowest threshold that a role with these keys may have."""
    has_one = role.startswith(roles.RELEASES_PREFIX) and not set(ci_keys).isdisjoint(keyids)
    return THRESHOLD if has_one else 1


def check(targets: Targets) -> None:
    """Hold the roles that targets delegates to against the rule.

    Raises:
        HeirloomError: A machine alone could sign releases; names the role.
    """
    delegated = targets.delegations.roles if targets.delegations else None
    ci_keys = marked(targets)
    for name, role in (delegated or {}).items():
        least = least_threshold(name, role.keyids, ci_keys)
        if role.threshold < least:
            raise HeirloomError(
                f"{name} has a CI key and needs {role.threshold} signature; it must be {least}, "
                "so that no machine alone releases anything",
                f"add a person's key to it with threshold {least}, or take the CI key out",
            )
