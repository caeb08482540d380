"""Which releases a board's devices still need, and moving the others to the archive when a release is signed."""

from collections.abc import Iterable
from datetime import datetime

from tuf.api.metadata import Metadata, TargetFile, Targets

from heirloom.device.manifest import Manifest
from heirloom.signing import bins, roles
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
    stale = _stale(repository, metadata, past, now)
    changed = {name: bins.next_bin(repository.bin(board, name), name, now) for name in stale}
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


def _stale(repository: Repository, releases: Metadata[Targets], past: Iterable[str], now: datetime) -> list[str]:
    """The bins to sign: which get something, do not exist yet, wait for new keys, or are past half of their life."""
    getting = {bins.bin_of(releases, path) for path in past}
    return [
        name
        for name in bins.names(releases)
        if name in getting or bins.must_sign(repository.bin_head(name), name, releases, now)
    ]
