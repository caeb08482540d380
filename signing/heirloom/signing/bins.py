"""The archive of a board's releases: a fixed number of hash bins below its releases role (TAP 15), for what is past.

A device reads the releases role and none of the bins, so what it fetches does not grow with the history. The bins are
signed by the releases keys, and by the new ones whenever those change, so that any TUF client finds an old release. The
releases role carries the hash of what each bin says: a thief of its keys cannot change the archive unseen.
"""

import json
import re
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from hashlib import sha256

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import canonical, roles
from heirloom.signing.metadata import advance, first_role, next_role, parse, time_text

# In a releases role: name of a bin to the SHA-256 of the canonical form of its `signed` part, hexadecimal.
ARCHIVE = "x-heirloom-archive"
# In a bin: its own name.
NAME = "x-heirloom-bin"
# 16 bins: few enough for every snapshot, enough to rewrite only a sixteenth of the history at a time.
BIT_LENGTH = 4

_RESTORE = "restore the repository from a copy"
# How a bin's file begins, written as we write metadata: its signatures, and when it expires.
HEAD_BYTES = 16384
_HEAD = re.compile(rb'\{"signatures":(\[[^\]]*\]),"signed":\{"_type":"targets","expires":"([0-9TZ:-]+)"')


def names(releases: Metadata[Targets]) -> list[str]:
    """The bins that a releases role delegates to; none before the first archiving."""
    succinct = _succinct(releases)
    return list(succinct.get_roles()) if succinct else []


def bin_of(releases: Metadata[Targets], path: str) -> str | None:
    """The bin for a target path; None without an archive."""
    succinct = _succinct(releases)
    return succinct.get_role_for_target(path) if succinct else None


def delegate(releases: Metadata[Targets], role: str, targets: Metadata[Targets]) -> None:
    """Let the keys that targets names for the releases role `role`, and no others, sign its bins."""
    holder = _holder(role, targets)
    keys = targets.signed.delegations.keys if targets.signed.delegations else {}
    succinct = SuccinctRoles(list(holder.keyids), holder.threshold, BIT_LENGTH, roles.archive_prefix(role))
    releases.signed.delegations = Delegations({keyid: keys[keyid] for keyid in holder.keyids}, succinct_roles=succinct)


def trusts_others(releases: Metadata[Targets], role: str, targets: Metadata[Targets]) -> bool:
    """Whether the bins could be signed by keys, or by fewer of them, than targets wants for the releases role."""
    succinct, holder = _succinct(releases), _holder(role, targets)
    if succinct is None:
        return False
    return not set(succinct.keyids) <= set(holder.keyids) or succinct.threshold < holder.threshold


def renewed(
    releases: Metadata[Targets],
    archive: Mapping[str, Metadata[Targets]],
    role: str,
    targets: Metadata[Targets],
    now: datetime,
    until: datetime | None = None,
) -> dict[str, Metadata[Targets]]:
    """The next versions of a releases role and of its archive, with the same content in the hands of today's keys.

    Args:
        releases: The releases role as it is.
        archive: All of its bins by name; empty without an archive.
        role: Its name.
        targets: Names its keys.
        now: Time of signing (UTC).
        until: When they expire (UTC); after their usual life if None.

    Returns:
        The releases role and each bin by name, unsigned.
    """
    found = {name: next_role(content, name, now) for name, content in {role: releases, **archive}.items()}
    for content in found.values():
        content.signed.expires = until or content.signed.expires
    if archive:
        delegate(found[role], role, targets)
        found[role].signed.unrecognized_fields[ARCHIVE] = {name: said(found[name]) for name in sorted(archive)}
    return found


def same_holders(one: Metadata[Targets], other: Metadata[Targets]) -> bool:
    """Whether two versions of a releases role let the same keys sign the archive."""
    first, second = _succinct(one), _succinct(other)
    if first is None or second is None:
        return first is second
    return set(first.keyids) == set(second.keyids) and first.threshold == second.threshold


def said(metadata: Metadata[Targets], data: bytes = b"") -> str:
    """The hash of what a bin says, whoever signed it; `data` is its file, if there is one already."""
    return sha256(canonical.cut(data) or canonical.encode(metadata.signed)).hexdigest()


def holds(data: bytes, path: str) -> bool:
    """Whether the file of a bin may list a target. False is sure; a long history is not parsed to learn it."""
    return json.dumps(path).encode() in data


def must_sign(head: bytes, name: str, releases: Metadata[Targets], now: datetime) -> bool:
    """Whether a bin is past half of its life, or lacks signatures of those who hold the archive now.

    Args:
        head: How its file begins; where that does not say so, it is signed again.
        name: Of the bin.
        releases: The releases role as it will be.
        now: Time of signing (UTC).
    """
    found = _HEAD.match(head)
    if found is None:
        return True
    signatures, expires = json.loads(found[1]), found[2].decode()
    holder = releases.signed.get_delegated_role(name)
    signed_by = {signature["keyid"] for signature in signatures} & set(holder.keyids)
    return expires < time_text(now + roles.rule(name).lifetime / 2) or len(signed_by) < holder.threshold


def next_bin(current: Metadata[Targets] | None, name: str, now: datetime) -> Metadata[Targets]:
    """The next version of a bin, unsigned, or the first one. Entries are shared with the current one."""
    if current is None:
        metadata = first_role(name, now)
        # No two bins are the same file, also while they are empty.
        metadata.signed.unrecognized_fields[NAME] = name
        return metadata
    signed = copy(current.signed)
    signed.targets = dict(signed.targets)
    signed.unrecognized_fields = dict(signed.unrecognized_fields)
    return advance(Metadata(signed), name, now)


def recorded(releases: Metadata[Targets]) -> dict[str, str]:
    """Name of each bin to the hash that the releases role carries.

    Raises:
        HeirloomError: It does not say so for each of its bins.
    """
    field = releases.signed.unrecognized_fields.get(ARCHIVE, {})
    if not isinstance(field, dict) or sorted(field) != names(releases):
        raise HeirloomError("a releases role does not say what each bin of its archive holds")
    return {str(name): str(value) for name, value in field.items()}


def check_bin(name: str, metadata: Metadata[Targets], releases: Metadata[Targets], data: bytes = b"") -> None:
    """Hold a bin against what the releases role says of it.

    Args:
        name: Of the bin.
        metadata: The bin.
        releases: Its releases role.
        data: The file of the bin, if there is one.

    Raises:
        HeirloomError: It is another content.
    """
    if recorded(releases).get(name) != said(metadata, data):
        raise HeirloomError(f"{name} does not hold what its releases role says", _RESTORE)


def check_file(name: str, data: bytes, releases: Metadata[Targets]) -> None:
    """As `check_bin`, for a file that was not parsed yet."""
    cut = canonical.cut(data)
    if cut is None or sha256(cut).hexdigest() != recorded(releases).get(name):
        check_bin(name, parsed(name, data), releases)


def parsed(name: str, data: bytes) -> Metadata[Targets]:
    """A published bin; HeirloomError if it is damaged."""
    try:
        return parse(Targets, data, name)
    except HeirloomError as exc:
        raise HeirloomError(exc.message, _RESTORE) from exc


def check_entries(
    name: str, metadata: Metadata[Targets], before: Metadata[Targets] | None, published: Metadata[Targets]
) -> None:
    """Hold a bin's next version against what is published: it keeps all it has, and gets nothing but old releases.

    So what it lists was checked when it was published as a release, and is not looked at again.

    Args:
        name: Of the bin.
        metadata: Its next version.
        before: Its present one.
        published: The releases role as it is.

    Raises:
        HeirloomError: An entry vanishes, changes, was never published or belongs into another bin.
    """
    known = before.signed.targets if before else {}
    for path, target in known.items():
        if metadata.signed.targets.get(path) != target:
            raise HeirloomError(f"{name} drops or changes the old release {path}", "the history never changes")
    for path in metadata.signed.targets.keys() - known.keys():
        if published.signed.targets.get(path) != metadata.signed.targets[path]:
            raise HeirloomError(f"{name} lists {path}, which is no published release")


def check_places(
    name: str, metadata: Metadata[Targets], before: Metadata[Targets] | None, releases: Metadata[Targets]
) -> None:
    """Raise HeirloomError if a bin gets what belongs into another one: TUF clients would not find it."""
    for path in metadata.signed.targets.keys() - (before.signed.targets.keys() if before else set()):
        if bin_of(releases, path) != name:
            raise HeirloomError(f"{name} lists {path}, which belongs to {bin_of(releases, path)}")


def _succinct(releases: Metadata[Targets]) -> SuccinctRoles | None:
    return releases.signed.delegations.succinct_roles if releases.signed.delegations else None


def _holder(role: str, targets: Metadata[Targets]) -> DelegatedRole:
    try:
        holder = targets.signed.get_delegated_role(role)
    except ValueError as exc:
        raise HeirloomError(f"targets does not delegate to {role}", "it must, before anybody signs for it") from exc
    if not isinstance(holder, DelegatedRole):
        raise HeirloomError(f"targets delegates to {role} in a way that Heirloom does not know")
    return holder
