"""Is a repository whole: does every release of its history have its manifest and contents, with the right hashes?"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.signing.built import check_blob
from heirloom.signing.repository import BLOBS, Repository, contents


@dataclass(frozen=True)
class Contents:
    """What a repository holds: manifests by (board, version) as they were signed, and the names of all blobs."""

    manifests: dict[tuple[str, str], bytes]
    blobs: set[str]


def check_contents(repository: Repository, advance: Callable[[], None] = lambda: None) -> Contents:
    """Verify everything below the metadata, whose signatures the repository itself verifies.

    Args:
        repository: Any folder with a repository.
        advance: Called after each release.

    Raises:
        HeirloomError: Something is missing or damaged; names it.
    """
    manifests: dict[tuple[str, str], bytes] = {}
    blobs: dict[str, Path] = {}
    for board in repository.boards():
        for release in repository.history(board):
            manifests[board, release.version] = repository.manifest_bytes(board, release.version)
            for path, length, sha256 in contents(repository.manifest(board, release.version)):
                blob = repository.path / BLOBS / sha256.hex()
                if blob.name not in blobs:
                    _check_blob(blob, length, sha256, f"{path} in {release.version} for {board}")
                    blobs[blob.name] = blob
            advance()
    return Contents(manifests, set(blobs))


def _check_blob(blob: Path, length: int, sha256: bytes, what: str) -> None:
    try:
        check_blob(blob, length, sha256, what)
    except HeirloomError as exc:
        raise HeirloomError(exc.message, "restore the repository from a copy") from exc


def fingerprint(root: bytes) -> str:
    """SHA-256 of a root file in groups of four, for people who compare it by telephone."""
    digest = hashlib.sha256(root).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))
