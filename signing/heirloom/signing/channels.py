"""Channels: signed pointers to releases, moved by an online key and apart from the signing of releases."""

import re
from collections.abc import Iterable
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, TargetFile, Targets

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import roles, verify
from heirloom.signing.metadata import next_role, sign, to_bytes
from heirloom.signing.repository import Repository, channel_path, release_path

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def check_name(channel: str) -> None:
    """Raise UsageError unless `channel` is a name like "stable"."""
    if not _NAME.fullmatch(channel):
        raise UsageError(f"{channel!r} is no name for a channel", "small letters, digits, _ and -, at most 32")


def point(
    repository: Repository,
    board: str,
    channel: str,
    version: str,
    signers: Iterable[Signer],
    now: datetime,
    releases: Metadata[Targets] | None = None,
) -> bytes:
    """The next channels role of `board`, in which `channel` points to `version`.

    Args:
        repository: As it is now.
        board: The board.
        channel: Its channel, made if it does not exist.
        version: A release that the releases role lists.
        signers: Of the channels role.
        now: Time of signing (UTC).
        releases: The releases role that will be published together with this; the published one if None.

    Raises:
        HeirloomError: The release is not listed, or the keys are not those of the role.
    """
    check_name(channel)
    listed = releases or repository.role(roles.releases_role(board))
    target = listed.signed.targets.get(release_path(board, version))
    if target is None and repository.is_archived(board, version):
        raise HeirloomError(
            f"release {version} of {board} is in the archive, where devices do not look",
            "publish its content again under a new version",
        )
    if target is None:
        raise HeirloomError(f"no release {version} of {board} to point {channel} to", "see `heirloom release list`")
    role = roles.channels_role(board)
    metadata = next_role(repository.role(role), role, now)
    path = channel_path(board, channel)
    custom = {"custom": {"release": target.path}}
    metadata.signed.targets[path] = TargetFile(target.length, dict(target.hashes), path, custom)
    return _signed(repository, role, metadata, signers)


def renewed(repository: Repository, board: str, signers: Iterable[Signer], now: datetime) -> bytes:
    """The next channels role of `board` with the same pointers and a fresh expiry. Arguments as for `point`."""
    role = roles.channels_role(board)
    return _signed(repository, role, next_role(repository.role(role), role, now), signers)


def _signed(repository: Repository, role: str, metadata: Metadata[Targets], signers: Iterable[Signer]) -> bytes:
    sign(metadata, signers)
    verify.signed_by(metadata, role, repository.targets(), f"the new {role}.json")
    return to_bytes(metadata)
