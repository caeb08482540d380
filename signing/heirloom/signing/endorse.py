"""Signing releases: the next version of a board's releases role, in `.heirloom/signed` until it is published.

Only the releases key is needed. Several releases may be signed before one is published; several holders may
sign the same file one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing import archiving, attestation, bins, built, rig, roles
from heirloom.signing.built import BuiltRelease
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import file_name, meta_name, next_role, parse, to_bytes, utc_now
from heirloom.signing.metadata import sign as add_signatures
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Release, Repository, releases_in


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
    metadata, archive = _next(project, repository, release, now or utc_now())
    path = pending_path(project, repository, release.board)
    if dry_run:
        return _describe(repository, release.board, path, metadata)
    signers = role_signers(project, role, passphrases, only)
    signers = _only_attested(project, repository, release.board, metadata, signers, named=bool(only))
    for content in (metadata, *archive.values()):
        add_signatures(content, signers)
    _check_keys(repository, role, metadata, [signer.public_key.keyid for signer in signers])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {path.parent}") from exc
    for name, content in archive.items():
        write_atomic(_bin_path(project, name, content.signed.version), to_bytes(content))
    write_atomic(path, to_bytes(metadata))  # last: it makes the others count
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


def pending_bins(
    project: Project, repository: Repository, board: str, waiting: Metadata[Targets]
) -> dict[str, Metadata[Targets]]:
    """The bins of the archive that were signed together with a role that waits for publishing, by name.

    Raises:
        HeirloomError: One is missing, or is not what the role says.
    """
    found = {}
    for name, path in bin_paths(project, repository, board, waiting).items():
        data = bin_data(path)
        found[name] = parse(Targets, data, str(path))
        bins.check_bin(name, found[name], waiting, data)
    return found


def bin_data(path: Path) -> bytes:
    """The file of a bin that waits for publishing; HeirloomError if it is not there."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}, which was signed together with a release") from exc


def bin_paths(project: Project, repository: Repository, board: str, waiting: Metadata[Targets]) -> dict[str, Path]:
    """Where the bins lie that were signed together with a role that waits for publishing, by name."""
    published = repository.role(roles.releases_role(board))
    known = bins.recorded(published) if bins.names(published) else {}
    meta = repository.snapshot().signed.meta
    changed = [name for name, digest in bins.recorded(waiting).items() if known.get(name) != digest]
    versions = {name: meta[meta_name(name)].version if meta_name(name) in meta else 0 for name in changed}
    return {name: _bin_path(project, name, version + 1) for name, version in versions.items()}


def _bin_path(project: Project, name: str, version: int) -> Path:
    return project.state_dir / "signed" / file_name(name, version)


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
    result = []
    for release in _new_in(repository, board, metadata) if metadata else ():
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
    if repository.find(release.board, release.version) is not None:
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


def _next(
    project: Project, repository: Repository, release: BuiltRelease, now: datetime
) -> tuple[Metadata[Targets], dict[str, Metadata[Targets]]]:
    """The role that lists the release: as it waits already, or the next version of what is published, extended.

    And the bins of the archive that go with it, by name.
    """
    role = roles.releases_role(release.board)
    waiting = pending(project, repository, release.board)
    target = release.target()
    same = waiting is not None and waiting.signed.targets.get(release.path) == target
    if waiting is not None and same and archiving.still_needed(repository, release.board, waiting):
        return waiting, pending_bins(project, repository, release.board, waiting)
    metadata = next_role(repository.role(role), role, now)
    others = _new_in(repository, release.board, waiting) if waiting is not None else []
    for other in others:
        metadata.signed.targets[other.path] = waiting.signed.targets[other.path] if waiting else target
    if not same and release.path in metadata.signed.targets:
        raise HeirloomError(f"{release.version} was signed with other content", "give the new content a new version")
    metadata.signed.targets[release.path] = target
    new = [built.load(project, release.board, other.version).manifest for other in others]
    archive = archiving.arrange(repository, release.board, metadata, [*new, release.manifest], now)
    return metadata, archive


def _new_in(repository: Repository, board: str, waiting: Metadata[Targets]) -> list[Release]:
    """The releases that a role brings which waits for publishing, lowest first."""
    return [release for release in releases_in(waiting) if repository.find(board, release.version) is None]


def _only_attested(
    project: Project,
    repository: Repository,
    board: str,
    metadata: Metadata[Targets],
    signers: Sequence[Signer],
    *,
    named: bool,
) -> list[Signer]:
    """The signers without those of rigs that did not attest every release that the role brings.

    Raises:
        HeirloomError: Such a key was asked for by name, or no other is here.
    """
    rigs = rig.keys_of(repository.targets().signed, roles.releases_role(board))
    new = _new_in(repository, board, metadata)
    good: list[Signer] = []
    for signer in signers:
        untested = [
            release.version
            for release in new
            if signer.public_key.keyid in rigs
            and not attestation.verified(project.state_dir, release.sha256, [signer.public_key])
        ]
        if untested and (named or len(signers) == 1):
            raise HeirloomError(
                f"the rig's key {signer.public_key.keyid[:8]} signs only what the rig tested, "
                f"not {', '.join(untested)}",
                f"on the rig: heirloom hil attest {' '.join(untested)}",
            )
        if not untested:
            good.append(signer)
    return good


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
    versions = [release.version for release in _new_in(repository, board, metadata)]
    threshold = repository.targets().signed.get_delegated_role(role).threshold
    return SignedRole(board, path, len(_valid(repository, role, metadata)), threshold, versions)
