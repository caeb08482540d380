"""Metadata verified as a client would: the workflow of TUF 5.3 to 5.6 over files that somebody hands us.

Pure: files come through a function, time through an argument. python-tuf checks the signatures.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from heirloom.cli.errors import HeirloomError
from heirloom.signing import canonical, roles
from heirloom.signing.metadata import AnyMetadata, T, file_name, meta_name, parse, time_text

# Gives the content of a file under metadata/; None when there is no such file.
Read = Callable[[str], bytes | None]

MAX_ROOT_ROTATIONS = 256
_RESTORE = "restore the repository from a copy"
_ALL = frozenset({*roles.TOP_LEVEL, "delegated"})


@dataclass(frozen=True)
class Trusted:
    """Metadata that verified.

    Attributes:
        delegated: The roles that targets delegates to, by name.
    """

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    delegated: dict[str, Metadata[Targets]] = field(default_factory=dict)

    def role(self, name: str) -> AnyMetadata:
        """The metadata of any role; HeirloomError if there is no such role."""
        if name in roles.TOP_LEVEL:
            found: AnyMetadata = getattr(self, name)
            return found
        return self.targets_role(name)

    def targets_role(self, name: str) -> Metadata[Targets]:
        """The metadata of targets or of a role that it delegates to; HeirloomError if there is none."""
        found = self.targets if name == roles.TARGETS else self.delegated.get(name)
        if found is None:
            known = ", ".join(sorted(self.delegated)) or "none"
            raise HeirloomError(f"the repository has no role {name}", f"its boards' roles are: {known}")
        return found


def as_client(
    read: Read,
    now: datetime,
    *,
    anchor: bytes | None = None,
    unexpired: frozenset[str] = _ALL,
) -> Trusted:
    """Everything that the timestamp leads to, verified.

    Args:
        read: Gives files under metadata/.
        now: Time to compare expiries with (UTC).
        anchor: The root to begin with; 1.root.json if None.
        unexpired: Roles whose expiry counts; "delegated" stands for all boards' roles.

    Raises:
        HeirloomError: Something does not verify; the message names the file.
    """
    root = _final_root(read, anchor)
    _check_expiry(root, roles.ROOT, now, unexpired)  # TUF 5.3.10
    timestamp = _top_level(Timestamp, root, _need(read, "timestamp.json"), "timestamp.json")  # TUF 5.4
    _check_expiry(timestamp, roles.TIMESTAMP, now, unexpired)
    snapshot = _described(Snapshot, read, timestamp.signed.snapshot_meta, roles.SNAPSHOT, root)  # TUF 5.5
    _check_expiry(snapshot, roles.SNAPSHOT, now, unexpired)
    targets = _described(Targets, read, _meta(snapshot, roles.TARGETS), roles.TARGETS, root)  # TUF 5.6
    _check_expiry(targets, roles.TARGETS, now, unexpired)
    trusted = Trusted(root, timestamp, snapshot, targets)
    for name in delegated_roles(targets):
        role = _described(Targets, read, _meta(snapshot, name), name, targets)
        _check_expiry(role, name, now, unexpired)
        trusted.delegated[name] = role
    return trusted


def delegated_roles(targets: Metadata[Targets]) -> list[str]:
    """The names of the roles that targets delegates to, in its order."""
    delegations = targets.signed.delegations
    return list(delegations.roles or {}) if delegations else []


def _final_root(read: Read, anchor: bytes | None) -> Metadata[Root]:
    """Follow the chain of roots from the anchor, each signed by its predecessor and itself (TUF 5.3)."""
    name = "the trusted root" if anchor is not None else "1.root.json"
    root = parse(Root, anchor if anchor is not None else _need(read, name), name)
    signed_by(root, roles.ROOT, root, name)
    for _ in range(MAX_ROOT_ROTATIONS):
        name = file_name(roles.ROOT, root.signed.version + 1)
        data = read(name)
        if data is None:
            return root
        root = next_root(data, root, name)
    raise HeirloomError(f"more than {MAX_ROOT_ROTATIONS} root files after the trusted one")


def next_root(data: bytes, root: Metadata[Root], name: str) -> Metadata[Root]:
    """The root file `data`, verified to follow `root` (TUF 5.3.4 and 5.3.5)."""
    new = parse(Root, data, name)
    if new.signed.version != root.signed.version + 1:
        raise HeirloomError(f"{name} is version {new.signed.version}, expected {root.signed.version + 1}")
    signed_by(new, roles.ROOT, root, name)
    signed_by(new, roles.ROOT, new, name)
    return new


def signed_by(
    metadata: AnyMetadata,
    role: str,
    delegator: Metadata[Root] | Metadata[Targets],
    name: str,
    payload: bytes | None = None,
) -> None:
    """Check that a threshold of the delegator's keys for `role` signed `metadata`, the file `name`.

    `payload` is the canonical form of its signed part, if that is known already.
    """
    try:
        payload = payload or canonical.encode(metadata.signed)
        result = delegator.signed.get_verification_result(role, payload, metadata.signatures)
    except ValueError as exc:
        raise HeirloomError(f"{name}: no such role: {exc}") from exc
    if not result.verified:
        have, want = len(result.signed), result.threshold
        holders = len(result.signed) + len(result.unsigned)
        raise HeirloomError(
            f"{name} carries {have} valid signatures of the {want} that role {role} needs",
            f"{result.missing} more of its {holders} key holders must sign",
        )


def _top_level(kind: type[T], root: Metadata[Root], data: bytes, name: str) -> Metadata[T]:
    metadata = parse(kind, data, name)
    signed_by(metadata, kind.type, root, name)
    return metadata


def _described(
    kind: type[T], read: Read, meta: MetaFile, role: str, delegator: Metadata[Root] | Metadata[Targets]
) -> Metadata[T]:
    """The file that `meta` describes: hashes, signatures and version (TUF 5.5.2 to 5.5.4, 5.6.2 to 5.6.4)."""
    name = file_name(role, meta.version)
    data = _need(read, name)
    check_content(meta, data, name)
    metadata = parse(kind, data, name)
    signed_by(metadata, role, delegator, name)
    if metadata.signed.version != meta.version:
        raise HeirloomError(f"{name} is version {metadata.signed.version}, expected {meta.version}")
    return metadata


def check_content(description: MetaFile | TargetFile, data: bytes, name: str) -> None:
    """Raise HeirloomError unless `data`, the file `name`, has the described length and hashes."""
    try:
        description.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as exc:
        raise HeirloomError(f"{name} is not the file that the signed metadata describes: {exc}", _RESTORE) from exc


def _meta(snapshot: Metadata[Snapshot], role: str) -> MetaFile:
    meta = snapshot.signed.meta.get(meta_name(role))
    if meta is None:
        raise HeirloomError(f"snapshot version {snapshot.signed.version} says nothing about {meta_name(role)}")
    return meta


def _need(read: Read, name: str) -> bytes:
    data = read(name)
    if data is None:
        raise HeirloomError(f"{name} is missing in the repository", _RESTORE)
    return data


def _check_expiry(metadata: AnyMetadata, role: str, now: datetime, unexpired: frozenset[str]) -> None:
    kind = role if role in roles.TOP_LEVEL else "delegated"
    if kind in unexpired:
        check_expiry(metadata, role, now)


def check_expiry(metadata: AnyMetadata, role: str, now: datetime) -> None:
    """Raise HeirloomError if `metadata` of `role` has expired at `now` (UTC)."""
    if metadata.signed.is_expired(now):
        who = "run `heirloom renew`" if roles.rule(role).online else f"the holders of {role} must sign a new version"
        raise HeirloomError(f"{role} expired on {time_text(metadata.signed.expires)}", who)
