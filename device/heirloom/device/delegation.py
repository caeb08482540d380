"""Which roles may speak for a path: the delegations of a targets role (TUF 4.5, 5.6.7; hash bins of TAP 15)."""

import binascii
import hashlib

from heirloom.device.compat import const
from heirloom.device.errors import E_FORMAT, UpdateError
from heirloom.device.trust import TOP_LEVEL

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Document, Slice

    Child = tuple[str, Slice]  # name of the role, slice of the object with its keyids and threshold


def children(document: "Document", path: str) -> "tuple[list[Child], bool]":
    """The roles that a targets role trusts for a path, in order of trust, and whether the last is terminating.

    Raises UpdateError E_FORMAT for malformed delegations (those behind a terminating one are not looked at).
    """
    delegations = document.field("delegations")
    if delegations is None:
        return [], False
    roles = document.find(delegations, "roles")
    bins = document.find(delegations, "succinct_roles")
    if roles is None and bins is not None:
        return [(_bin(document, bins, path), bins)], True
    if roles is None or bins is not None:
        raise UpdateError(E_FORMAT, f"{document.name} must delegate either to roles or to hash bins")
    found: "list[Child]" = []
    seen: "set[str]" = set()
    for where in document.elements(roles):
        name = _name(document, where)
        if name in seen:
            raise UpdateError(E_FORMAT, f"{document.name} delegates to {name} twice")
        seen.add(name)
        if _trusted(document, where, name, path):
            found.append((name, where))
            if _flag(document, where, name):
                return found, True
    return found, False


def _name(document: "Document", where: "Slice") -> str:
    name = _string(document, document.find(where, "name"))
    if not name or name in TOP_LEVEL:
        raise UpdateError(E_FORMAT, f"{document.name} delegates to a role without a proper name")
    return name


def _flag(document: "Document", where: "Slice", name: str) -> bool:
    terminating = document.find(where, "terminating")
    value = None if terminating is None else document.load(terminating)
    if not isinstance(value, bool):
        raise UpdateError(E_FORMAT, f"{document.name} does not say whether {name} is terminating")
    return value


def _trusted(document: "Document", where: "Slice", name: str, path: str) -> bool:
    patterns = document.find(where, "paths")
    prefixes = document.find(where, "path_hash_prefixes")
    if patterns is not None and prefixes is None:
        for pattern in document.elements(patterns):
            if matches(path, _string(document, pattern)):
                return True
    elif prefixes is not None and patterns is None:
        digest = binascii.hexlify(hashlib.sha256(path.encode()).digest()).decode()
        for prefix in document.elements(prefixes):
            if digest.startswith(_string(document, prefix)):
                return True
    else:
        raise UpdateError(E_FORMAT, f"{document.name} needs either paths or path_hash_prefixes for {name}")
    return False


def _string(document: "Document", where: "Optional[Slice]") -> str:
    value = None if where is None else document.load(where)
    if not isinstance(value, str):
        raise UpdateError(E_FORMAT, f"{document.name} has a malformed delegation")
    return value


def _bin(document: "Document", where: "Slice", path: str) -> str:
    """The hash bin of a path (TAP 15): prefix, hyphen, number of the bin in hexadecimal."""
    prefix = _string(document, document.find(where, "name_prefix"))
    where_bits = document.find(where, "bit_length")
    bits = None if where_bits is None else document.load(where_bits)
    if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= 32:
        raise UpdateError(E_FORMAT, f"{document.name} has hash bins without a proper bit_length")
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - bits)
    digits = (bits + 3) // 4
    return prefix + "-" + ("%08x" % number)[-digits:]


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a pattern of shell wildcards, in which nothing crosses a "/" (TUF 4.5)."""
    parts = path.split("/")
    patterns = pattern.split("/")
    return len(parts) == len(patterns) and all(_glob(part, one) for part, one in zip(parts, patterns))


def _glob(text: str, pattern: str) -> bool:
    """fnmatch.fnmatchcase for one segment: `*`, `?`, `[a-z]`, `[!a-z]`; time at most len(text) * len(pattern)."""
    i = j = 0
    star = -1  # where in the pattern the last star was, and what of the text it has taken so far
    taken = 0
    while i < len(text):
        following = j
        if j < len(pattern) and pattern[j] == "*":
            star, taken = j, i
            j += 1
            continue
        if j < len(pattern):
            following = _one(text[i], pattern, j)
        if following > j:
            i += 1
            j = following
        elif star >= 0:
            taken += 1
            i, j = taken, star + 1
        else:
            return False
    while j < len(pattern) and pattern[j] == "*":
        j += 1
    return j == len(pattern)


def _one(character: str, pattern: str, at: int) -> int:
    """Where the pattern goes on after its element at `at` if that matches the character, else `at`."""
    if pattern[at] == "?":
        return at + 1
    if pattern[at] == "[":
        first = at + 2 if pattern[at + 1 : at + 2] == "!" else at + 1
        end = pattern.find("]", first + 1)  # a "]" in the first place stands for itself
        if end > 0:
            inside = _in_set(character, pattern[first:end])
            return end + 1 if inside != (first == at + 2) else at
    return at + 1 if pattern[at] == character else at


def _in_set(character: str, members: str) -> bool:
    i = 0
    while i < len(members):
        if i + 2 < len(members) and members[i + 1] == "-":
            if members[i] <= character <= members[i + 2]:
                return True
            i += 3
        else:
            if members[i] == character:
                return True
            i += 1
    return False
