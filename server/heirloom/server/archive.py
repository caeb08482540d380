"""The archive of a product: a static copy with all that successors need, and which devices update from as it is."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.output import progress
from heirloom.cli.project import FILE_NAME, Project
from heirloom.server import archive_page
from heirloom.server.folders import copy_tree, new_folder, refuse_taken
from heirloom.server.store import FOLDERS, LOCK, Store
from heirloom.signing import lasting, provenance, roles
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import MAKER, time_text
from heirloom.signing.online import refresh
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.provenance import Record
from heirloom.signing.repository import Repository
from heirloom.signing.wholeness import check_contents, fingerprint

DESCRIPTION = "archive.json"
PAGE = "index.html"
WILLS = "will"
FORMAT = 1


@dataclass(frozen=True)
class Lasting:
    """How long a copy shall last.

    Attributes:
        until: When its online roles expire (UTC).
        offline: Sign root, targets and releases for as long, too; they are published first.
    """

    until: datetime
    offline: bool = False


@dataclass(frozen=True)
class Archive:
    """What is in an archive; `archive.json` in it.

    Attributes:
        made: When (RFC 3339).
        fingerprint: Of root 1, for comparing by telephone.
        keys: Role to the ids of its keys and their public halves.
        releases: Board to version to how it was built; None if that is not recorded.
        channels: Board to channel to version.
        escrow: Where the sources lie, if not here.
        tools: Versions on the machine that made the archive.
        expires: Role to its expiry.
        accepted_until: Until then devices accept it as it is.
        lasting: It was signed to last: nobody will renew it.
        archived_until: Board to when TUF clients other than devices stop finding the releases in its archive.
    """

    format: int
    product: str
    made: str
    fingerprint: str
    maker: dict[str, object]
    urls: list[str]
    root: int
    keys: dict[str, dict[str, object]]
    releases: dict[str, dict[str, Record | None]]
    channels: dict[str, dict[str, str]]
    escrow: str | None
    tools: dict[str, str]
    expires: dict[str, str]
    accepted_until: str
    lasting: bool = False
    archived_until: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """What `export` made.

    Attributes:
        limited_by: The role that expires first.
        without_source: Releases of which neither the source nor where it lies is known.
        lost: What freeze protection is lost by lasting; empty if none.
    """

    archive: Path
    bytes: int
    releases: int
    accepted_until: str
    limited_by: str
    without_source: list[str] = field(default_factory=list)
    lost: str = ""


def export(
    project: Project, out: Path, now: datetime, passphrases: Passphrases, last: Lasting | None = None
) -> Exported:
    """Write an archive of the project's repository.

    Args:
        project: The project.
        out: A folder that does not exist; it appears when it is complete.
        now: Time of signing (UTC).
        passphrases: For the keys, when it shall last.
        last: How long it shall last without anybody who renews it.

    Raises:
        HeirloomError: `out` exists, the repository is not whole, a key is missing, the disk is full, ...
    """
    refuse_taken(out)
    anchor = KeyStore(project.keys_dir()).anchor()
    store = Store(project.repository)
    if last is not None:
        lasting.check_until(last.until, now)
    # Nobody publishes meanwhile, so that the copy is of one moment.
    with store.publishing():
        if last is not None and last.offline:
            _prolong(project, store, last.until, now, passphrases)
        repository = Repository(project.repository, anchor)
        with progress("Verifying", None) as bar:
            contents = check_contents(repository, bar.advance)
        with new_folder(out) as folder:
            _copy_repository(project.repository, folder)
            if last is not None:
                _make_last(project, folder, anchor, last.until, now, passphrases)
            archive = _describe(project, Repository(folder, anchor), now, is_lasting=last is not None)
            _add_sources(project, folder, archive)
            _add_project(project, folder)
            _write(folder / DESCRIPTION, json.dumps(asdict(archive), indent=1, sort_keys=True).encode() + b"\n")
            _write(folder / PAGE, archive_page.render(archive, contents).encode())
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _exported(out, archive, size, len(contents.manifests))


def _copy_repository(repository: Path, folder: Path) -> None:
    total = sum(path.stat().st_size for name in FOLDERS for path in (repository / name).rglob("*") if path.is_file())
    with progress("Copying", total) as bar:
        for name in FOLDERS:
            copy_tree(repository / name, folder / name, bar.advance)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _make_last(
    project: Project, folder: Path, anchor: bytes | None, until: datetime, now: datetime, passphrases: Passphrases
) -> None:
    copy = Repository(folder, anchor)
    signers = {role: role_signers(project, role, passphrases) for role in lasting.online_roles(copy)}
    Store(folder).commit(lasting.final(copy, signers, until, now), {}, [])
    (folder / LOCK).unlink(missing_ok=True)


def _prolong(project: Project, store: Store, until: datetime, now: datetime, passphrases: Passphrases) -> None:
    """Publish offline roles that last as long, as any next version: the copy must not have a root of its own."""
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    late = [limit.role for limit in lasting.limits(repository, until)]
    if late:
        wanted = [*late, roles.SNAPSHOT, roles.TIMESTAMP]
        signers = {role: role_signers(project, role, passphrases) for role in wanted}
        changed = lasting.prolonged(repository, signers, until, now)
        store.commit(refresh(repository, changed, signers, now), {}, [])


def _add_sources(project: Project, folder: Path, archive: Archive) -> None:
    """The records of all releases, and their sources unless those are in escrow."""
    for board, versions in archive.releases.items():
        for version, record in versions.items():
            if record is None:
                continue
            _write(provenance.record_path(folder, board, version), provenance.to_bytes(record))
            target, source = (provenance.source_path(base, record) for base in (folder, project.state_dir))
            if archive.escrow is None and source.is_file() and not target.exists():
                _write(target, source.read_bytes())


def _add_project(project: Project, folder: Path) -> None:
    shutil.copyfile(project.root / FILE_NAME, folder / FILE_NAME)
    for board in project.boards.values():
        if board.definition is not None and board.definition.resolve().is_relative_to(project.root.resolve()):
            place = folder / board.definition.resolve().relative_to(project.root.resolve())
            _write(place, board.definition.read_bytes())
    copy_tree(project.root / WILLS, folder / WILLS)


def _describe(project: Project, repository: Repository, now: datetime, *, is_lasting: bool) -> Archive:
    every = [*lasting.offline_roles(repository), *lasting.online_roles(repository)]
    expires = {role: repository.trusted.role(role).signed.expires for role in every}
    boards = repository.boards()
    return Archive(
        format=FORMAT,
        product=project.product.name,
        made=time_text(now),
        fingerprint=fingerprint(repository.read("1.root.json") or b""),
        maker=dict(repository.targets().signed.unrecognized_fields.get(MAKER, {})),
        urls=[str(url) for url in repository.root().signed.unrecognized_fields.get("x-heirloom-urls", [])],
        root=repository.root().signed.version,
        keys={role: _keys(repository, role) for role in every},
        releases={board: _records(project, repository, board) for board in boards},
        channels={board: repository.channels(board) for board in boards},
        escrow=project.app.escrow,
        tools=provenance.tools(),
        expires={role: time_text(moment) for role, moment in expires.items()},
        accepted_until=time_text(min(expires.values())),
        lasting=is_lasting,
        archived_until={
            board: time_text(min(each.signed.expires for each in archive.values()))
            for board in boards
            if (archive := repository.archive(board))
        },
    )


def _keys(repository: Repository, role: str) -> dict[str, object]:
    delegator = repository.root().signed if role in roles.TOP_LEVEL else repository.targets().signed
    held = delegator.get_delegated_role(role)
    public = {keyid: delegator.get_key(keyid).to_dict() for keyid in held.keyids}
    return {"threshold": held.threshold, "keys": public}


def _records(project: Project, repository: Repository, board: str) -> dict[str, Record | None]:
    found = {}
    for release in reversed(repository.history(board)):
        record = provenance.find(project.state_dir, board, release.version, release.sha256)
        found[release.version] = record
    return found


def _exported(out: Path, archive: Archive, size: int, releases: int) -> Exported:
    unknown = [
        f"{version} for {board}"
        for board, versions in archive.releases.items()
        for version, record in versions.items()
        if archive.escrow is None and not _has_source(out, record)
    ]
    first = min(archive.expires, key=lambda role: archive.expires[role])
    lost = archive_page.lost(archive) if archive.lasting else ""
    return Exported(out, size, releases, archive.accepted_until, first, unknown, lost)


def _has_source(folder: Path, record: Record | None) -> bool:
    return record is not None and provenance.source_path(folder, record).is_file()


def description(folder: Path) -> Mapping[str, object]:
    """What `archive.json` in `folder` says; nothing of it is trusted.

    Raises:
        HeirloomError: `folder` is no archive.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_bytes())
    except OSError as exc:
        raise os_error(exc, f"{folder} is no archive: cannot read {path}") from exc
    except ValueError as exc:
        raise HeirloomError(f"{path} is damaged", "find an unchanged copy of the archive") from exc
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise HeirloomError(f"{folder} is an archive of a format that this version does not know", "update Heirloom")
    return found
