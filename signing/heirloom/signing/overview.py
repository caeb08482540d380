"""All that is known about the releases of a project, for lists and for checking one of them."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.device.manifest import Manifest
from heirloom.signing import attestation, bins, built, endorse, patching, rig, roles, verify
from heirloom.signing.built import BuiltRelease, check_blob
from heirloom.signing.metadata import time_text
from heirloom.signing.repository import BLOBS, Repository, contents, release_path

BUILT, SIGNED, PUBLISHED = "built", "signed", "published"


@dataclass(frozen=True)
class Known:
    """A release that was built or published.

    Attributes:
        state: "built", "signed" (waits for publishing) or "published".
        channels: Those that point to it.
        archived: It is published, but no longer where devices look.
    """

    board: str
    version: str
    epoch: int
    sequence: int
    state: str
    channels: list[str] = field(default_factory=list)
    archived: bool = False


def known(project: Project, board: str) -> list[Known]:
    """The releases of a board, lowest first."""
    repository = Repository(project.repository)
    pointers = repository.channels(board)
    listed = {release.path for release in repository.releases(board)}
    published = [
        Known(
            board,
            release.version,
            release.epoch,
            release.sequence,
            PUBLISHED,
            sorted(channel for channel, version in pointers.items() if version == release.version),
            release.path not in listed,
        )
        for release in repository.history(board)
    ]
    done = {release.version for release in published}
    builds = [build for build in built.built_releases(project, board) if build.version not in done]
    waiting = [_waiting(project, repository, build) for build in builds]
    return sorted([*published, *waiting], key=lambda release: (release.epoch, release.sequence, release.version))


def _waiting(project: Project, repository: Repository, build: BuiltRelease) -> Known:
    state = SIGNED if endorse.is_signed(project, repository, build) else BUILT
    return Known(build.board, build.version, build.manifest.epoch, build.manifest.sequence, state)


def find(project: Project, version: str, boards: list[str]) -> list[Known]:
    """The release of that version for each of these boards that has it.

    Raises:
        HeirloomError: None has it.
    """
    built.check_version(version)
    everything = [release for board in boards for release in known(project, board)]
    found = [release for release in everything if release.version == version]
    if not found:
        names = ", ".join(sorted({release.version for release in everything})) or "none"
        raise HeirloomError(f"no release {version} for {', '.join(boards)}", f"built or published: {names}")
    return found


def manifest(project: Project, release: Known) -> Manifest:
    """The manifest of a known release."""
    if release.state == PUBLISHED:
        return Repository(project.repository).manifest(release.board, release.version)
    return built.load(project, release.board, release.version).manifest


@dataclass(frozen=True)
class Verified:
    """What verifying a release found right.

    Attributes:
        sha256: Of the manifest, hexadecimal.
        files: Contents whose hash was compared.
        signatures: Valid ones on the releases role that lists it; 0 for a build that is not signed.
        threshold: That the role needs.
        expires: Of the releases role, as TUF writes times; None if not signed.
        attested: What rigs say whose keys the role has: the start of the key's id to the tests that passed.
    """

    board: str
    version: str
    state: str
    sha256: str
    files: int
    signatures: int
    threshold: int
    expires: str | None
    attested: dict[str, int] = field(default_factory=dict)


def check(project: Project, release: Known, now: datetime) -> Verified:
    """Verify a release: hashes, manifest, and the signatures as a client would.

    Raises:
        HeirloomError: Something is wrong; says what.
    """
    repository = Repository(project.repository)
    if release.state != PUBLISHED:
        return _check_built(project, repository, release)
    trusted = repository.check(now)
    data = repository.manifest_bytes(release.board, release.version)
    manifest = repository.manifest(release.board, release.version)
    _check_says(manifest, project, release)
    for path, length, sha256 in contents(manifest):
        check_blob(repository.path / BLOBS / sha256.hex(), length, sha256, path)
    patching.check(manifest, repository)
    role, metadata, delegator = _listing(repository, trusted, release)
    verify.check_expiry(metadata, role, now)
    result = delegator.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    verify.signed_by(metadata, role, delegator, f"{role}.json")
    return Verified(
        release.board,
        release.version,
        release.state,
        hashlib.sha256(data).hexdigest(),
        len(manifest.files),
        len(result.signed),
        result.threshold,
        time_text(metadata.signed.expires),
        _attested(repository, repository.path, release.board, hashlib.sha256(data).hexdigest()),
    )


def _listing(
    repository: Repository, trusted: verify.Trusted, release: Known
) -> tuple[str, Metadata[Targets], Metadata[Targets]]:
    """The role that lists a published release, its metadata, and the role that delegates to it."""
    role = roles.releases_role(release.board)
    listing = trusted.targets_role(role)
    name = bins.bin_of(listing, release_path(release.board, release.version))
    content = repository.bin(release.board, name) if release.archived and name else None
    return (name, content, listing) if name and content else (role, listing, trusted.targets)


def _check_built(project: Project, repository: Repository, release: Known) -> Verified:
    build = built.load(project, release.board, release.version)
    build.check()
    _check_says(build.manifest, project, release)
    signed = endorse.pending_role(project, repository, release.board) if release.state == SIGNED else None
    metadata = endorse.pending(project, repository, release.board) if signed else None
    if metadata is not None:
        verify.check_content(metadata.signed.targets[build.path], build.manifest_bytes, str(build.directory))
    role = repository.targets().signed.get_delegated_role(roles.releases_role(release.board))
    return Verified(
        release.board,
        release.version,
        release.state,
        build.sha256,
        len(build.manifest.files),
        signed.signatures if signed else 0,
        role.threshold,
        time_text(metadata.signed.expires) if metadata else None,
        _attested(repository, project.state_dir, release.board, build.sha256),
    )


def _attested(repository: Repository, folder: Path, board: str, sha256: str) -> dict[str, int]:
    """What the rigs say whose keys the board's releases role has now."""
    targets, role = repository.targets().signed, roles.releases_role(board)
    keys = [targets.get_key(keyid) for keyid in rig.keys_of(targets, role)]
    return {found.keyid[:8]: found.passed for found in attestation.verified(folder, sha256, keys)}


def _check_says(manifest: Manifest, project: Project, release: Known) -> None:
    said = (manifest.product, manifest.board, manifest.version, manifest.epoch, manifest.sequence)
    if said != (project.product.name, release.board, release.version, release.epoch, release.sequence):
        raise HeirloomError(f"the manifest of {release.version} for {release.board} describes {said}")
