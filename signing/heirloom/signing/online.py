"""What the online keys sign: snapshot and timestamp, over role files that are verified first as a client would.

Whoever can call this with the online keys can still install nothing: the role files need the offline
keys' signatures, and every rule that a client would hold them against is checked before anything is signed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from heirloom.cli.errors import HeirloomError
from heirloom.signing import bins, ci, roles, rules, verify
from heirloom.signing.metadata import (
    SIGNED_AT,
    describe,
    file_name,
    first_snapshot,
    first_timestamp,
    meta_name,
    next_role,
    parse,
    parse_file_name,
    sign,
    time_text,
    to_bytes,
)
from heirloom.signing.repository import Repository, epoch_of

Signers = Mapping[str, Sequence[Signer]]

# A repository whose online roles have expired can still be renewed; one whose offline roles have, cannot.
_OFFLINE = frozenset({roles.ROOT, roles.TARGETS})
_CLOCKS = timedelta(days=1)  # how far the clocks of two machines may lie apart


@dataclass(frozen=True)
class _Proposed:
    """The repository as it will be, without the online roles.

    Attributes:
        changed: The new files by role.
    """

    root: Metadata[Root]
    targets: Metadata[Targets]
    delegated: dict[str, Metadata[Targets]]
    changed: dict[str, bytes]


def _nothing(_name: str) -> bytes | None:
    return None


@dataclass(frozen=True)
class _Overlaid:
    """What the new files are laid over: the repository as it is, or nothing."""

    read: verify.Read = _nothing
    anchor: bytes | None = None


def begin(files: Mapping[str, bytes], signers: Signers, now: datetime) -> dict[str, bytes]:
    """The first snapshot and timestamp of a new repository.

    Args:
        files: "1.root.json", "1.targets.json" and version 1 of every role that targets delegates to, signed.
        signers: The signers of snapshot and of timestamp, by role.
        now: Time of signing (UTC).

    Returns:
        `files` and the two new ones, by name under metadata/.

    Raises:
        HeirloomError: A client would not accept the result.
    """
    meta = {}
    for name, data in files.items():
        version, role = parse_file_name(name)
        if role != roles.ROOT:
            meta[meta_name(role)] = describe(version, data)
    snapshot = first_snapshot(meta, now)
    timestamp = first_timestamp(_seal_snapshot(snapshot, signers), now)
    return _finish(files, snapshot, timestamp, signers, _Overlaid(), now)


def refresh(
    repository: Repository,
    changed: Mapping[str, bytes],
    signers: Signers,
    now: datetime,
    *,
    new_snapshot: bool = False,
) -> dict[str, bytes]:
    """The next snapshot and timestamp, for a repository with these new role files.

    Without a changed role the snapshot is kept while more than half of its life is left; a timestamp is always made.

    Args:
        repository: As it is now.
        changed: New versions of root, targets or boards' roles, signed: {"3.releases-X.json": ...}.
        signers: The signers of snapshot and of timestamp, by role.
        now: Time of signing (UTC).
        new_snapshot: Make a new snapshot in any case, as when it gets more signatures.

    Returns:
        `changed` and the new online files, by name under metadata/.

    Raises:
        HeirloomError: A client would refuse one of the files, a version does not go up by one, a role would leave
            the snapshot, the snapshot would exceed 16 KiB, or nothing would come of it because an offline role expired.
    """
    before = repository.trusted
    proposed = _verify(repository, changed, now)
    snapshot = _next_snapshot(before, proposed, now, forced=new_snapshot)
    described = _seal_snapshot(snapshot, signers) if snapshot else before.timestamp.signed.snapshot_meta
    timestamp = next_role(before.timestamp, roles.TIMESTAMP, now)
    timestamp.signed.snapshot_meta = described
    return _finish(changed, snapshot, timestamp, signers, _Overlaid(repository.read, repository.anchor), now)


def _verify(repository: Repository, changed: Mapping[str, bytes], now: datetime) -> _Proposed:
    """Each changed file as a client would verify it: by its delegator, one version up, not expired."""
    before, files = repository.trusted, _by_role(changed)
    root = _changed_root(before.root, files.pop(roles.ROOT, {}))
    targets = before.targets
    if roles.TARGETS in files:
        targets = _changed_role(roles.TARGETS, files.pop(roles.TARGETS), before.targets, root, now)
        ci.check(targets.signed)
    delegated = {}
    for role in verify.delegated_roles(targets):
        current = before.delegated.get(role)
        if role in files:
            delegated[role] = _changed_role(role, files.pop(role), current, targets, now)
        elif current is not None:
            delegated[role] = current
        else:
            raise HeirloomError(f"targets delegates to {role}, but there is no {file_name(role, 1)}", "sign and add it")
    known = dict(before.delegated)
    for name in [name for name in files if roles.archived_below(name) in delegated]:
        current = repository.bin(roles.board_of(name), name)
        delegator = delegated[str(roles.archived_below(name))]
        delegated[name] = _changed_role(name, files.pop(name), current, delegator, now)
        known |= {name: current} if current else {}
    if files:
        raise HeirloomError(f"nobody delegates to the role {next(iter(files))}", "targets must delegate to it first")
    verify.check_expiry(root, roles.ROOT, now)
    verify.check_expiry(targets, roles.TARGETS, now)
    changed_roles = {role: data for name, data in changed.items() if (role := parse_file_name(name)[1]) != roles.ROOT}
    rules.check_boards(delegated, known, set(changed_roles), epoch_of(targets))
    rules.check_archives(targets, delegated, known, set(changed_roles), changed_roles)
    _check_signed_bins(repository, delegated, changed_roles)
    return _Proposed(root, targets, delegated, changed_roles)


def _check_signed_bins(
    repository: Repository, delegated: Mapping[str, Metadata[Targets]], changed: Mapping[str, bytes]
) -> None:
    """Where other keys get the archive, they must have signed all of it: else TUF clients cannot read the old bins."""
    for role in repository.trusted.delegated.keys() & changed.keys():
        before, after = repository.role(role), delegated[role]
        if bins.names(before) and not bins.same_holders(before, after):
            for name, content in repository.archive(roles.board_of(role)).items():
                if name not in changed:
                    verify.signed_by(content, name, after, name)


def _by_role(changed: Mapping[str, bytes]) -> dict[str, dict[int, bytes]]:
    files: dict[str, dict[int, bytes]] = {}
    for name, data in changed.items():
        try:
            version, role = parse_file_name(name)
        except ValueError as exc:
            raise HeirloomError(f"not a metadata file of a role: {exc}") from exc
        if role in (roles.SNAPSHOT, roles.TIMESTAMP):
            raise HeirloomError(f"{name} is made here and cannot be given")
        files.setdefault(role, {})[version] = data
    return files


def _changed_root(root: Metadata[Root], versions: Mapping[int, bytes]) -> Metadata[Root]:
    for version, data in sorted(versions.items()):
        name = file_name(roles.ROOT, version)
        if version != root.signed.version + 1:
            raise HeirloomError(f"{name} does not follow version {root.signed.version}")
        root = verify.next_root(data, root, name)
    return root


def _changed_role(
    role: str,
    versions: Mapping[int, bytes],
    current: Metadata[Targets] | None,
    delegator: Metadata[Root] | Metadata[Targets],
    now: datetime,
) -> Metadata[Targets]:
    expected = current.signed.version + 1 if current else 1
    if list(versions) != [expected]:
        given = ", ".join(file_name(role, version) for version in versions)
        raise HeirloomError(f"{given} does not follow what is published; {file_name(role, expected)} would")
    name = file_name(role, expected)
    metadata = parse(Targets, versions[expected], name)
    if metadata.signed.version != expected:
        raise HeirloomError(f"{name} says that it is version {metadata.signed.version}")
    verify.signed_by(metadata, role, delegator, name)
    verify.check_expiry(metadata, role, now)
    _check_dated(metadata, name, now)
    return metadata


def _check_dated(metadata: Metadata[Targets], name: str, now: datetime) -> None:
    """Devices learn the time from it: a date from the future would make everything else stale to them."""
    stated = metadata.signed.unrecognized_fields.get(SIGNED_AT)
    if isinstance(stated, str) and stated > time_text(now + _CLOCKS):
        raise HeirloomError(
            f"{name} states {stated} as the time of its signing, which is in the future",
            "set the clock where it is wrong, and sign again",
        )


def _next_snapshot(
    before: verify.Trusted, proposed: _Proposed, now: datetime, *, forced: bool
) -> Metadata[Snapshot] | None:
    """The next snapshot, unsigned, or None if the current one can stay."""
    if not (forced or proposed.changed) and not _snapshot_must_go(before.snapshot, proposed.root, now):
        return None
    snapshot = next_role(before.snapshot, roles.SNAPSHOT, now)
    # TUF 5.5.5: a role never leaves the snapshot, also not when targets stops delegating to it.
    for role, data in proposed.changed.items():
        metadata = proposed.targets if role == roles.TARGETS else proposed.delegated[role]
        # A bin's hash stands in its releases role: every device fetches the snapshot, so it is not said here again.
        bare = roles.archived_below(role) is not None
        version = metadata.signed.version
        snapshot.signed.meta[meta_name(role)] = MetaFile(version) if bare else describe(version, data)
    return snapshot


def _snapshot_must_go(snapshot: Metadata[Snapshot], root: Metadata[Root], now: datetime) -> bool:
    if now > snapshot.signed.expires - roles.rule(roles.SNAPSHOT).lifetime / 2:
        return True
    result = root.signed.get_verification_result(roles.SNAPSHOT, snapshot.signed_bytes, snapshot.signatures)
    return not result.verified


def _seal_snapshot(snapshot: Metadata[Snapshot], signers: Signers) -> MetaFile:
    """Sign the snapshot, hold it against its limit, and return what the timestamp says about it."""
    sign(snapshot, signers[roles.SNAPSHOT])
    data = to_bytes(snapshot)
    if len(data) > roles.SNAPSHOT_LIMIT_BYTES:
        raise HeirloomError(
            f"the snapshot would be {len(data)} bytes, at most {roles.SNAPSHOT_LIMIT_BYTES} are allowed",
            "every device downloads it: give some boards a product of their own",
        )
    return describe(snapshot.signed.version, data)


def _finish(
    files: Mapping[str, bytes],
    snapshot: Metadata[Snapshot] | None,
    timestamp: Metadata[Timestamp],
    signers: Signers,
    below: _Overlaid,
    now: datetime,
) -> dict[str, bytes]:
    """Sign the timestamp, and let a client look at the whole before anybody else does."""
    sign(timestamp, signers[roles.TIMESTAMP])
    result = dict(files)
    if snapshot is not None:
        result[file_name(roles.SNAPSHOT, snapshot.signed.version)] = to_bytes(snapshot)
    result[file_name(roles.TIMESTAMP, timestamp.signed.version)] = to_bytes(timestamp)
    online = {roles.SNAPSHOT, roles.TIMESTAMP}
    unexpired = frozenset({*_OFFLINE, *online})
    verify.as_client(lambda name: result.get(name) or below.read(name), now, anchor=below.anchor, unexpired=unexpired)
    return result
