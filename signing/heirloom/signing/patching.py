"""Patches of a release: made when it is built, for devices that have one of the releases that are still served.

A patch is what detools writes as *sequential* with compression *none*, in raw deflate with a window of 1 KiB, which a
small device inflates and applies in 6 KiB of memory (docs/patches.md). It is a blob as any other, and the manifest says
which content it makes of which. The same contents and tools give the same patches.
"""

import hashlib
import io
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import progress, warn
from heirloom.device import cbor
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import MAX_LENGTH, Manifest
from heirloom.device.patching import ALGORITHM, WINDOW_BITS, Patcher
from heirloom.signing.repository import BLOBS, Repository

# Beside the releases that channels point to, so many of the newest are bases; others fetch in full.
NEWEST = 3
# Each patch takes 125 bytes of the manifest, which every device downloads and holds in memory while it installs.
ROOM_BYTES = 4096
_FIRMWARE = ""  # stands for the firmware where files have their path


@dataclass(frozen=True)
class Base:
    """A release that devices may have.

    Attributes:
        contents: Path to SHA-256 of its files; the firmware is under "".
        read: Gives a content by its SHA-256; None if it is not here.
    """

    version: str
    contents: Mapping[str, bytes]
    read: Callable[[bytes], bytes | None]


@dataclass(frozen=True)
class Patch:
    """One patch, and the content that it saves: SHA-256 of old and new file, the patch itself."""

    old: bytes
    new: bytes
    body: bytes
    new_length: int

    @property
    def sha256(self) -> bytes:
        """Of the patch."""
        return hashlib.sha256(self.body).digest()

    @property
    def record(self) -> tuple[bytes, bytes, bytes, int, str]:
        """Its entry in the manifest."""
        return self.old, self.new, self.sha256, len(self.body), ALGORITHM

    @property
    def cost(self) -> int:
        """Bytes that a device downloads for it, its entry in the manifest included."""
        return len(self.body) + len(cbor.encode(list(self.record)))

    @property
    def saved(self) -> int:
        """Bytes that a device saves which has the old file; below zero when the patch is useless."""
        return self.new_length - self.cost


def create(old: bytes, new: bytes) -> bytes | None:
    """The patch that makes `new` of `old`, tried with what devices have; None when they would not take it.

    Raises:
        HeirloomError: detools is missing.
    """
    try:
        import detools
    except ImportError as exc:
        raise HeirloomError("detools is not installed", "pip install detools, or say --no-patches") from exc
    plain = io.BytesIO()
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), plain, compression="none", use_mmap=False)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -WINDOW_BITS, 9)
    body = deflate.compress(plain.getvalue()) + deflate.flush()
    try:
        return body if apply(body, old, len(new)) == new else None
    except UpdateError:
        return None


def apply(body: bytes, old: bytes, length: int) -> bytes:
    """What a device makes of `old` with a patch.

    Raises:
        UpdateError: The patch is damaged, or does not make so many bytes.
    """
    sink = io.BytesIO()
    Patcher(_Inflated(body), io.BytesIO(old), sink).run(length)
    return sink.getvalue()


class _Inflated:
    """As MicroPython's DeflateIO: no more is inflated than is asked for."""

    def __init__(self, body: bytes) -> None:
        self._inflate = zlib.decompressobj(-WINDOW_BITS)
        self._rest = body

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fills the buffer; fewer bytes only at the end."""
        try:
            data = self._inflate.decompress(self._rest, len(buffer))
        except zlib.error as exc:
            raise ValueError(str(exc)) from exc
        self._rest = self._inflate.unconsumed_tail
        buffer[: len(data)] = data
        return len(data)


def bases(repository: Repository, board: str, named: Sequence[str] | None = None) -> list[Base]:
    """The releases that devices of a board may have: those that the channels point to, and the newest that are listed.

    Args:
        repository: Where they are published.
        board: The board.
        named: Take these versions instead; none if empty.

    Raises:
        HeirloomError: A named version is not published, or a manifest is missing or damaged.
    """
    listed = [release.version for release in repository.releases(board)]
    served = set(repository.channels(board).values())
    wanted = named if named is not None else [version for version in listed if version in {*served, *listed[-NEWEST:]}]
    return [_base(repository, board, version) for version in dict.fromkeys(wanted)]


def _base(repository: Repository, board: str, version: str) -> Base:
    manifest = repository.manifest(board, version)

    return Base(version, _contents(manifest), lambda sha256: _blob(repository, sha256))


def _blob(repository: Repository, sha256: bytes) -> bytes | None:
    try:
        data = (repository.path / BLOBS / sha256.hex()).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).digest() == sha256 else None


def _contents(manifest: Manifest) -> dict[str, bytes]:
    contents = {path: sha256 for path, _, sha256 in manifest.files}
    return contents | ({_FIRMWARE: manifest.firmware[1]} if manifest.firmware else {})


def check(manifest: Manifest, repository: Repository) -> None:
    """Raise HeirloomError unless each patch of a published release makes what it should of what is still here."""
    lengths = {sha256: length for _, length, sha256 in manifest.files}
    if manifest.firmware:
        lengths[manifest.firmware[1]] = manifest.firmware[0]
    for old, new, patch, _, algorithm in manifest.patches:
        before, body = (_blob(repository, sha256) for sha256 in (old, patch))
        if algorithm != ALGORITHM or before is None or body is None:
            continue  # an old release need not be there any more
        try:
            made = apply(body, before, lengths.get(new, -1))
        except UpdateError as exc:
            raise HeirloomError(f"the patch {patch.hex()[:16]}... of {manifest.version} is no good: {exc}") from exc
        if hashlib.sha256(made).digest() != new:
            raise HeirloomError(
                f"the patch {patch.hex()[:16]}... of {manifest.version} makes something else than it says",
                "devices notice, and fetch in full: publish a new release, built with another detools",
            )


def add(manifest: Manifest, length: int, blobs: Mapping[bytes, bytes], known: Iterable[Base]) -> dict[bytes, bytes]:
    """Make the patches of a release and name them in its manifest: the most useful, as many as it has room for.

    Args:
        manifest: Of the release, complete but for its patches.
        length: Of the manifest as it is, encoded.
        blobs: Its contents by SHA-256.
        known: What devices may have.

    Returns:
        The patches by their SHA-256.

    Raises:
        HeirloomError: detools is missing.
    """
    pairs = _pairs(_contents(manifest), known)
    with progress("Making patches", len(pairs)) as bar:
        made = []
        for (old, new), read in pairs.items():
            before = read(old)
            if before is None:
                warn(f"the repository lacks the content {old.hex()[:16]}..., so there will be no patch for it")
            elif new in blobs and (body := create(before, blobs[new])) is not None:
                made.append(Patch(old, new, body, len(blobs[new])))
            bar.advance()
    # 8 bytes: the key and the head of the list.
    chosen = _choose(made, min(ROOM_BYTES, MAX_LENGTH - length - 8))
    manifest.patches = sorted(patch.record for patch in chosen)
    return {patch.sha256: patch.body for patch in chosen}


def _pairs(
    contents: Mapping[str, bytes], known: Iterable[Base]
) -> dict[tuple[bytes, bytes], Callable[[bytes], bytes | None]]:
    """What of the release could be made of what: the file of the same path in an earlier release."""
    pairs: dict[tuple[bytes, bytes], Callable[[bytes], bytes | None]] = {}
    for base in known:
        there = set(base.contents.values())
        for path, new in contents.items():
            old = base.contents.get(path)
            if old is not None and new not in there:
                pairs.setdefault((old, new), base.read)
    return pairs


def _choose(made: Collection[Patch], room: int) -> list[Patch]:
    """The most useful patches whose entries fit into so many bytes."""
    chosen = []
    for patch in sorted(made, key=lambda one: (-one.saved, one.record)):
        size = len(cbor.encode(list(patch.record)))
        if patch.saved > 0 and size <= room:
            chosen.append(patch)
            room -= size
    return chosen
