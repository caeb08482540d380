"""A read-only view of the repository folder: the static files that a publisher writes and every client reads."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest
from heirloom.signing import bins, canonical, roles, verify
from heirloom.signing.metadata import EPOCH, AnyMetadata, file_name, meta_name, utc_now

METADATA = "metadata"
TARGETS = "targets"
BLOBS = "blobs"


@dataclass(frozen=True)
class Release:
    """One entry of a board's releases role.

    Attributes:
        path: The TUF target path, as in "releases/BOARD/1.0.0.cbor".
        length: Of the manifest in bytes.
        sha256: Of the manifest, hexadecimal.
    """

    board: str
    version: str
    epoch: int
    sequence: int
    path: str
    length: int
    sha256: str

    @property
    def order(self) -> tuple[int, int]:
        """What releases are ordered by: (epoch, sequence)."""
        return self.epoch, self.sequence


def release_path(board: str, version: str) -> str:
    """The target path of a manifest."""
    return f"releases/{board}/{version}.cbor"


def channel_path(board: str, channel: str) -> str:
    """The target path of a channel."""
    return f"channels/{board}/{channel}"


def target_file(path: str, sha256: str) -> str:
    """Where a target lies under targets/, with consistent snapshots: its hash before its name (TUF 3.6.3)."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha256}.{name}"


def entry(target: TargetFile) -> Release:
    """Read an entry of a releases role.

    Raises:
        HeirloomError: It lacks what an entry of a release must say.
    """
    board = target.path.split("/")[1]
    custom = target.custom if isinstance(target.custom, dict) else {}
    version, epoch, sequence = (custom.get(key) for key in ("version", "epoch", "sequence"))
    sha256 = target.hashes.get(roles.HASH)
    if not (isinstance(version, str) and isinstance(epoch, int) and isinstance(sequence, int) and sha256):
        raise HeirloomError(f"the entry {target.path} lacks version, epoch, sequence or its SHA-256")
    if target.path != release_path(board, version):
        raise HeirloomError(f"the entry {target.path} says that it is version {version!r}")
    return Release(board, version, epoch, sequence, target.path, target.length, sha256)


def releases_in(role: Metadata[Targets]) -> list[Release]:
    """The releases that a releases role lists, lowest first."""
    return sorted((entry(target) for target in role.signed.targets.values()), key=lambda release: release.order)


def channels_in(role: Metadata[Targets]) -> dict[str, str]:
    """Channel name to the target path of the release that it points to, from a channels role."""
    return {
        path.rpartition("/")[2]: str((target.custom or {}).get("release"))
        for path, target in sorted(role.signed.targets.items())
    }


def epoch_of(targets: Metadata[Targets]) -> int:
    """The epoch that the targets role states."""
    epoch = targets.signed.unrecognized_fields.get(EPOCH)
    if not isinstance(epoch, int):
        raise HeirloomError("targets states no epoch")
    return epoch


def decode_manifest(data: bytes, name: str) -> Manifest:
    """The manifest `data`; HeirloomError that calls it `name` if it is not valid."""
    try:
        return Manifest.decode(data)
    except UpdateError as exc:
        raise HeirloomError(f"{name}: {exc}") from exc


def contents(manifest: Manifest) -> list[tuple[str, int, bytes]]:
    """What a release needs under blobs/, for people, with length and SHA-256: files, firmware and patches."""
    paths = {sha256: path for path, _, sha256 in manifest.files}
    patches = [
        (f"a patch for {paths.get(new, 'the firmware')}", length, sha256)
        for _, new, sha256, length, _ in manifest.patches
    ]
    firmware = [("the firmware", *manifest.firmware[:2])] if manifest.firmware else []
    return [*manifest.files, *firmware, *patches]


class Repository:
    """The repository in a folder, verified as a client would when first asked for anything.

    What has expired is shown all the same: who maintains a repository must be able to look at it.

    Args:
        path: The folder with metadata/, targets/ and blobs/.
        anchor: The root to trust first; the repository's own 1.root.json if None.
    """

    def __init__(self, path: Path, anchor: bytes | None = None) -> None:
        self.path = path
        self.anchor = anchor
        self._bins: dict[str, Metadata[Targets]] = {}
        self._bin_files: dict[str, bytes] = {}

    @property
    def exists(self) -> bool:
        """A timestamp has been published here."""
        return (self.path / METADATA / "timestamp.json").is_file()

    def read(self, name: str) -> bytes | None:
        """The file `name` under metadata/, or None if there is none."""
        return self._read(f"{METADATA}/{name}")

    def _read(self, relative: str) -> bytes | None:
        try:
            return (self.path / relative).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise os_error(exc, f"cannot read {self.path / relative}") from exc

    @cached_property
    def trusted(self) -> verify.Trusted:
        """All current metadata. Signatures, versions and hashes are verified, expiry is not.

        Raises:
            HeirloomError: There is no repository, or something in it does not verify.
        """
        if not self.exists:
            raise HeirloomError(f"there is no repository in {self.path}", "`heirloom init` makes one")
        return verify.as_client(self.read, utc_now(), anchor=self.anchor, unexpired=frozenset())

    def check(self, now: datetime) -> verify.Trusted:
        """All current metadata, verified as a client would, expiry included."""
        return verify.as_client(self.read, now, anchor=self.anchor)

    def root(self) -> Metadata[Root]:
        """The current root."""
        return self.trusted.root

    def timestamp(self) -> Metadata[Timestamp]:
        """The current timestamp."""
        return self.trusted.timestamp

    def snapshot(self) -> Metadata[Snapshot]:
        """The current snapshot."""
        return self.trusted.snapshot

    def targets(self) -> Metadata[Targets]:
        """The current targets."""
        return self.trusted.targets

    def role(self, name: str) -> Metadata[Targets]:
        """The current metadata of targets or a board's role."""
        return self.trusted.targets_role(name)

    def current(self, name: str) -> AnyMetadata:
        """The current metadata of any role, a bin of an archive included; HeirloomError if there is no such role."""
        found = self.bin(roles.board_of(name), name) if roles.archived_below(name) else self.trusted.role(name)
        if found is None:
            raise HeirloomError(f"the repository has no {name}", "`heirloom release list` shows what is archived")
        return found

    def archive(self, board: str) -> dict[str, Metadata[Targets]]:
        """The bins of `board`'s archive by name; empty before the first archiving."""
        found = {name: self.bin(board, name) for name in bins.names(self.role(roles.releases_role(board)))}
        return {name: content for name, content in found.items() if content is not None}

    def epoch(self) -> int:
        """The epoch that the targets role states."""
        return epoch_of(self.targets())

    def boards(self) -> list[str]:
        """The boards that targets delegates to."""
        prefix = roles.RELEASES_PREFIX
        return [name.removeprefix(prefix) for name in verify.delegated_roles(self.targets()) if name.startswith(prefix)]

    def releases(self, board: str) -> list[Release]:
        """The releases that `board`'s devices see, lowest first; the highest of all is among them."""
        return releases_in(self.role(roles.releases_role(board)))

    def history(self, board: str) -> list[Release]:
        """All published releases, those in the archive included, lowest first."""
        found = {release.path: release for release in self.releases(board)}
        for content in self.archive(board).values():
            for release in releases_in(content):
                found.setdefault(release.path, release)
        return sorted(found.values(), key=lambda release: release.order)

    def find(self, board: str, version: str) -> Release | None:
        """One published release, archived or not; None if there is none of that version."""
        target = self._target(board, release_path(board, version))
        return entry(target) if target else None

    def release(self, board: str, version: str) -> Release:
        """One published release; HeirloomError if there is none."""
        found = self.find(board, version)
        if found is not None:
            return found
        known = ", ".join(release.version for release in self.releases(board)) or "none"
        raise HeirloomError(f"no release {version} of {board} is published", f"published releases: {known}")

    def is_archived(self, board: str, version: str) -> bool:
        """Whether the release is published, but no longer where devices look."""
        path = release_path(board, version)
        return (
            path not in self.role(roles.releases_role(board)).signed.targets and self.find(board, version) is not None
        )

    def entry(self, board: str, path: str) -> TargetFile:
        """The signed entry of a published release; HeirloomError if there is none."""
        target = self._target(board, path)
        if target is None:
            raise HeirloomError(f"{path} is not published")
        return target

    def _target(self, board: str, path: str) -> TargetFile | None:
        releases = self.role(roles.releases_role(board))
        target = releases.signed.targets.get(path)
        name = bins.bin_of(releases, path)
        if target is not None or name is None or not bins.holds(self.bin_bytes(board, name) or b"", path):
            return target
        content = self.bin(board, name)
        return content.signed.targets.get(path) if content else None

    def bin(self, board: str, name: str) -> Metadata[Targets] | None:
        """A bin of `board`'s archive, verified as a client would; None before it was published."""
        if name not in self._bins:
            data = self.bin_bytes(board, name)
            if data is None:
                return None
            content, releases = bins.parsed(name, data), self.role(roles.releases_role(board))
            verify.signed_by(content, name, releases, name, canonical.cut(data))
            self._bins[name] = content
        return self._bins[name]

    def bin_bytes(self, board: str, name: str) -> bytes | None:
        """The file of a bin, which says what its releases role says; None before there is an archive."""
        meta = self.snapshot().signed.meta.get(meta_name(name))
        if meta is None or name not in bins.names(self.role(roles.releases_role(board))):
            return None
        if name not in self._bin_files:
            file = file_name(name, meta.version)
            data = self.read(file)
            if data is None:
                raise HeirloomError(f"{file} is missing in the repository", "restore the repository from a copy")
            bins.check_file(name, data, self.role(roles.releases_role(board)))
            self._bin_files[name] = data
        return self._bin_files[name]

    def bin_head(self, name: str) -> bytes:
        """How the file of a bin begins, unverified; empty if there is none."""
        meta = self.snapshot().signed.meta.get(meta_name(name))
        try:
            with (self.path / METADATA / file_name(name, meta.version if meta else 1)).open("rb") as stream:
                return stream.read(bins.HEAD_BYTES)
        except OSError:
            return b""

    def channels(self, board: str) -> dict[str, str]:
        """Channel name to the version that it points to."""
        pointers = channels_in(self.role(roles.channels_role(board)))
        versions = {release.path: release.version for release in self.releases(board)}
        return {channel: versions.get(path, path) for channel, path in pointers.items()}

    def manifest_bytes(self, board: str, version: str) -> bytes:
        """The manifest of a listed release, its hash verified."""
        release = self.release(board, version)
        name = f"{TARGETS}/{target_file(release.path, release.sha256)}"
        data = self._read(name)
        if data is None:
            raise HeirloomError(f"{name} is missing in the repository", "restore the repository from a copy")
        verify.check_content(self.entry(board, release.path), data, name)
        return data

    def manifest(self, board: str, version: str) -> Manifest:
        """The manifest of a listed release."""
        return decode_manifest(self.manifest_bytes(board, version), f"manifest of {version} for {board}")
