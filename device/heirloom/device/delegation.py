"""Which roles may speak for a path: the delegations of a targets role (TUF 4.5, 5.6.7; hash bins of TAP 15)."""

from heirloom.device.compat import const
from heirloom.device.trust import TOP_LEVEL

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Document, Slice

    # Name of the role, slices of the delegator's keys and of the object with its keyids and threshold.
    Child = tuple[str, Optional[Slice], Slice]


def children(document: "Document", path: str) -> "tuple[list[Child], bool]":
    """The roles that a targets role trusts for a path, in order of trust, and whether the last is terminating.

    Raises UpdateError E_FORMAT for malformed delegations (those behind a terminating one are not looked at).
    """
    delegations = document.field("delegations")
    if delegations is None:
        return [], False
    parts = dict(document.members(delegations))
    keys, roles, bins = parts.get("keys"), parts.get("roles"), parts.get("succinct_roles")
    if roles is None and bins is not None:
        from heirloom.device.hashbins import bin_of

        return [(bin_of(document, bins, path), keys, bins)], True
    if roles is None or bins is not None:
        raise document.malformed("must delegate either to roles or to hash bins")
    found: "list[Child]" = []
    seen: "set[str]" = set()
    for where in document.elements(roles):
        parts = dict(document.members(where))
        name = string(document, document.load(parts.get("name")))
        if not name or name in TOP_LEVEL:
            raise document.malformed("delegates to a role without a proper name")
        if name in seen:
            raise document.malformed(f"delegates to {name} twice")
        seen.add(name)
        if _trusted(document, parts, name, path):
            found.append((name, keys, where))
            terminating = document.load(parts.get("terminating"))
            if not isinstance(terminating, bool):
                raise document.malformed(f"does not say whether {name} is terminating")
            if terminating:
                return found, True
    return found, False


def _trusted(document: "Document", parts: "dict[str, Slice]", name: str, path: str) -> bool:
    patterns, prefixes = parts.get("paths"), parts.get("path_hash_prefixes")
    if patterns is not None and prefixes is None:
        for pattern in document.elements(patterns):
            if covers(string(document, document.load(pattern)), path):
                return True
    elif prefixes is not None and patterns is None:
        from heirloom.device.hashbins import has_prefix

        return has_prefix(document, prefixes, path)
    else:
        raise document.malformed(f"needs either paths or path_hash_prefixes for {name}")
    return False


def string(document: "Document", value: object) -> str:
    """The value if it is a string. Raises UpdateError E_FORMAT."""
    if not isinstance(value, str):
        raise document.malformed("has a malformed delegation")
    return value


def covers(pattern: str, path: str) -> bool:
    """Whether a path matches a pattern of shell wildcards, in which nothing crosses a "/" (TUF 4.5)."""
    parts = path.split("/")
    patterns = pattern.split("/")
    if len(parts) != len(patterns):
        return False
    for part, one in zip(parts, patterns):  # noqa: SIM110 - all() needs more code
        if one != "*" and not _matches(part, one):
            return False
    return True


def _matches(part: str, pattern: str) -> bool:
    for special in "*?[":
        if special in pattern:
            from heirloom.device.wildcards import matches

            return matches(part, pattern)
    return part == pattern
