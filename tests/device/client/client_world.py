"""A whole product for one board on a server of the test's own: what the client needs from check to install.

Made with python-tuf, as Heirloom publishes: root and targets 2 of 3, releases-B 1, channels-B 1, TUF's metadata with
compressed twins, manifests, blobs. Its time is tuf_repository.NOW; nothing here looks at a clock.
"""

import hashlib
import sys
from datetime import datetime, timedelta
from pathlib import Path

from client_server import Answer, Server, packed

from heirloom.device.manifest import Manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

from tuf_repository import NOW, Repository

PRODUCT, BOARD = "weather", "B"
APP = {"main.py": b"print('alive')\n" * 20, "lib/sensor.py": b"# a sensor\n" * 200, "data.bin": bytes(range(256)) * 24}


def signed_at(repository: Repository, when: datetime) -> None:
    """Writes the signing time into every role, as the tools do when they sign."""
    for md in repository.md.values():
        md.signed.unrecognized_fields["x-heirloom-signed-at"] = f"{when:%Y-%m-%dT%H:%M:%SZ}"


class Product:
    """A repository with releases; `answer` serves it over HTTP, with the date `date` when there is one."""

    server: Server

    def __init__(self, folder: Path, *, roots: int = 1, urls: tuple[str, ...] = ()) -> None:
        self.repository = Repository(folder)
        self.files: dict[str, bytes] = {}
        self.date: datetime | None = None
        self.repository.root.unrecognized_fields["x-heirloom-urls"] = list(urls)
        signed_at(self.repository, NOW)
        self.repository.delegate(f"releases-{BOARD}", [f"releases/{BOARD}/*"])
        self.repository.delegate(f"channels-{BOARD}", [f"channels/{BOARD}/*"])
        self.repository.rotate_root("root", "targets", add=3, threshold=2)
        self.provisioned = self.newest_root()
        for _ in range(roots - 1):
            self.repository.rotate_root("root", add=3, threshold=2)

    def newest_root(self) -> bytes:
        return (self.repository.folder / self.repository.file_name("root")).read_bytes()

    def live(self, when: datetime) -> None:
        """Signs everything anew at this time, as a publisher does."""
        for role, md in self.repository.md.items():
            md.signed.expires = when + timedelta(days=700 if role == "root" else 30)
        signed_at(self.repository, when)
        self.repository.rotate_root()
        self.publish()

    def publish(self) -> None:
        self.repository.publish("targets", f"releases-{BOARD}", f"channels-{BOARD}")

    def release(self, version: str, sequence: int, files: dict[str, bytes] | None = None, **more: object) -> Manifest:
        """Publishes a release and points the channel to it."""
        content = dict(sorted((files or APP).items()))
        entries = [(path, len(data), hashlib.sha256(data).digest()) for path, data in content.items()]
        values = {"product": PRODUCT, "board": BOARD, "epoch": 0, "sequence": sequence, "files": entries, **more}
        manifest = Manifest(version=version, **values)  # type: ignore[arg-type]
        data = manifest.encode()
        path = f"releases/{BOARD}/{version}.cbor"
        self.repository.add_target(f"releases-{BOARD}", path, data, version=version, epoch=0, sequence=sequence)
        self.repository.add_target(f"channels-{BOARD}", f"channels/{BOARD}/stable", data, release=path)
        self.publish()
        self.files |= {f"blobs/{hashlib.sha256(blob).hexdigest()}": blob for blob in content.values()}
        self.files[f"targets/releases/{BOARD}/{hashlib.sha256(data).hexdigest()}.{version}.cbor"] = data
        return manifest

    def find(self, path: str) -> bytes | None:
        """The file of this path on the server."""
        if not path.startswith("metadata/"):
            return self.files.get(path)
        name = path.removeprefix("metadata/")
        file = self.repository.folder / name.removesuffix(".z")
        if not file.is_file():
            return None
        return packed(file.read_bytes()) if name.endswith(".z") else file.read_bytes()

    @property
    def answer(self) -> Answer:
        """For client_server.Server."""

        def answer(request: str) -> bytes:
            path = request.split()[1].lstrip("/")
            body = self.find(path)
            etag = f'"{hashlib.sha256(body or b"").hexdigest()[:12]}"'
            date = f"Date: {self.date:%a, %d %b %Y %H:%M:%S} GMT\r\n" if self.date else ""
            if body is None:
                return _answer("404 Not Found", date, b"")
            if etag in request:
                return _answer("304 Not Modified", f"{date}ETag: {etag}\r\n", b"")
            return _answer("200 OK", f"{date}ETag: {etag}\r\n", body)

        return answer


def _answer(status: str, head: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
