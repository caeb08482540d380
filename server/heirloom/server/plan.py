"""What a commit will bring: worked out, and refused where it must be, before any key is used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import warn
from heirloom.cli.project import Project
from heirloom.signing import attestation, built, endorse, rig, roles
from heirloom.signing.built import BuiltRelease
from heirloom.signing.metadata import file_name, to_bytes
from heirloom.signing.repository import BLOBS, Repository, contents


@dataclass
class Plan:
    """The arguments of `Store.commit`, without what the online keys will sign."""

    metadata: dict[str, bytes] = field(default_factory=dict)
    targets: dict[str, bytes] = field(default_factory=dict)
    blobs: list[Path] = field(default_factory=list)
    attestations: dict[str, bytes] = field(default_factory=dict)


@dataclass
class ReleasePlan:
    """What publishing a board's signed role brings.

    Attributes:
        role: The signed releases role.
        name: Of its file.
        builds: All releases that it brings, lowest first.
        bins: The bins of the archive that go with it: file name to content.
        attestations: What rigs say of the releases: SHA-256 of the manifest to the file.
    """

    board: str
    role: Metadata[Targets]
    name: str
    builds: list[BuiltRelease]
    bins: dict[str, bytes] = field(default_factory=dict)
    attestations: dict[str, Path] = field(default_factory=dict)


def boards_to_publish(project: Project, repository: Repository, version: str, boards: Sequence[str]) -> list[str]:
    """The boards among `boards` (all that have the release built if empty) where the release is not published yet.

    Raises:
        HeirloomError: A board is unknown, or no board has such a release.
    """
    known = repository.boards()
    for board in boards:
        _need_board(board, known)
    candidates = boards or [board for board in known if _listed(repository, board, version)] + built.boards_with(
        project, version
    )
    if not candidates:
        built.load(project, known[0], version)  # says what there is
    return [board for board in dict.fromkeys(candidates) if not _listed(repository, board, version)]


def already_published(version: str, channel: str | None) -> HeirloomError:
    """The error about a version that is published."""
    return HeirloomError(
        f"release {version} is already published",
        f"a release never changes; to point a channel to it: heirloom channel set {channel or 'stable'} {version}",
    )


def boards_with_release(repository: Repository, version: str, boards: Sequence[str]) -> list[str]:
    """The boards among `boards` (all if empty) that list the release.

    Raises:
        HeirloomError: A named board does not list it, or none does.
    """
    known = repository.boards()
    for board in boards:
        _need_board(board, known)
        repository.release(board, version)
    found = list(boards) or [board for board in known if _listed(repository, board, version)]
    if not found:
        versions = sorted({release.version for board in known for release in repository.releases(board)})
        raise HeirloomError(
            f"no release {version} is published", f"published releases: {', '.join(versions) or 'none'}"
        )
    return found


def release(project: Project, repository: Repository, board: str, version: str) -> ReleasePlan:
    """Plan to publish what is signed for a board.

    Raises:
        HeirloomError: The version is not signed, not by enough keys, not whole, or orders too low.
    """
    signed = endorse.pending_role(project, repository, board)
    role = endorse.pending(project, repository, board)
    if signed is None or role is None or version not in signed.versions:
        built.load(project, board, version)
        raise HeirloomError(f"release {version} for {board} is not signed", f"run `heirloom release sign {version}`")
    if signed.signatures < signed.threshold:
        raise HeirloomError(
            f"release {version} for {board} carries {signed.signatures} of {signed.threshold} signatures",
            f"{signed.threshold - signed.signatures} more holders must sign {signed.path}",
        )
    builds = endorse.unpublished(project, repository, board)
    _check_order(repository, board, builds)
    attested = _attestations(project, repository, board, role, builds)
    paths = endorse.bin_paths(project, repository, board, role).values()
    files = {path.name: endorse.bin_data(path) for path in paths}
    name = file_name(roles.releases_role(board), role.signed.version)
    return ReleasePlan(board, role, name, builds, files, attested)


def _attestations(
    project: Project, repository: Repository, board: str, role: Metadata[Targets], builds: Sequence[BuiltRelease]
) -> dict[str, Path]:
    """The files with what rigs say of the builds, where there are any.

    Raises:
        HeirloomError: The releases role has a rig key, and a build was not attested with one.
    """
    targets, name = repository.targets().signed, roles.releases_role(board)
    rigs = rig.keys_of(targets, name)
    signed_by = targets.get_verification_result(name, role.signed_bytes, role.signatures).signed
    rig.check_signed(targets, name, signed_by, [build.version for build in builds])
    keys = [key for keyid, key in signed_by.items() if keyid in rigs]
    found = {}
    for build in builds:
        if keys and not attestation.verified(project.state_dir, build.sha256, keys):
            rig.check_signed(targets, name, (), [build.version])
        path = attestation.path_of(project.state_dir, build.sha256)
        if path.is_file():
            found[build.sha256] = path
    return found


def together(plans: Iterable[ReleasePlan]) -> Plan:
    """One commit for several boards."""
    total = Plan()
    blobs: dict[str, Path] = {}
    for plan in plans:
        total.metadata |= {plan.name: to_bytes(plan.role), **plan.bins}
        total.targets.update({build.path: build.manifest_bytes for build in plan.builds})
        blobs.update({blob.name: blob for build in plan.builds for blob in build.blobs})
        total.attestations |= {path.name: path.read_bytes() for path in plan.attestations.values()}
    total.blobs = list(blobs.values())
    return total


def whole_manifest(repository: Repository, board: str, version: str) -> bytes:
    """The manifest of a published release of which every content is there.

    Raises:
        HeirloomError: Something is missing.
    """
    for path, _, sha256 in contents(repository.manifest(board, version)):
        if not (repository.path / BLOBS / sha256.hex()).is_file():
            raise HeirloomError(
                f"the repository lacks the content of {path} in {version} for {board}", "restore it from a copy"
            )
    return repository.manifest_bytes(board, version)


def warn_if_lower(repository: Repository, board: str, channel: str, version: str) -> None:
    """Say that devices do not go back."""
    current = repository.channels(board).get(channel)
    listed = {entry.version: entry for entry in repository.releases(board)}
    if current in listed and version in listed and listed[version].order < listed[current].order:
        warn(
            f"devices that have {current} will not go back to {version}: "
            "to take a release back, publish its content again under a new version"
        )


def next_name(repository: Repository, role: str) -> str:
    """The file name of the next version of a board's role."""
    return file_name(role, repository.role(role).signed.version + 1)


def _need_board(board: str, known: Sequence[str]) -> None:
    if board not in known:
        raise HeirloomError(f"the repository knows no board {board}", f"its boards are: {', '.join(known) or 'none'}")


def _listed(repository: Repository, board: str, version: str) -> bool:
    return repository.find(board, version) is not None


def _check_order(repository: Repository, board: str, builds: Sequence[BuiltRelease]) -> None:
    """A device installs only what orders above what it has: anything else would reach nobody."""
    highest = max((listed.order for listed in repository.releases(board)), default=(-1, -1))
    for build in builds:
        if build.manifest.order <= highest:
            raise HeirloomError(
                f"release {build.version} for {board} has epoch and sequence {build.manifest.order}, "
                f"which is not above the published {highest}",
                "build it again: it gets the next sequence",
            )
