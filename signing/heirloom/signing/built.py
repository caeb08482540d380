"""A release as it was built: `.heirloom/releases/BOARD/VERSION` with `manifest.cbor` and `blobs/SHA256`."""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tuf.api.metadata import TargetFile

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.project import Project
from heirloom.device.manifest import Manifest
from heirloom.signing import roles
from heirloom.signing.repository import contents, decode_manifest, release_path

MANIFEST = "manifest.cbor"
BLOBS = "blobs"

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class BuiltRelease:
    """A built release.

    Attributes:
        directory: With the manifest and the blobs.
        manifest_bytes: The manifest exactly as it will be published.
    """

    board: str
    version: str
    directory: Path
    manifest_bytes: bytes = field(repr=False)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, decoded."""
        return decode_manifest(self.manifest_bytes, str(self.directory / MANIFEST))

    @property
    def sha256(self) -> str:
        """Of the manifest, hexadecimal."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def path(self) -> str:
        """The TUF target path of the manifest."""
        return release_path(self.board, self.version)

    @property
    def blobs(self) -> list[Path]:
        """The files with the contents and patches, each named by its SHA-256; every content once."""
        names = {sha256.hex() for _, _, sha256 in contents(self.manifest)}
        return [self.directory / BLOBS / name for name in sorted(names)]

    @property
    def size(self) -> int:
        """Bytes of all contents and of the firmware, each counted once; patches are not part of them."""
        files = {sha256: length for _, length, sha256 in self.manifest.files}
        return sum(files.values()) + (self.manifest.firmware[0] if self.manifest.firmware else 0)

    def target(self) -> TargetFile:
        """The entry of the manifest in the releases role."""
        manifest = self.manifest
        custom = {"version": self.version, "epoch": manifest.epoch, "sequence": manifest.sequence}
        target = TargetFile.from_data(self.path, self.manifest_bytes, [roles.HASH])
        target.unrecognized_fields["custom"] = custom
        return target

    def check(self) -> None:
        """Raise HeirloomError unless the manifest is that of this release and every blob has its hash."""
        if (self.manifest.board, self.manifest.version) != (self.board, self.version):
            raise HeirloomError(
                f"{self.directory} holds {self.manifest.version} for {self.manifest.board}", "build the release again"
            )
        for path, length, sha256 in contents(self.manifest):
            check_blob(self.directory / BLOBS / sha256.hex(), length, sha256, path)


def check_blob(blob: Path, length: int, sha256: bytes, path: str) -> None:
    """Raise HeirloomError unless the file `blob` is the content that a manifest lists under `path`."""
    if not blob.is_file():
        raise HeirloomError(f"the content of {path} is missing: {blob}", "build the release again")
    data = _read(blob)
    if len(data) != length or hashlib.sha256(data).digest() != sha256:
        raise HeirloomError(
            f"the content of {path} is damaged: {blob} does not have its SHA-256", "build the release again"
        )


def check_version(version: str) -> None:
    """Raise UsageError unless `version` can name a release."""
    if not _VERSION.fullmatch(version):
        raise UsageError(f"{version!r} is no version", "letters, digits and . _ + - (at most 64), as in 1.0.0")


def folder(project: Project, board: str) -> Path:
    """Where the built releases of a board lie."""
    return project.state_dir / "releases" / board


def load(project: Project, board: str, version: str) -> BuiltRelease:
    """A built release, as it lies there; see `BuiltRelease.check`.

    Raises:
        HeirloomError: It was not built.
    """
    check_version(version)
    directory = folder(project, board) / version
    if not (directory / MANIFEST).is_file():
        known = ", ".join(release.version for release in built_releases(project, board)) or "none"
        raise HeirloomError(
            f"release {version} for {board} was not built",
            f"run `heirloom release build --version {version}` (built: {known})",
        )
    return _load(board, directory)


def built_releases(project: Project, board: str) -> list[BuiltRelease]:
    """The built releases of a board, by name."""
    directories = sorted(path.parent for path in folder(project, board).glob(f"[!.]*/{MANIFEST}"))
    return [_load(board, directory) for directory in directories]


def boards_with(project: Project, version: str) -> list[str]:
    """The boards for which that version was built."""
    return [board for board in project.boards if (folder(project, board) / version / MANIFEST).is_file()]


def _load(board: str, directory: Path) -> BuiltRelease:
    return BuiltRelease(board, directory.name, directory, _read(directory / MANIFEST))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
