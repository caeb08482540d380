"""Signing releases: the next version of a board's releases role, in `.heirloom/signed` until it is published.

Only the releases key is needed. Several releases may be signed before one is published; several holders may
sign the same file one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing import built, roles
from heirloom.signing.built import BuiltRelease
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import file_name, next_role, parse, to_bytes, utc_now
from heirloom.signing.metadata import sign as add_signatures
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository, releases_in


@dataclass(frozen=True)
class SignedRole:
    """A signed releases role that waits for publishing.

    Attributes:
        path: The file in `.heirloom/signed`.
        signatures: Valid ones.
        threshold: Signatures that it needs.
        versions: The releases that it lists and the published one does not.
    """

    board: str
    path: Path
    signatures: int
    threshold: int
    versions: list[str]


def sign(
    project: Project,
    release: BuiltRelease,
    now: datetime | None = None,
    passphrases: Passphrases | None = None,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
) -> SignedRole:
    """Sign a built release with the keys of its board's releases role that are here.

    Args:
        project: Names the keys.
        release: What `build` made.
        now: Time of signing (UTC); the host's clock if None.
        passphrases: Where passphrases and PINs come from.
        only: Names or URIs of keys: sign with these and no others.
        dry_run: Check everything, but open no key and write nothing.

    Raises:
        HeirloomError: A key does not open or is not one of the role's, the release is damaged or does not order above
            what is published, or the repository does not verify.
    """
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    release.check()
    _check_place(project, repository, release)
    role = roles.releases_role(release.board)
    metadata = _next(project, repository, release, now or utc_now())
    path = pending_path(project, repository, release.board)
    if dry_run:
        return _describe(repository, release.board, path, metadata)
    signers = role_signers(project, role, passphrases, only)
    add_signatures(metadata, signers)
    _check_keys(repository, role, metadata, [signer.public_key.keyid for signer in signers])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {path.parent}") from exc
    write_atomic(path, to_bytes(metadata))
    return _describe(repository, release.board, path, metadata)


def pending_path(project: Project, repository: Repository, board: str) -> Path:
    """Where the next version of a board's releases role lies while it is not published."""
    role = roles.releases_role(board)
    return project.state_dir / "signed" / file_name(role, repository.role(role).signed.version + 1)


def pending(project: Project, repository: Repository, board: str) -> Metadata[Targets] | None:
    """The next version of a board's releases role, if something was signed; at least one valid signature is on it.

    Raises:
        HeirloomError: No key of the role signed it.
    """
    path = pending_path(project, repository, board)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    metadata = parse(Targets, data, str(path))
    if not _valid(repository, roles.releases_role(board), metadata):
        raise HeirloomError(f"{path} carries no valid signature", "remove it and sign again")
    return metadata


def pending_role(project: Project, repository: Repository, board: str) -> SignedRole | None:
    """What waits for publishing, described; None if nothing does."""
    metadata = pending(project, repository, board)
    return _describe(repository, board, pending_path(project, repository, board), metadata) if metadata else None


def unpublished(project: Project, repository: Repository, board: str) -> list[BuiltRelease]:
    """The builds of the releases that are signed and not published, lowest first; each is whole.

    Raises:
        HeirloomError: A build is missing or is not what was signed.
    """
    metadata = pending(project, repository, board)
    published = repository.role(roles.releases_role(board)).signed.targets
    waiting = [release for release in releases_in(metadata) if release.path not in published] if metadata else []
    result = []
    for release in waiting:
        build = built.load(project, board, release.version)
        if build.sha256 != release.sha256:
            raise HeirloomError(
                f"{build.directory} is not what was signed as {release.version}", "build it again as it was"
            )
        build.check()
        result.append(build)
    return result


def is_signed(project: Project, repository: Repository, release: BuiltRelease) -> bool:
    """Whether the releases role that waits for publishing lists this version."""
    metadata = pending(project, repository, release.board)
    return metadata is not None and release.path in metadata.signed.targets


def _check_place(project: Project, repository: Repository, release: BuiltRelease) -> None:
    """What is signed must be of this product and order above what is published."""
    manifest = release.manifest
    if manifest.product != project.product.name:
        raise HeirloomError(f"{release.version} was built for the product {manifest.product}", "build it again")
    listed = repository.releases(release.board)
    if any(other.version == release.version for other in listed):
        raise HeirloomError(
            f"release {release.version} for {release.board} is already published", "build a new version"
        )
    if manifest.epoch != repository.epoch():
        raise HeirloomError(
            f"{release.version} was built for epoch {manifest.epoch}, now is {repository.epoch()}", "build it again"
        )
    highest = max((other.order for other in listed), default=(-1, -1))
    if manifest.order <= highest:
        raise HeirloomError(
            f"{release.version} has sequence {manifest.sequence}, which is not above {highest[1]}", "build it again"
        )


def _next(project: Project, repository: Repository, release: BuiltRelease, now: datetime) -> Metadata[Targets]:
    """The role that lists the release: as it waits already, or the next version of what is published, extended."""
    role = roles.releases_role(release.board)
    waiting = pending(project, repository, release.board)
    target = release.target()
    if waiting is not None and waiting.signed.targets.get(release.path) == target:
        return waiting
    metadata = next_role(repository.role(role), role, now)
    if waiting is not None:
        metadata.signed.targets = dict(waiting.signed.targets)
    if release.path in metadata.signed.targets:
        raise HeirloomError(f"{release.version} was signed with other content", "give the new content a new version")
    metadata.signed.targets[release.path] = target
    return metadata


def _valid(repository: Repository, role: str, metadata: Metadata[Targets]) -> set[str]:
    targets = repository.targets().signed
    return set(targets.get_verification_result(role, metadata.signed_bytes, metadata.signatures).signed)


def _check_keys(repository: Repository, role: str, metadata: Metadata[Targets], keyids: list[str]) -> None:
    useless = set(keyids) - _valid(repository, role, metadata)
    if useless:
        names = ", ".join(keyid[:8] for keyid in sorted(useless))
        raise HeirloomError(
            f"key {names} is not one of the keys that targets names for {role}", "see `heirloom key list`"
        )


def _describe(repository: Repository, board: str, path: Path, metadata: Metadata[Targets]) -> SignedRole:
    role = roles.releases_role(board)
    published = repository.role(role).signed.targets
    versions = [release.version for release in releases_in(metadata) if release.path not in published]
    threshold = repository.targets().signed.get_delegated_role(role).threshold
    return SignedRole(board, path, len(_valid(repository, role, metadata)), threshold, versions)
