"""Which releases a board's devices still need, and moving the others to the archive when a release is signed."""

import json
from collections.abc import Iterable
from datetime import datetime

from tuf.api.metadata import Metadata, TargetFile, Targets

from heirloom.device.manifest import Manifest
from heirloom.signing import bins, roles
from heirloom.signing.metadata import first_role, next_role, time_text
from heirloom.signing.repository import Release, Repository, channels_in, release_path, releases_in

# The newest releases stay, so that a channel can still be pointed to what was published a while ago.
RECENT = 4


def arrange(
    repository: Repository, board: str, metadata: Metadata[Targets], new: Iterable[Manifest], now: datetime
) -> dict[str, Metadata[Targets]]:
    """Keep in the next releases role what is current; the rest goes to the archive.

    Args:
        repository: As it is.
        board: The board.
        metadata: The next version of its releases role, with all entries of the current one and the new ones; changed.
        new: The manifests of the releases that are not published yet.
        now: Time of signing (UTC).

    Returns:
        The bins that change, by name, unsigned. The first archiving brings all of them.
    """
    role = roles.releases_role(board)
    needed = _needed(repository, board, metadata, new)
    past = {path: target for path, target in metadata.signed.targets.items() if path not in needed}
    before = repository.role(role)
    if not past and not bins.names(before):
        metadata.signed.targets = needed
        return {}
    metadata.signed.targets = needed
    bins.delegate(metadata, role, repository.targets())
    changed = {name: _next_bin(repository, board, name, now) for name in _stale(repository, board, metadata, past, now)}
    for path, target in past.items():
        changed[str(bins.bin_of(metadata, path))].signed.targets[path] = target
    told = {name: bins.said(content) for name, content in changed.items()}
    known = bins.recorded(before) if bins.names(before) else {}
    metadata.signed.unrecognized_fields[bins.ARCHIVE] = dict(sorted({**known, **told}.items()))
    return changed


def still_needed(repository: Repository, board: str, metadata: Metadata[Targets]) -> bool:
    """Whether a role that waits for publishing lists all that channels point to by now."""
    pointed = channels_in(repository.role(roles.channels_role(board))).values()
    return all(path in metadata.signed.targets for path in pointed)


def _needed(
    repository: Repository, board: str, metadata: Metadata[Targets], new: Iterable[Manifest]
) -> dict[str, TargetFile]:
    """The entries that stay: what channels point to, the newest, and the stepping stones of all of these."""
    manifests = {release_path(board, manifest.version): manifest for manifest in new}
    ordered = releases_in(metadata)
    wanted = [release.path for release in ordered[-RECENT:]] + list(manifests)
    wanted += channels_in(repository.role(roles.channels_role(board))).values()
    needed: dict[str, TargetFile] = {}
    listed = {release.path: release for release in ordered}
    while wanted:
        path = wanted.pop()
        if path in needed:
            continue
        needed[path] = metadata.signed.targets.get(path) or repository.entry(board, path)
        via = (manifests.get(path) or _manifest(repository, board, listed.get(path), path)).via
        if via is not None:
            wanted.append(release_path(board, via))
    return needed


def _manifest(repository: Repository, board: str, release: Release | None, path: str) -> Manifest:
    version = release.version if release else path.rpartition("/")[2].removesuffix(".cbor")
    return repository.manifest(board, version)


def _stale(
    repository: Repository, board: str, releases: Metadata[Targets], past: Iterable[str], now: datetime
) -> list[str]:
    """The bins to sign: which get something, do not exist yet, wait for new keys, or are past half of their life."""
    getting = {bins.bin_of(releases, path) for path in past}
    return [
        name for name in bins.names(releases) if name in getting or _must_sign(repository, board, name, releases, now)
    ]


def _must_sign(repository: Repository, board: str, name: str, releases: Metadata[Targets], now: datetime) -> bool:
    # Only looked at, so parsed without python-tuf: with a long history that is what takes the time.
    data = repository.bin_bytes(board, name)
    if data is None:
        return True
    document = json.loads(data)
    holder = releases.signed.get_delegated_role(name)
    signed_by = {signature["keyid"] for signature in document["signatures"]} & set(holder.keyids)
    late = str(document["signed"]["expires"]) < time_text(now + roles.rule(name).lifetime / 2)
    return late or len(signed_by) < holder.threshold


def _next_bin(repository: Repository, board: str, name: str, now: datetime) -> Metadata[Targets]:
    current = repository.bin(board, name)
    if current is not None:
        return next_role(current, name, now)
    first = first_role(name, now)
    # No two bins are the same file, also while they are empty.
    first.signed.unrecognized_fields[bins.NAME] = name
    return first
