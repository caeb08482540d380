"""Publishing into a folder that others read: a reader sees the old repository or the new one, whole.

What is immutable (versioned metadata, targets, blobs) is put in place first, the timestamp, which makes it count, last.
A publisher killed on the way leaves files that nothing refers to; the next one overwrites or sweeps them.
"""

import fcntl
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.server import durable, references
from heirloom.server.references import NOTHING, TIMESTAMP, References, role_of, split_version
from heirloom.signing import roles, twins, verify
from heirloom.signing.attestation import ATTESTATIONS
from heirloom.signing.metadata import file_name, utc_now
from heirloom.signing.repository import BLOBS, METADATA, TARGETS, target_file

FOLDERS = (METADATA, TARGETS, BLOBS, ATTESTATIONS)
NO_FILES: Mapping[str, bytes] = MappingProxyType({})
LOCK = ".lock"
_ROOT = "root.json"


class Store:
    """The repository's folder, for writing.

    One object belongs to one thread. `publishing()` may be nested.

    Args:
        path: The folder; made at the first commit.
        lock_timeout_s: How long to wait for another publisher.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 10.0) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s
        self._depth = 0
        self._mark = -1  # the lock file while it is held; not empty while a commit is under way

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        """Keep other publishers out, from reading the versions that stand to committing the next ones.

        Completes or sweeps what a killed publisher left. Yields whether something had to be completed.

        Raises:
            HeirloomError: Somebody else is publishing, or the folder cannot be written.
        """
        if self._depth:
            yield False
            return
        descriptor = self._lock()
        self._depth += 1
        self._mark = descriptor
        try:
            with self._translated("cannot publish"):
                completed = self._recover(sweep=os.fstat(descriptor).st_size > 0)
            yield completed
        finally:
            self._depth -= 1
            os.close(descriptor)

    def recover(self) -> bool:
        """Complete or sweep what a killed publisher left; was there something to complete?"""
        if not (self.path / METADATA).is_dir():
            return False
        with self.publishing() as completed:
            return completed

    def commit(
        self,
        metadata: Mapping[str, bytes],
        targets: Mapping[str, bytes],
        blobs: Iterable[Path],
        attestations: Mapping[str, bytes] = NO_FILES,
    ) -> None:
        """Publish.

        Args:
            metadata: New files, by name under metadata/: "N.ROLE.json", and "timestamp.json" (required).
            targets: Content by TUF target path ("releases/BOARD/1.0.0.cbor"); stored with its hash before the name.
            blobs: Files named by the SHA-256 of their content.
            attestations: What rigs say of releases, by file name; clients do not ask for it.

        Raises:
            HeirloomError: Another publisher is at work or was faster, something is missing or is not what its name
                says, the disk is full, ... Clients see the old repository then.
        """
        with self.publishing():
            self._check_names(metadata, targets)
            self._check_versions(metadata)
            self._check_as_client(metadata)
            contents = {source.name: _checked_blob(source) for source in blobs}
            with self._translated("cannot publish"):
                os.pwrite(self._mark, b"publishing\n", 0)
                os.fsync(self._mark)
                self._place_contents(targets, contents)
                self._place_attestations(attestations)
                self._check_targets(metadata)
                self._place_metadata(metadata)
                self._place_last({name: metadata[name] for name in metadata if _is_last(name)})
                os.ftruncate(self._mark, 0)

    # -- one publisher at a time

    def _lock(self) -> int:
        with self._translated("cannot publish"):
            durable.make_folder(self.path)
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait_for_lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise HeirloomError(
                        f"another program is publishing to {self.path}", "wait until it has finished, then try again"
                    ) from None
            time.sleep(0.05)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            with suppress(OSError):
                self._go_forward()
            self._drop_temporaries()
            raise os_error(exc, f"{what} to {self.path}") from exc

    # -- what a killed publisher left

    def _recover(self, *, sweep: bool) -> bool:
        # Looking through all files takes time that grows with the history, so only where a publisher was cut short.
        completed = sweep and self._go_forward()
        if sweep:
            self._drop_temporaries()
        completed = self._finish_timestamp() or completed
        timestamp = self._read(TIMESTAMP)
        if sweep and timestamp is not None:
            self._sweep_metadata(references.of(timestamp, self._read))
        return completed

    def _drop_temporaries(self) -> None:
        for path in durable.temporaries(self.path / folder for folder in FOLDERS):
            with suppress(OSError):
                path.unlink()

    def _go_forward(self) -> bool:
        """Complete a commit that was cut short between its root and its timestamp; was there one?

        With a new root whose timestamp key is another one, clients refuse the timestamp that stands. What was about to
        follow lies there, written out; there is no way back, for some clients have taken the root.
        """
        prepared = {
            path.name.removeprefix(durable.TEMPORARY): durable.read(path) or b""
            for path in (self.path / METADATA).glob(f"{durable.TEMPORARY}*.json")
        }
        rest = {name: data for name, data in prepared.items() if _is_last(name) or name == _ROOT}
        if TIMESTAMP not in rest or self._accepted({}) or not self._accepted(rest):
            return False
        self._place_last(rest)
        return True

    def _accepted(self, laid_over: Mapping[str, bytes]) -> bool:
        try:
            self._check_as_client(laid_over)
        except HeirloomError:
            return False
        return True

    def _finish_timestamp(self) -> bool:
        """Bring timestamp.json and its twin together if a publisher was killed between the two; was it so?

        The newer one counts: everything it refers to was in place before, and some clients have seen it.
        """
        path = self.path / METADATA / TIMESTAMP
        plain, packed = durable.read(path), durable.read(durable.twin(path))
        unpacked = _inflate(packed) if packed is not None else None
        if plain == unpacked:
            return False
        candidates = {references.version_of(data): data for data in (unpacked, plain) if data is not None}
        newest = max(candidates, default=0)
        if newest:
            self._place_last({TIMESTAMP: candidates[newest]})
        return newest > 0

    def _sweep_metadata(self, live: References) -> None:
        """Remove versions above the live ones: nothing refers to them, and the next publisher gives them other content.

        Roots stay: clients look for the next root by its name.
        """
        for path in sorted((self.path / METADATA).iterdir()):
            name = path.name.removesuffix(twins.SUFFIX)
            if split_version(name) is not None and not live.is_live(name):
                path.unlink()

    # -- refusals before anything is written

    def _check_names(self, metadata: Mapping[str, bytes], targets: Mapping[str, bytes]) -> None:
        if TIMESTAMP not in metadata:
            raise HeirloomError("cannot publish without a new timestamp: it is what makes the rest count")
        for name in metadata:
            if name != TIMESTAMP and split_version(name) is None:
                raise HeirloomError(f"{name} is not the name of a metadata file")
        for target in targets:
            parts = PurePosixPath(target).parts
            if not parts or "/".join(parts) != target or any(part.startswith(".") for part in parts):
                raise HeirloomError(f"{target} is not a target path")

    def _check_versions(self, metadata: Mapping[str, bytes]) -> None:
        live = self._live()
        version = references.timestamp_version(metadata[TIMESTAMP])
        if version <= live.timestamp and metadata[TIMESTAMP] != self._read(TIMESTAMP):
            raise HeirloomError(
                f"timestamp {version} is not newer than the published one, which is version {live.timestamp}",
                "somebody else published meanwhile: run the command again",
            )
        for name, data in metadata.items():
            published = self._read(name) if live.is_live(name) else None
            if published not in (None, data):
                raise HeirloomError(
                    f"metadata/{name} is already published with other content",
                    "published metadata never changes: sign a higher version",
                )

    def _live(self) -> References:
        timestamp = self._read(TIMESTAMP)
        return NOTHING if timestamp is None else references.of(timestamp, self._read)

    def _check_as_client(self, metadata: Mapping[str, bytes]) -> None:
        """Nothing goes out that a client would refuse. Expired metadata may: renewing the rest must stay possible."""

        def read(name: str) -> bytes | None:
            return metadata.get(name) or self._read(name)

        verify.as_client(read, utc_now(), unexpired=frozenset())

    def _check_targets(self, metadata: Mapping[str, bytes]) -> None:
        for name, data in metadata.items():
            role = role_of(name)
            # What a bin of an archive lists was checked when it was released, and a long history takes long to look at.
            if role in (roles.ROOT, roles.SNAPSHOT, roles.TIMESTAMP) or roles.archived_below(role):
                continue
            for file in references.target_files(data, name):
                if not (self.path / TARGETS / file).is_file():
                    raise HeirloomError(f"{name} lists targets/{file}, which is missing")

    # -- writing

    def _place_contents(self, targets: Mapping[str, bytes], blobs: Mapping[str, bytes]) -> None:
        for target, data in targets.items():
            self._place_named(self.path / TARGETS / target_file(target, sha256(data).hexdigest()), data)
        for name, data in blobs.items():
            packed = twins.twin(data)
            self._place_named(self.path / BLOBS / name, data, packed if len(packed) < len(data) else None)
        self._sync(TARGETS, BLOBS, *(f"{TARGETS}/{PurePosixPath(target).parent}" for target in targets))

    def _place_attestations(self, attestations: Mapping[str, bytes]) -> None:
        for name, data in attestations.items():
            self._place_named(self.path / ATTESTATIONS / name, data)
        self._sync(ATTESTATIONS)

    def _place_named(self, path: Path, data: bytes, packed: bytes | None = None) -> None:
        """Put a file in place whose name says its content; one that is there and whole stays untouched.

        The twin comes first: where the file is, its twin is.
        """
        if durable.read(path) == data:
            return
        durable.make_folder(path.parent)
        if packed is not None:
            durable.place(durable.twin(path), packed)
        durable.place(path, data)

    def _place_metadata(self, metadata: Mapping[str, bytes]) -> None:
        for name, data in metadata.items():
            if not _is_last(name):
                self._place_named(self.path / METADATA / name, data, twins.twin(data))
        self._sync(METADATA)

    def _place_last(self, metadata: Mapping[str, bytes]) -> None:
        """Roots, then the timestamp: clients take a root as soon as it is there, and expect the timestamp to follow.

        All are written out before the first counts, so that a full disk changes nothing and the next publisher can
        complete what was cut short.
        """
        folder = self.path / METADATA
        durable.make_folder(folder)
        found = {name: data for name, data in _with_unversioned_root(metadata) if self._read(name) != data}
        timestamp = metadata[TIMESTAMP]
        before = [(name, data) for name, data in found.items() if name != TIMESTAMP]
        order = [file for name, data in (*before, (TIMESTAMP, timestamp)) for file in _twin_first(folder / name, data)]
        prepared = [(durable.prepare(path, data), path) for path, data in order]
        for temporary, path in prepared[:-2]:
            temporary.replace(path)
        if before:
            durable.sync_folder(folder)
        for temporary, path in prepared[-2:]:
            temporary.replace(path)
        durable.sync_folder(folder)

    def _sync(self, *folders: str) -> None:
        for folder in sorted({self.path / name for name in folders}):
            if folder.is_dir():
                durable.sync_folder(folder)

    def _read(self, name: str) -> bytes | None:
        return durable.read(self.path / METADATA / name)


def _is_last(name: str) -> bool:
    """Whether clients take the file as soon as it is there."""
    return name == TIMESTAMP or (role_of(name) == roles.ROOT and split_version(name) is not None)


def _with_unversioned_root(metadata: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The roots in order, and root.json, for people and for tools that ask for it; clients go by the other names."""
    versions = sorted(found[0] for name in metadata if (found := split_version(name)) and found[1] == roles.ROOT)
    for version in versions:
        yield file_name(roles.ROOT, version), metadata[file_name(roles.ROOT, version)]
    newest = metadata[file_name(roles.ROOT, versions[-1])] if versions else metadata.get(_ROOT)
    if newest is not None:
        yield _ROOT, newest


def _twin_first(path: Path, data: bytes) -> list[tuple[Path, bytes]]:
    """A file and its compressed twin: where the file is, its twin is."""
    return [(durable.twin(path), twins.twin(data)), (path, data)]


def _inflate(packed: bytes) -> bytes | None:
    try:
        return zlib.decompress(packed, twins.WINDOW_BITS)
    except zlib.error:
        return None


def _checked_blob(source: Path) -> bytes:
    try:
        data = source.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read the blob {source}") from exc
    if sha256(data).hexdigest() != source.name:
        raise HeirloomError(f"the blob {source} does not hash to its name", "build the release again")
    return data
