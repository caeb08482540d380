"""Releases that are signed in one place and published in another: a folder to upload to where the online keys are.

Whoever uploads needs a right to write there and nothing else: what arrives is verified as if it had been made there,
down to the signatures of the releases role. The folder has the shape of `.heirloom`, with what one version needs.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.server import plan
from heirloom.server.folders import new_folder
from heirloom.server.plan import ReleasePlan
from heirloom.signing import built, endorse, provenance, roles
from heirloom.signing.built import BuiltRelease
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import parse_file_name
from heirloom.signing.repository import Repository


@dataclass(frozen=True)
class Staged:
    """A folder that waits for uploading.

    Attributes:
        boards: Board name to the versions that it brings.
        size: Of all files in bytes.
    """

    folder: Path
    boards: dict[str, list[str]]
    size: int
    dry_run: bool = False


def stage(project: Project, version: str, boards: Sequence[str], folder: Path, *, dry_run: bool = False) -> Staged:
    """Put a signed release, and what was signed together with it, into a folder of its own. Needs no keys.

    Args:
        project: Where it was built and signed.
        version: The release.
        boards: Boards; all that have the release waiting if empty.
        folder: Made whole or not at all; it must not exist.
        dry_run: Check everything and write nothing.

    Raises:
        HeirloomError: The release is published already, not signed by enough keys, or not whole; the folder exists.
    """
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    wanted = plan.boards_to_publish(project, repository, version, boards)
    if not wanted:
        raise plan.already_published(version, None)
    plans = [plan.release(project, repository, board, version) for board in wanted]
    if folder.exists():
        raise HeirloomError(f"{folder} exists already", "name a folder that does not exist, or remove this one")
    files = dict(item for each in plans for item in _files(project, repository, each))
    size = sum(source.stat().st_size for source in files.values())
    if not dry_run:
        _copy(files, folder)
    return Staged(folder, {each.board: [build.version for build in each.builds] for each in plans}, size, dry_run)


def staged_project(project: Project, folder: Path) -> Project:
    """The project, with what is built and signed in `folder` instead of its own `.heirloom`.

    Raises:
        HeirloomError: There is nothing in the folder, or something was published since it was signed.
    """
    signed = sorted((folder / "signed").glob("*.json"))
    if not signed:
        raise HeirloomError(f"{folder} holds no signed release", "make it with `heirloom release publish --stage`")
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    for path in signed:
        try:
            version, role = parse_file_name(path.name)
        except ValueError as exc:
            raise HeirloomError(f"{path} is no signed releases role: {exc}") from exc
        if roles.archived_below(role):
            continue  # a bin goes with its releases role, which says what is in it
        published = repository.role(role).signed.version
        if version != published + 1:
            raise HeirloomError(
                f"{path} would be version {version} of {role}, but version {published} is published",
                "fetch the repository as it is now, sign again on top of it, and upload that",
            )
    return replace(project, state=folder)


def _files(project: Project, repository: Repository, each: ReleasePlan) -> Iterator[tuple[Path, Path]]:
    """(path in the folder, source) of every file that a board's releases need."""
    for build in each.builds:
        said = [each.attestations[build.sha256]] if build.sha256 in each.attestations else []
        for source in (*build.blobs, build.directory / built.MANIFEST, *_origins(project, build), *said):
            yield source.relative_to(project.state_dir), source
    pending = endorse.pending_path(project, repository, each.board)
    for source in (*endorse.bin_paths(project, repository, each.board, each.role).values(), pending):
        yield Path("signed", source.name), source


def _origins(project: Project, build: BuiltRelease) -> list[Path]:
    """How a release was built, and from what: `export` and `release verify --source` need it where it is published."""
    record = provenance.find(project.state_dir, build.board, build.version, build.sha256)
    if record is None:
        return []
    source = provenance.source_path(project.state_dir, record)
    kept = [source] if project.app.escrow is None and source.is_file() else []
    return [provenance.record_path(project.state_dir, build.board, build.version), *kept]


def keep_origins(project: Project, folder: Path, published: Iterable[tuple[str, str]]) -> None:
    """Keep beside the project what a staged folder says of the origin of its releases.

    Nothing of it is trusted: a rebuild is compared with the signed manifest.

    Args:
        project: Where they were published.
        folder: The staged folder.
        published: Board and version of each release that it brought.

    Raises:
        HeirloomError: A file cannot be written, or a record is damaged.
    """
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    for board, version in published:
        record = provenance.find(folder, board, version, repository.release(board, version).sha256)
        if record is not None:
            provenance.adopt(project, record, folder)


def _copy(files: dict[Path, Path], folder: Path) -> None:
    with new_folder(folder) as new:
        for path, source in files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, new / path)
