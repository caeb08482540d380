"""Content-addressed files on flash: fetched, read back, named by their SHA-256, and collected when nobody names them.

A blob has its name only after what lies on flash was hashed. A download that was cut goes on where the
flash has it; whether that was right, the hash says.
"""

import binascii
import hashlib
import os

from micropython import const

from heirloom.device.errors import E_HASH, E_LENGTH, E_NETWORK, E_SPACE, UpdateError
from heirloom.device.manifest import Manifest
from heirloom.device.store import flash_error, read, remove

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable, Iterator

    from heirloom.device.places import Places
    from heirloom.device.protocols import Answer

BLOBS = "/heirloom/blobs/"
_CHUNK_BYTES = const(1024)
_FLUSH_BYTES = const(16384)  # what a power cut can cost; littlefs keeps only what was flushed
_TRIES = const(4)
_SPARE_BLOCKS = const(4)  # for folders, the state and the log


def path_of(sha256: bytes) -> str:
    """Where the blob of this hash lies."""
    return BLOBS + str(binascii.hexlify(sha256), "ascii")


def load(slot_path: str) -> Manifest:
    """The manifest of a slot. Raises UpdateError E_MANIFEST when it is missing or damaged."""
    return Manifest.decode(read(slot_path))


def contents(manifest: Manifest) -> "Iterator[tuple[str, int, bytes]]":
    """(path, length, sha256) of each blob a manifest names, firmware not counted."""
    return iter(manifest.files)


class Blobs:
    """The blobs folder, with one buffer for all its work.

    `fetched` counts blobs, `patched` those of them that a patch made, `bytes` what came for them.
    """

    def __init__(self) -> None:
        self.fetched = 0
        self.patched = 0
        self.bytes = 0
        self._chunk = bytearray(_CHUNK_BYTES)
        self._view = memoryview(self._chunk)

    def intact(self, length: int, sha256: bytes, path: str = "") -> bool:
        """Whether the blob (or the file `path`) has this length and hash, read from flash."""
        digest = hashlib.sha256()
        left = length
        try:
            with open(path or path_of(sha256), "rb") as file:
                while True:
                    count = file.readinto(self._chunk)
                    if not count:
                        break
                    left -= count
                    digest.update(self._chunk if count == _CHUNK_BYTES else self._view[:count])
        except OSError:
            return False
        return left == 0 and digest.digest() == sha256

    def damaged(self, manifest: Manifest) -> "list[tuple[int, bytes]]":
        """(length, sha256) of each blob of a release that is missing or is not what its name says."""
        return [(length, sha256) for _, length, sha256 in contents(manifest) if not self.intact(length, sha256)]

    def missing(self, manifest: Manifest) -> "list[tuple[int, bytes]]":
        """(length, sha256) of each blob that is not there under its name and length; contents are not read."""
        wanted = []
        for _, length, sha256 in contents(manifest):
            if size(path_of(sha256)) != length and (length, sha256) not in wanted:
                wanted.append((length, sha256))
        return wanted

    def check_space(self, wanted: "list[tuple[int, bytes]]") -> None:
        """Raise UpdateError E_SPACE unless all of it fits, in whole blocks."""
        block, free = os.statvfs("/")[0], free_blocks()
        needed = _SPARE_BLOCKS + len(wanted) // 8  # littlefs has a pair of blocks for about 24 names
        for length, sha256 in wanted:
            rest = length - max(0, size(partial_of(sha256)))
            needed += (rest + rest // 256 + block - 1) // block if rest > 0 else 0
        if needed > free:
            raise UpdateError(E_SPACE, f"the release needs {needed} more blocks of {block} bytes, {free} are free")

    def fetch(self, places: "Places", length: int, sha256: bytes, progress: "Callable[[int], object]") -> None:
        """Fetches one blob. Raises UpdateError; what came stays for the next try unless it was wrong."""
        self.download(places, length, sha256, progress)
        try:
            os.rename(partial_of(sha256), path_of(sha256))
        except OSError as error:
            raise flash_error(error, partial_of(sha256)) from None
        self.fetched += 1

    def download(self, places: "Places", length: int, sha256: bytes, progress: "Callable[[int], object]") -> None:
        """As fetch(), but leaves it without its name: verified, at partial_of(sha256)."""
        partial = partial_of(sha256)
        for tries in range(_TRIES, -1, -1):
            before = max(0, size(partial))
            try:
                if before < length or not length:
                    self._download(places, partial, length, sha256, progress)
                if not self.intact(length, sha256, partial):
                    remove(partial)
                    places.next()
                    raise UpdateError(E_HASH, f"blob {partial[-12:]}... differs from the hash the release names")
                return
            except UpdateError as error:
                # Another place, or the same one from where it stopped. A wrong hash may come of a wrong beginning.
                if error.code == E_LENGTH:
                    remove(partial)
                    places.next()
                if not tries or (error.code == E_NETWORK and size(partial) <= before) or error.code == E_SPACE:
                    raise
            except OSError as error:
                raise flash_error(error, partial) from None

    def _download(
        self, places: "Places", partial: str, length: int, sha256: bytes, progress: "Callable[[int], object]"
    ) -> None:
        offset = max(0, size(partial))
        response = places.open("blobs/" + path_of(sha256)[len(BLOBS) :], offset)
        if response.length is not None and response.offset + response.length != length:
            raise UpdateError(
                E_LENGTH, f"blob {partial[-12:]}... has {response.offset + response.length} bytes, {length} are signed"
            )
        with open(partial, "r+b" if response.offset else "wb") as file:
            file.seek(response.offset)
            self._pour(response, file, length - response.offset, progress)

    def _pour(self, response: "Answer", file: "object", left: int, progress: "Callable[[int], object]") -> None:
        write, flush = file.write, file.flush  # type: ignore[attr-defined]
        unflushed = 0
        try:
            while left > 0:
                count = response.readinto(self._chunk if left >= _CHUNK_BYTES else self._view[:left])
                if not count:
                    raise UpdateError(E_LENGTH, f"a blob is {left} bytes shorter than signed")
                write(self._chunk if count == _CHUNK_BYTES else self._view[:count])
                left -= count
                self.bytes += count
                unflushed += count
                if unflushed >= _FLUSH_BYTES:
                    flush()
                    unflushed = 0
                    progress(self.bytes)
        except OSError as error:
            raise flash_error(error, "a blob") from None
        if response.readinto(self._view[:1]):
            raise UpdateError(E_LENGTH, "a blob is longer than signed")
        progress(self.bytes)


def free_blocks() -> int:
    """How many blocks of flash are free. littlefs counts some twice, and below none it counts down from 2^32."""
    stat = os.statvfs("/")
    return stat[3] if stat[3] <= stat[2] else 0


def size(path: str) -> int:
    """The length of a file in bytes, -1 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def partial_of(sha256: bytes) -> str:
    """Where the blob of this hash lies while it is being fetched."""
    return BLOBS + "tmp-" + path_of(sha256)[len(BLOBS) :]


def collect(manifest_paths: "list[str]") -> None:
    """Removes every blob and partial download that none of the manifests names, patches included.

    Raises UpdateError, and removes nothing, when a manifest cannot be read.
    """
    named: "set[int]" = set()
    for path in manifest_paths:
        if size(path) >= 0:
            manifest = load(path)
            for _, _, sha256 in contents(manifest):
                named.add(_mark(path_of(sha256)[len(BLOBS) :]))
            for record in manifest.patches:
                named.add(_mark(path_of(record[2])[len(BLOBS) :]))
    for name in os.listdir(BLOBS[:-1]):
        if _mark(name[4:] if name.startswith("tmp-") else name) not in named:
            remove(BLOBS + name)


def _mark(name: str) -> int:
    """28 bits of a hash; two that agree in them only keep garbage a little longer."""
    try:
        return int(name[:7], 16)
    except ValueError:
        return -1
