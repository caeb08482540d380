"""A product whose people hold ceremonies, and two kinds of readers that follow from its first root."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.signing import founding
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository

PASSPHRASE = "correct horse battery staple"
BOARD, OTHER = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
PLACES = ["http://127.0.0.1:9/", "https://somebody.example.org/weather/"]
STABLE = f"channels/{BOARD}/stable"
CONFORMANCE = Path(__file__).resolve().parents[2] / "device/conformance"


class FolderFetcher(FetcherInterface):
    """Reads the repository's files where they lie."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        from tuf.api.exceptions import DownloadHTTPError

        path = Path(url.removeprefix("file:"))
        if not path.is_file():
            raise DownloadHTTPError("absent", 404)
        return iter([path.read_bytes()])


@dataclass
class Reader:
    """A stock python-tuf client that began with some root."""

    folder: Path
    repository: Path
    root: bytes

    def stable(self, target: str = STABLE) -> bytes:
        """Refresh, and download what the channel points to."""
        self.folder.mkdir(exist_ok=True)
        base = f"file:{self.repository}/"
        updater = Updater(
            str(self.folder),
            base + "metadata/",
            str(self.folder),
            base + "targets/",
            FolderFetcher(),
            bootstrap=self.root,
        )
        updater.refresh()
        found = updater.get_targetinfo(target)
        assert found is not None
        return Path(updater.download_target(found)).read_bytes()


@dataclass
class Board:
    """The client of devices on MicroPython, with a trust folder of its own."""

    folder: Path
    url: str

    def _run(self, *argv: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
        (self.folder / "targets").mkdir(parents=True, exist_ok=True)
        options = ["--metadata-dir", str(self.folder), "--metadata-url", f"{self.url}metadata/"]
        options += ["--target-dir", f"{self.folder}/targets", "--target-base-url", f"{self.url}targets/"]
        words = [str(CONFORMANCE), *options, *argv, *([str(root)] if root else [])]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def provision(self, root: Path) -> "Board":
        """Give it the product's first root."""
        ran = self._run("init", root=root)
        assert ran.returncode == 0, ran.stdout
        return self

    def stable(self, target: str = STABLE) -> str:
        """Check for an update, and fetch the manifest; empty, or why not."""
        shutil.rmtree(self.folder / "targets", ignore_errors=True)
        ran = self._run("--target-name", target, "download")
        return "" if ran.returncode == 0 else ran.stdout + ran.stderr


@dataclass
class Scene:
    """A product of two boards; 1.0.0 is on the channel."""

    directory: Path

    @property
    def project(self) -> Project:
        return Project.load(self.directory / "weather")

    @property
    def repository(self) -> Repository:
        return Repository(self.directory / "weather/repository")

    @property
    def first_root(self) -> Path:
        return self.directory / "weather/repository/metadata/1.root.json"

    def keys(self, name: str = "keys") -> KeyStore:
        return KeyStore(self.directory / name)

    def new_key(self, name: str, kind: str = "ed25519", folder: str = "keys") -> Path:
        """A person's new key; returns its public half."""
        self.keys(folder).create(name, PASSPHRASE, kind)
        return self.directory / folder / f"{name}.pub.json"

    def heirloom(self, *argv: object, keys: str = "keys") -> Any:
        """The program, with that folder of keys."""
        before = os.environ["HEIRLOOM_KEYS"]
        os.environ["HEIRLOOM_KEYS"] = str(self.directory / keys)
        try:
            return call(["--project", str(self.directory / "weather"), *map(str, argv), "--yes"])
        finally:
            os.environ["HEIRLOOM_KEYS"] = before

    def hold(self, *argv: object, signers: tuple[str, ...] = ("keys",), finisher: str = "keys") -> Any:
        """A whole ceremony."""
        started = self.heirloom("ceremony", "start", *argv)
        for keys in signers:
            self.heirloom("ceremony", "sign", started["ceremony"], keys=keys)
        return self.heirloom("ceremony", "finish", started["ceremony"], keys=finisher)

    def publish(self, version: str, keys: str = "keys", board: str = BOARD, channel: str = "stable") -> None:
        """A release, on the channel at once."""
        (self.directory / "weather/app/main.py").write_text(f"print({version!r})\n")
        self.heirloom("release", "build", "--version", version, "--board", board, keys=keys)
        self.heirloom("release", "sign", version, keys=keys)
        self.heirloom("release", "publish", version, "--channel", channel, keys=keys)

    def reader(self, name: str) -> Reader:
        return Reader(self.directory / name, self.repository.path, self.first_root.read_bytes())

    def copy(self, directory: Path) -> "Scene":
        shutil.copytree(self.directory, directory)
        return Scene(directory)


def make_scene(directory: Path, product: str = "weather") -> Scene:
    """Found the product and publish 1.0.0. HEIRLOOM_PASSPHRASE is set, and key files are cheap."""
    os.environ["HEIRLOOM_KEYS"] = str(directory / "keys")
    answers = founding.Answers(product, {BOARD: "1.29", OTHER: "1.29"}, PLACES, contact="security@example.com")
    founding.found(directory / "weather", answers, PASSPHRASE, utc_now())
    scene = Scene(directory)
    (directory / "weather/app").mkdir()
    scene.publish("1.0.0")
    return scene


def handover_file(path: Path, held: dict[str, dict[str, Path]], urls: list[str] | None = None, **product: str) -> Path:
    """Writes a hand-over file: role to holder to public key."""
    lines = ["[product]"] if urls or product else []
    lines += [f"urls = {json.dumps(urls)}"] if urls else []
    lines += [f"{key} = {json.dumps(text)}" for key, text in product.items()]
    for role, keys in held.items():
        named = ", ".join(f'"{holder}" = {json.dumps(str(key))}' for holder, key in keys.items())
        lines += [f"[roles.{role}]", f"keys = {{ {named} }}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def successors(scene: Scene, folder: str, *, boards: tuple[str, ...] = (BOARD, OTHER)) -> dict[str, dict[str, Path]]:
    """Keys of other people for every role, in a folder of their own."""
    held = {}
    for role in ("root", "targets"):
        people = ("Ada", "Berta", "Chen")
        held[role] = {name: scene.new_key(f"{folder}-{role}-{name}", folder=folder) for name in people}
    online = ["snapshot", "timestamp", *(f"channels-{board}" for board in boards)]
    for role in (*(f"releases-{board}" for board in boards), *online):
        held[role] = {f"{folder} {role}": scene.new_key(f"{folder}-{role}", folder=folder)}
    return held
