"""A small product whose releases are made in memory, so that publishing can be tested thousands of times."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archive_product import make_releases
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface  # noqa: TC002 - dataclasses and pytest look at annotations

from heirloom.cli.main import call, run
from heirloom.cli.project import Project
from heirloom.server.store import Store
from heirloom.signing import founding, keyfile
from heirloom.signing.metadata import utc_now

BOARD = "TESTBOARD"
RELEASES, CHANNELS = f"releases-{BOARD}", f"channels-{BOARD}"
_SERVER = """
import sys
from pathlib import Path
from heirloom.server.serve import listen, make_server, run
run(make_server(Path(sys.argv[1])), listen("127.0.0.1", 0), lambda url: print(url, flush=True))
"""
STABLE = f"channels/{BOARD}/stable"


def manifest(version: str, blobs: list[bytes]) -> bytes:
    """Stands for a manifest where only publishing is tested: one line for the version, one for each blob's hash."""
    return "\n".join([version, *(hashlib.sha256(blob).hexdigest() for blob in blobs)]).encode()


@dataclass
class Inputs:
    """What `Store.commit` is given."""

    metadata: dict[str, bytes]
    targets: dict[str, bytes]
    blobs: list[Path]

    def commit(self, store: Store) -> None:
        store.commit(self.metadata, self.targets, self.blobs)


@dataclass
class Product:
    """Signs one release after another with one key."""

    folder: Path
    signer: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    roles: dict[str, Signed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "blobs").mkdir(parents=True)
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
        root = Root(expires=expires, consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self.signer.public_key, role)
        keyid = self.signer.public_key.keyid
        delegated = {
            role: DelegatedRole(role, [keyid], 1, True, paths=[f"{role.split('-')[0]}/{BOARD}/*"])
            for role in (RELEASES, CHANNELS)
        }
        targets = Targets(expires=expires, delegations=Delegations({keyid: self.signer.public_key}, delegated))
        self.roles = {"root": root, "targets": targets, RELEASES: Targets(expires=expires)}
        self.roles |= {CHANNELS: Targets(expires=expires), "snapshot": Snapshot(expires=expires)}
        self.roles |= {"timestamp": Timestamp(expires=expires)}
        for signed in self.roles.values():
            signed.version = 0

    def _sign(self, role: str) -> bytes:
        signed = self.roles[role]
        signed.version += 1
        metadata: Metadata[Signed] = Metadata(signed)
        metadata.sign(self.signer)
        return metadata.to_bytes()

    def sign(self, *roles: str) -> dict[str, bytes]:
        """New versions of `roles`, of the snapshot and of the timestamp."""
        snapshot, timestamp = self.roles["snapshot"], self.roles["timestamp"]
        assert isinstance(snapshot, Snapshot)
        assert isinstance(timestamp, Timestamp)
        files = {}
        for role in roles:
            data = self._sign(role)
            version = self.roles[role].version
            files[f"{version}.{role}.json"] = data
            if role != "root":
                snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        data = self._sign("snapshot")
        files[f"{snapshot.version}.snapshot.json"] = data
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        files["timestamp.json"] = self._sign("timestamp")
        return files

    def release(self, version: str, *, root: bool = False) -> Inputs:
        """A release, and the stable channel pointing to it. The first one brings all roles."""
        blobs = [f"code of {version}\n".encode() * 300, b"settings that never change\n", version.encode()]
        content = manifest(version, blobs)
        releases, channels = self.roles[RELEASES], self.roles[CHANNELS]
        assert isinstance(releases, Targets)
        assert isinstance(channels, Targets)
        path = f"releases/{BOARD}/{version}.cbor"
        releases.targets[path] = TargetFile.from_data(path, content, ["sha256"])
        channels.targets[STABLE] = TargetFile.from_data(STABLE, content, ["sha256"])
        first = releases.version == 0
        roles = [*(["root"] if root or first else []), *(["targets"] if first else []), RELEASES, CHANNELS]
        return Inputs(self.sign(*roles), {path: content, STABLE: content}, [self._blob(blob) for blob in blobs])

    def _blob(self, data: bytes) -> Path:
        path = self.folder / "blobs" / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return path


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path / "product")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder of a repository that does not exist yet."""
    return tmp_path / "repository"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """One server for all tests, and the link to the folder that it serves.

    It is a process of its own: tests here fork, which a process with threads should not.
    """
    link = tmp_path_factory.mktemp("server") / "served"
    with subprocess.Popen([sys.executable, "-c", _SERVER, str(link)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield link, process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture
def serve(server: tuple[Path, str], repository: Path) -> Iterator[str]:
    """The base URL of the repository, served while the test runs."""
    link, url = server
    link.symlink_to(repository)
    yield url
    link.unlink()


class Client:
    """A stock python-tuf client with a folder of its own, and the blobs as Heirloom's clients fetch them."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.folder, self.url, self.root = folder, url, root
        self.fetcher: FetcherInterface | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def updater(self) -> Updater:
        return Updater(
            str(self.folder),
            self.url + "metadata/",
            str(self.folder),
            self.url + "targets/",
            self.fetcher,
            bootstrap=self.root,
        )

    def stable(self) -> tuple[str, bytes]:
        """Refresh, download the stable channel's manifest; returns its version and content."""
        updater = self.updater()
        updater.refresh()
        info = updater.get_targetinfo(STABLE)
        assert info is not None, "the channel is gone"
        content = Path(updater.download_target(info)).read_bytes()
        version = content.decode().splitlines()[0]
        listed = updater.get_targetinfo(f"releases/{BOARD}/{version}.cbor")
        assert listed is not None, "the channel points to a release that its role does not list"
        assert listed.hashes == info.hashes
        return version, content


@pytest.fixture
def make_client(tmp_path: Path) -> Callable[[str, str, bytes], Client]:
    def make(name: str, url: str, root: bytes) -> Client:
        return Client(tmp_path / "clients" / name, url, root)

    return make


PASSPHRASE = "correct horse battery staple"
PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
PLACES = ["http://127.0.0.1:9/", "https://somebody.example.org/weather/"]


def write_app(folder: Path, version: str) -> None:
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(f"import lib.text\nprint(lib.text.VERSION)  # {version}\n")
    (folder / "lib/text.py").write_text(f"VERSION = '{version}'\nTEXT = '{'never changes ' * 400}'\n")
    (folder / "settings.json").write_text("{}\n")
    (folder / "empty.txt").write_text("")


@pytest.fixture(scope="session")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of two boards: 1.0.0 is published and stable, 1.1.0 is signed."""
    folder = tmp_path_factory.mktemp("founded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEIRLOOM_KEYS", str(folder / "keys"))
        patch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
        patch.setenv("HEIRLOOM_PROJECT", str(folder / "project"))
        # Keys that cost nothing to open.
        patch.setattr(keyfile, "SCRYPT_N", 2)
        answers = founding.Answers("weather", {PICO: "1.29", ESP: "1.29"}, PLACES, contact="security@example.com")
        founding.found(folder / "project", answers, PASSPHRASE, utc_now())
        for version in ("1.0.0", "1.1.0"):
            write_app(folder / "project/app", version)
            call(["release", "build", "--version", version])
            call(["release", "sign", version])
            if version == "1.0.0":
                call(["release", "publish", version, "--channel", "stable"])
    return folder


@pytest.fixture(scope="session")
def _archived(_founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That product after five more releases for one board, with an archive."""
    folder = tmp_path_factory.mktemp("archived") / "product"
    shutil.copytree(_founded, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEIRLOOM_KEYS", str(folder / "keys"))
        patch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
        patch.setenv("HEIRLOOM_PROJECT", str(folder / "project"))
        patch.setattr(keyfile, "SCRYPT_N", 2)
        make_releases(Project.load(), "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0")
    return folder


@pytest.fixture
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that cost nothing to open."""
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)


@pytest.fixture
def project(_founded: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """That product, for this test alone; the working directory is its project."""
    shutil.copytree(_founded / "project", tmp_path / "weather")
    shutil.copytree(_founded / "keys", home / "keys")
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
    monkeypatch.chdir(tmp_path / "weather")
    return Project.load()


@pytest.fixture
def archived(project: Project, _archived: Path, cheap_keys: None) -> Project:
    """As `project`, but 1.0.0, 1.1.0 and 2.0.0 are in the archive, and four newer ones are not."""
    shutil.copytree(_archived / "project", project.root, dirs_exist_ok=True)
    return Project.load()


@pytest.fixture
def serve_project(server: tuple[Path, str], project: Project) -> Iterator[str]:
    """The base URL of the project's repository."""
    link, url = server
    link.symlink_to(project.repository)
    yield url
    link.unlink()


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def heirloom(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the program in this process."""

    def program(*argv: object) -> Ran:
        capfd.readouterr()
        code = run([str(word) for word in argv])
        return Ran(code, *capfd.readouterr())

    return program


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests talk to this machine and to nobody else."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), f"a test talks to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
