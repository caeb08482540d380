"""The last signatures of a repository that nobody will renew: timestamp, snapshot and channels for many years.

What is lost by it: until that day, nobody can tell this copy from a newer repository that somebody holds back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles, verify
from heirloom.signing.metadata import AnyMetadata, describe, file_name, meta_name, next_role, sign, to_bytes
from heirloom.signing.repository import Repository

Signers = Mapping[str, Sequence[Signer]]


@dataclass(frozen=True)
class Limit:
    """A role that expires before the copy should."""

    role: str
    expires: datetime


def online_roles(repository: Repository) -> list[str]:
    """The roles that `final` signs."""
    below = [role for role in verify.delegated_roles(repository.targets()) if roles.rule(role).online]
    return [*below, roles.SNAPSHOT, roles.TIMESTAMP]


def offline_roles(repository: Repository) -> list[str]:
    """The roles that `prolonged` signs."""
    below = [role for role in verify.delegated_roles(repository.targets()) if not roles.rule(role).online]
    return [roles.ROOT, roles.TARGETS, *below]


def final(repository: Repository, signers: Signers, until: datetime, now: datetime) -> dict[str, bytes]:
    """The next version of every online role, valid until `until`.

    Args:
        repository: The copy that shall last.
        signers: Of every online role.
        until: When they expire (UTC).
        now: Time of signing (UTC).

    Returns:
        Files by name under metadata/.

    Raises:
        HeirloomError: A client would refuse the result.
    """
    files: dict[str, bytes] = {}
    snapshot = next_role(repository.snapshot(), roles.SNAPSHOT, now)
    for role in online_roles(repository)[:-2]:
        channels = next_role(repository.role(role), role, now)
        channels.signed.expires = until
        sign(channels, signers[role])
        files[file_name(role, channels.signed.version)] = data = to_bytes(channels)
        snapshot.signed.meta[meta_name(role)] = describe(channels.signed.version, data)
    snapshot.signed.expires = until
    sign(snapshot, signers[roles.SNAPSHOT])
    files[file_name(roles.SNAPSHOT, snapshot.signed.version)] = data = to_bytes(snapshot)
    timestamp = next_role(repository.timestamp(), roles.TIMESTAMP, now)
    timestamp.signed.snapshot_meta = describe(snapshot.signed.version, data)
    timestamp.signed.expires = until
    sign(timestamp, signers[roles.TIMESTAMP])
    files[file_name(roles.TIMESTAMP, timestamp.signed.version)] = to_bytes(timestamp)
    verify.as_client(lambda name: files.get(name) or repository.read(name), now, anchor=repository.anchor)
    return files


def prolonged(repository: Repository, signers: Signers, until: datetime, now: datetime) -> dict[str, bytes]:
    """The next version of every offline role that expires before `until`, valid until then; nothing else changes.

    Raises:
        HeirloomError: Too few keys of a role are here.
    """
    files = {}
    for limit in limits(repository, until):
        role = limit.role
        metadata = _prolonged(repository.trusted.role(role), role, signers[role], until, now)
        delegator = repository.root() if role in roles.TOP_LEVEL else repository.targets()
        name = file_name(role, metadata.signed.version)
        verify.signed_by(metadata, role, delegator, name)
        files[name] = to_bytes(metadata)
    return files


def _prolonged(
    current: AnyMetadata, role: str, signers: Sequence[Signer], until: datetime, now: datetime
) -> Metadata[Targets]:
    metadata: Metadata[Targets] = next_role(cast("Metadata[Targets]", current), role, now)
    metadata.signed.expires = until
    sign(metadata, signers)
    return metadata


def limits(repository: Repository, until: datetime) -> list[Limit]:
    """The offline roles that expire before `until`, the first one first: until then, a copy is accepted."""
    found = [Limit(role, repository.trusted.role(role).signed.expires) for role in offline_roles(repository)]
    return sorted((limit for limit in found if limit.expires < until), key=lambda limit: limit.expires)


def check_until(until: datetime, now: datetime) -> None:
    """Raise HeirloomError unless `until` is in the future, and within what every board's clock can show."""
    if not now < until or until.year > 2099:
        raise HeirloomError(f"a copy cannot last until {until:%Y-%m-%d}", "name a day from tomorrow to 2099-12-31")
