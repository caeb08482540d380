"""Offline bundles: all that boards need for an update, in a folder for a stick or a card, or in one file.

The folder holds files as the repository has them, so any web host serves it, too. The file is a tar of the same files
behind an index, which a device reads where it lies (docs/bundle.md, docs/bundle.cddl). Nothing is signed here: a bundle
is as fresh as the metadata in it.
"""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.output import progress
from heirloom.device import cbor
from heirloom.server.folders import new_folder, refuse_taken
from heirloom.server.store import Store
from heirloom.signing import roles, twins
from heirloom.signing.built import check_blob
from heirloom.signing.metadata import file_name, time_text
from heirloom.signing.repository import BLOBS, METADATA, TARGETS, Release, Repository, target_file

INDEX = "index.cbor"
FORMAT = 1
MAX_INDEX_BYTES = 65536
MAX_MEMBERS = 2048
_STEPS = 4  # stepping stones that a device takes in a row


@dataclass(frozen=True)
class Wish:
    """What shall be in a bundle.

    Attributes:
        boards: Which; empty: all of the repository.
        channel: Only what this channel serves; None: what any does.
        version: Only this release; None: all that is served.
    """

    boards: Sequence[str] = ()
    channel: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Bundled:
    """A bundle that was made.

    Attributes:
        releases: Board to the versions in it, lowest first.
        files: How many there are.
        accepted_until: Until then devices take it without their owner's word.
        limited_by: The role that expires first.
    """

    bundle: Path
    product: str
    releases: dict[str, list[str]]
    files: int
    bytes: int
    accepted_until: str
    limited_by: str


def bundle(place: Path, anchor: bytes | None, out: Path, wish: Wish, now: datetime, *, single: bool) -> Bundled:
    """Write a bundle.

    Args:
        place: The repository's folder, or any whole copy of it.
        anchor: The root to trust first; the first one of the repository if None.
        out: The folder or file, which must not exist; it appears when it is complete.
        wish: What shall be in it.
        now: When it is made (UTC); stands in the index of a single file.
        single: One file instead of a folder.

    Raises:
        HeirloomError: `out` exists, no channel serves what is wished, the repository is not whole, the disk
            is full, ...
    """
    refuse_taken(out)
    # Nobody publishes meanwhile, so that all files are of one moment.
    with Store(place).publishing() if os.access(place, os.W_OK) else nullcontext():
        repository = Repository(place, anchor)
        boards = _boards(repository, wish)
        chosen = {board: _chosen(repository, board, wish) for board in boards}
        files = dict(_files(repository, chosen))
        product = repository.manifest(boards[0], chosen[boards[0]][0].version).product
        total = sum(source.stat().st_size for source in files.values())
        with progress(f"Writing {out.name}", total) as bar:
            if single:
                _write_file(out, files, {3: product, 4: boards, 5: int(now.timestamp())}, bar.advance)
            else:
                _write_folder(out, files, bar.advance)
    expires = {role: repository.trusted.role(role).signed.expires for role in _roles(boards)}
    first = min(expires, key=lambda role: expires[role])
    releases = {board: [release.version for release in found] for board, found in chosen.items()}
    size = out.stat().st_size if single else total
    return Bundled(out, product, releases, len(files), size, time_text(expires[first]), first)


def _boards(repository: Repository, wish: Wish) -> list[str]:
    known = repository.boards()
    unknown = [board for board in wish.boards if board not in known]
    if unknown:
        raise HeirloomError(f"the repository has no board {unknown[0]}", f"it has {', '.join(known) or 'none'}")
    return list(dict.fromkeys(wish.boards)) or known


def _chosen(repository: Repository, board: str, wish: Wish) -> list[Release]:
    """The releases of a board that its channels serve, as wished, and the stepping stones on the way to them."""
    served = repository.channels(board)
    if wish.channel is not None:
        served = {channel: version for channel, version in served.items() if channel == wish.channel}
    versions = {version for version in served.values() if wish.version in (None, version)}
    if not versions:
        what = f"release {wish.version}" if wish.version else f"channel {wish.channel}" if wish.channel else "a channel"
        raise HeirloomError(
            f"nothing for {board}: {what} is not there, or not served; a device takes only what its channel points to",
            "`heirloom channel show` says what is served, `heirloom channel set` changes it",
        )
    for _ in range(_STEPS):
        versions |= {via for version in versions if (via := repository.manifest(board, version).via)}
    return sorted((repository.release(board, version) for version in versions), key=lambda release: release.order)


def _roles(boards: Sequence[str]) -> list[str]:
    own = [role(board) for board in boards for role in (roles.releases_role, roles.channels_role)]
    return [*roles.TOP_LEVEL, *own]


def _files(repository: Repository, chosen: dict[str, list[Release]]) -> Iterator[tuple[str, Path]]:
    """Name and source of every file, verified; the blobs of all boards last."""
    names = [file_name(roles.ROOT, version) for version in range(1, repository.root().signed.version + 1)]
    names += ["root.json", "timestamp.json"]
    for role in _roles(list(chosen)):
        if role not in (roles.ROOT, roles.TIMESTAMP):
            names.append(file_name(role, repository.trusted.role(role).signed.version))
    for name in names:
        for file in (f"{METADATA}/{name}", f"{METADATA}/{name}{twins.SUFFIX}"):
            source = repository.path / file
            if source.is_file():
                yield file, source
            elif not file.endswith(twins.SUFFIX) and name != "1.root.json":
                raise HeirloomError(f"{file} is missing in the repository", "restore the repository from a copy")
    blobs: dict[str, Path] = {}
    for board, releases in chosen.items():
        for release in releases:
            repository.manifest_bytes(board, release.version)  # verified
            file = f"{TARGETS}/{target_file(release.path, release.sha256)}"
            yield file, repository.path / file
            blobs |= _blobs(repository, board, release)
    yield from blobs.items()


def _blobs(repository: Repository, board: str, release: Release) -> dict[str, Path]:
    """The contents of a release: its files, its firmware, and the patches that are there."""
    manifest = repository.manifest(board, release.version)
    what = f"{release.version} for {board}"
    wanted = [(length, sha256, f"{path} in {what}") for path, length, sha256 in manifest.files]
    if manifest.firmware is not None:
        wanted.append((manifest.firmware[0], manifest.firmware[1], f"the firmware of {what}"))
    for _, _, sha256, length, _ in manifest.patches:
        if (repository.path / BLOBS / sha256.hex()).is_file():
            wanted.append((length, sha256, f"a patch of {what}"))
    found = {}
    for length, sha256, name in wanted:
        file = f"{BLOBS}/{sha256.hex()}"
        check_blob(repository.path / file, length, sha256, name)
        found[file] = repository.path / file
    return found


def _write_folder(out: Path, files: dict[str, Path], advance: Callable[[int], object]) -> None:
    with new_folder(out) as folder:
        for name, source in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            advance(source.stat().st_size)


def _write_file(out: Path, files: dict[str, Path], about: dict[int, object], advance: Callable[[int], object]) -> None:
    """The index as the first member of a tar, and the files behind it.

    Offsets in the index count from the first byte behind it, so they do not depend on how long it gets.
    """
    with _new_file(out) as target, tempfile.TemporaryFile(dir=out.parent) as rest:
        members: dict[object, object] = {}
        with tarfile.open(fileobj=rest, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, source in files.items():
                info = tarfile.TarInfo(name)
                info.size = source.stat().st_size
                with source.open("rb") as stream:
                    tar.addfile(info, stream)
                padded = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                members[_key(name)] = [tar.offset - padded, info.size]
                advance(info.size)
        index = cbor.encode({1: FORMAT, 2: members, **about})
        if len(index) > MAX_INDEX_BYTES or len(members) > MAX_MEMBERS:
            raise HeirloomError(
                f"{len(members)} files are too many for one bundle file",
                "make a folder instead, or one file for each board",
            )
        header = tarfile.TarInfo(INDEX)
        header.size = len(index)
        target.write(header.tobuf(tarfile.USTAR_FORMAT))
        target.write(index + bytes(-len(index) % tarfile.BLOCKSIZE))
        rest.seek(0)
        shutil.copyfileobj(rest, target)


def _key(name: str) -> str | bytes:
    """How a member is called in the index: a blob by its hash, which is half as long."""
    return bytes.fromhex(name.removeprefix(f"{BLOBS}/")) if name.startswith(f"{BLOBS}/") else name


@contextmanager
def _new_file(out: Path) -> Iterator[io.BufferedWriter]:
    """A file that becomes `out` when all of it is written, and goes away if that fails."""
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        refuse_taken(out)
        temporary.rename(out)
        temporary = None
    except OSError as exc:
        raise os_error(exc, f"cannot write {out}") from exc
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
