"""The verification core under CPython, for tests that need thousands of runs: a store in memory, fast signatures."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heirloom.device import keys
from heirloom.device.errors import E_NOT_FOUND, UpdateError


class MemoryStore:
    """See protocols.Store."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.files: dict[str, bytes] = {}
        self.notes = b""
        self.highest = 0

    def open(self, name: str) -> io.BytesIO | None:
        return io.BytesIO(self.files[name]) if name in self.files else None

    def provisioned_root(self) -> io.BytesIO | None:
        return io.BytesIO(self.root)

    def temporary(self) -> io.BytesIO:
        return io.BytesIO()

    def commit(self, name: str, temporary: io.BytesIO) -> None:
        self.files[name] = temporary.getvalue()

    def discard(self, temporary: io.BytesIO) -> None:
        temporary.close()

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def load_notes(self) -> bytes:
        return self.notes

    def save_notes(self, data: bytes) -> None:
        self.notes = data

    def highest_root(self) -> int:
        return self.highest

    def remember_root(self, version: int) -> None:
        self.highest = max(self.highest, version)


class FolderFetcher:
    """See protocols.Fetcher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, name: str, limit: int, sink: Any, etag: str | None = None) -> str | None:
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise UpdateError(E_NOT_FOUND, f"{name} is not there") from None
        for start in range(0, len(data), 1000):
            sink.write(data[start : start + 1000])
        return ""


class FastEd25519:
    """Stands in for heirloom.device.ed25519, which has tests of its own and is slow under CPython."""

    known: ClassVar[dict[tuple[bytes, bytes, bytes], bool]] = {}

    @staticmethod
    def make_table(public: bytes, write: Any) -> None:
        write(b"")

    @classmethod
    def verify(cls, public: bytes, signature: bytes, feed: Any, table: object = None) -> bool:
        message = bytearray()
        feed(message.extend)
        case = (public, signature, bytes(message))
        if case not in cls.known:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, bytes(message))
                cls.known[case] = True
            except (InvalidSignature, ValueError):
                cls.known[case] = False
        return cls.known[case]


@contextmanager
def fast_signatures() -> Iterator[None]:
    """Ed25519 by OpenSSL."""
    with patch.object(keys, "_scheme", lambda _: FastEd25519):
        yield
