"""A founded product with an application, and a publisher as small as possible."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Timestamp

from heirloom.cli.project import Project
from heirloom.signing import channels, endorse, founding, online, release, roles
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import describe, file_name, sign, to_bytes
from heirloom.signing.release import BuiltRelease
from heirloom.signing.repository import Repository, channel_path, target_file

BOARD = "SIM_RPI_PICO_W"
OTHER = "SIM_ESP32_GENERIC"
PASSPHRASE = "correct horse battery staple"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URLS = ["http://127.0.0.1:8000/", "https://somebody.example.org/weather/"]
ANSWERS = founding.Answers("weather", {BOARD: "1.29", OTHER: "1.29"}, URLS, contact="security@example.com")

APP = {"main.py": "import lib.sensor\nprint(lib.sensor.read())\n", "lib/sensor.py": "def read():\n    return 21\n"}


def write_app(folder: Path, files: Mapping[str, str | bytes] = APP) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


@dataclass
class Product:
    """A founded product with an application."""

    project: Project

    @property
    def store(self) -> KeyStore:
        return KeyStore(self.project.keys_dir())

    @property
    def repository(self) -> Repository:
        """As it is now."""
        return Repository(self.project.repository)

    def signers(self, *names: str) -> dict[str, list[Signer]]:
        return {name: role_signers(self.project, name) for name in names or (roles.SNAPSHOT, roles.TIMESTAMP)}

    def build(self, version: str, board: str = BOARD, **options: object) -> BuiltRelease:
        return release.build(self.project, board, version, release.Options(**options))  # type: ignore[arg-type]

    def change(self, number: int) -> None:
        """Another content for the next release."""
        write_app(self.project.app.source, {"lib/sensor.py": f"def read():\n    return {number}\n"})

    def release(self, version: str, board: str = BOARD, now: datetime | None = None, **options: object) -> BuiltRelease:
        """Build, sign, publish and point the channel `stable` to it."""
        write_app(self.project.app.source, {"version.txt": version})
        built = self.build(version, board, **options)
        endorse.sign(self.project, built, now)
        self.publish(board, version, now)
        return built

    def publish(self, board: str, version: str, now: datetime | None = None) -> None:
        now = now or datetime.now(UTC).replace(microsecond=0)
        repository, role, channel_role = self.repository, *roles.board_roles(board)
        waiting = release.pending(self.project, repository, board)
        assert waiting is not None
        signers = role_signers(self.project, channel_role)
        pointed = channels.point(repository, board, "stable", version, signers, now, waiting)
        changed = {
            file_name(role, waiting.signed.version): to_bytes(waiting),
            file_name(channel_role, repository.role(channel_role).signed.version + 1): pointed,
        }
        for built in release.unpublished(self.project, repository, board):
            self.write_release(built)
        self.write(online.refresh(repository, changed, self.signers(), now))

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            (self.project.repository / "metadata" / name).write_bytes(data)

    def repository_timestamp_for(self, snapshot: bytes) -> bytes:
        """The current timestamp, changed to describe another snapshot of the same version, and signed."""
        timestamp: Metadata[Timestamp] = Metadata.from_file(str(self.project.repository / "metadata/timestamp.json"))
        timestamp.signed.snapshot_meta = describe(timestamp.signed.snapshot_meta.version, snapshot)
        timestamp.signatures.clear()
        sign(timestamp, self.signers(roles.TIMESTAMP)[roles.TIMESTAMP])
        return to_bytes(timestamp)

    def write_release(self, built: BuiltRelease) -> None:
        for path in (built.path, channel_path(built.board, "stable")):
            file = self.project.repository / "targets" / target_file(path, built.sha256)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(built.manifest_bytes)
        blobs = self.project.repository / "blobs"
        blobs.mkdir(exist_ok=True)
        for blob in built.blobs:
            shutil.copy(blob, blobs)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Program = Callable[..., Ran]
