"""Going on with an archive in another place: verified as a client would, from a root that somebody trusts."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.output import progress
from heirloom.cli.project import FILE_NAME, Project, parse
from heirloom.server.archive import WILLS, description
from heirloom.server.folders import copy_tree, new_folder, refuse_taken
from heirloom.server.store import FOLDERS
from heirloom.signing import provenance
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import PRODUCT
from heirloom.signing.repository import Repository
from heirloom.signing.wholeness import check_contents, fingerprint


@dataclass(frozen=True)
class Imported:
    """What `import_archive` made.

    Attributes:
        fingerprint: Of root 1; trust hangs on it unless a root was given.
        anchored: A trusted root was given.
        source: The version whose source is the application now; empty if there was none.
        wills: How many sealed wills came along.
    """

    project: Path
    product: str
    root: int
    releases: int
    fingerprint: str
    anchored: bool
    source: str
    wills: int


def import_archive(archive: Path, folder: Path, root: bytes | None = None) -> Imported:
    """Make a project of an archive.

    Args:
        archive: The archive's folder.
        folder: The project's folder; must not exist.
        root: A root to trust, of any version; the archive's own root 1 if None.

    Raises:
        HeirloomError: The archive does not verify or is not whole, is of another product than its file says or than
            the keys here are of, `folder` exists, ...
    """
    description(archive)
    refuse_taken(folder)
    project = _project(archive)
    _check_anchor(project, Repository(archive).read("1.root.json"))
    with progress("Verifying", None) as bar:
        found = Repository(archive, root)
        said = found.root().signed.unrecognized_fields.get(PRODUCT)
        if said != project.product.name:
            raise HeirloomError(
                f"{FILE_NAME} is of {project.product.name}, the metadata is of {said}", "find a whole copy"
            )
        contents = check_contents(found, bar.advance)
    first = found.read("1.root.json")
    if first is None:
        raise HeirloomError("the archive lacks 1.root.json", "find a whole copy: devices need every root")
    Repository(archive, first).root()  # the history leads from the first root, not only from the given one
    with new_folder(folder) as new:
        _copy(archive, new, project)
        source = _application(new, found, project)
        # Before the folder gets its name: a project whose keys trust no root must not be there for a moment.
        _set_anchor(project, first)
    wills = len(list((folder / WILLS).glob("*.json")))
    version = found.root().signed.version
    product = project.product.name
    releases = len(contents.manifests)
    return Imported(folder, product, version, releases, fingerprint(first), root is not None, source, wills)


def _project(archive: Path) -> Project:
    path = archive.absolute() / FILE_NAME
    try:
        project = parse(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except ValueError as exc:
        raise HeirloomError(f"{path} is not TOML: {exc}", "find an unchanged copy of the archive") from exc
    if not project.app.source.resolve().is_relative_to(archive.resolve()):
        raise HeirloomError(f"{path}: [app] source lies outside of the project", "correct it in the archive")
    return project


def _check_anchor(project: Project, first: bytes | None) -> None:
    store = KeyStore(project.keys_dir())
    if store.anchor() not in (None, first):
        raise HeirloomError(
            f"the keys in {store.directory} are of another product with the name {project.product.name}",
            "name another folder in HEIRLOOM_KEYS",
        )


def _set_anchor(project: Project, first: bytes) -> None:
    """The keys of this product on this machine never sign for another root."""
    store = KeyStore(project.keys_dir())
    try:
        store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {store.directory}") from exc
    store.set_anchor(first)


def _copy(archive: Path, new: Path, project: Project) -> None:
    for name in FOLDERS:
        copy_tree(archive / name, new / "repository" / name)
    for name in (provenance.SOURCES, provenance.RECORDS):
        copy_tree(archive / name, new / ".heirloom" / name)
    copy_tree(archive / WILLS, new / WILLS)
    write_atomic(new / FILE_NAME, (archive / FILE_NAME).read_bytes())
    write_atomic(new / ".gitignore", b".heirloom/\n")
    for board in project.boards.values():
        if board.definition is not None and board.definition.is_relative_to(archive.absolute()):
            place = new / board.definition.relative_to(archive.absolute())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(board.definition.read_bytes())


def _application(new: Path, repository: Repository, project: Project) -> str:
    """Unpack the newest source that is here as the application, so that the next release can be built."""
    state, app = new / ".heirloom", new / project.app.source.resolve().relative_to(project.root.resolve())
    for board in repository.boards():
        for release in reversed(repository.releases(board)):
            record = provenance.find(state, board, release.version, release.sha256)
            if record is not None and provenance.source_path(state, record).is_file():
                app.mkdir(parents=True)
                provenance.unpack(provenance.source_path(state, record), app)
                return release.version
    return ""
