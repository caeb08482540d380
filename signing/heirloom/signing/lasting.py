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
from heirloom.signing import bins, roles, verify
from heirloom.signing.metadata import describe, file_name, meta_name, next_role, sign, to_bytes
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
        following = _prolonged(repository, role, until, now)
        for name, metadata in following.items():
            sign(metadata, signers[role])
            delegator = repository.root() if role in roles.TOP_LEVEL else repository.targets()
            file = file_name(name, metadata.signed.version)
            verify.signed_by(metadata, name, delegator if name == role else following[role], file)
            files[file] = to_bytes(metadata)
    return files


def _prolonged(repository: Repository, role: str, until: datetime, now: datetime) -> dict[str, Metadata[Targets]]:
    """A role, and the archive that hangs on it, by name; unsigned."""
    if role not in roles.TOP_LEVEL:
        archive = repository.archive(roles.board_of(role))
        return bins.renewed(repository.role(role), archive, role, repository.targets(), now, until)
    metadata: Metadata[Targets] = next_role(cast("Metadata[Targets]", repository.trusted.role(role)), role, now)
    metadata.signed.expires = until
    return {role: metadata}


def limits(repository: Repository, until: datetime) -> list[Limit]:
    """The offline roles that expire before `until`, themselves or in their archive, the first one first."""
    found = [Limit(role, _expires(repository, role)) for role in offline_roles(repository)]
    return sorted((limit for limit in found if limit.expires < until), key=lambda limit: limit.expires)


def _expires(repository: Repository, role: str) -> datetime:
    archive = {} if role in roles.TOP_LEVEL else repository.archive(roles.board_of(role))
    return min(each.signed.expires for each in (repository.trusted.role(role), *archive.values()))


def check_until(until: datetime, now: datetime) -> None:
    """Raise HeirloomError unless `until` is in the future, and within what every board's clock can show."""
    if not now < until or until.year > 2099:
        raise HeirloomError(f"a copy cannot last until {until:%Y-%m-%d}", "name a day from tomorrow to 2099-12-31")
