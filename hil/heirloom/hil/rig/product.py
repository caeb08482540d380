"""A product of no value: keys, project and repository that a test makes and throws away."""

import io
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.hil.demo.steps import CHANNEL, MIRROR, Workshop
from heirloom.signing import built, keyfile

App = Path | Mapping[str, str | bytes]


@dataclass(frozen=True)
class Release:
    """A published release.

    Attributes:
        version: Its name for people.
        order: What orders it: epoch and sequence.
        sha256: Of its manifest, in hexadecimal.
    """

    version: str
    order: tuple[int, int]
    sha256: str


class Product(Workshop):
    """A product with one board, worked by the program's own commands.

    Args:
        directory: Empty or new.
        url: Where devices reach the repository.
        board: The board of its devices.
        definition: The file of an own board.
        like: The maker's project: what of it shapes an application is taken over, never keys or places.
        wanted: The maker's built release that is to be tested; None: the application as its folder is.
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        board: str,
        *,
        definition: Path | None = None,
        like: Project | None = None,
        wanted: str | None = None,
    ) -> None:
        super().__init__(directory, url)
        self.wanted = wanted
        self.tested: list[str] = []  # the manifests of the maker that were tested as they are
        self.board = board
        self.definition = definition
        self.like = like

    @property
    def name(self) -> str:
        """As the maker's, so that the application finds what it expects."""
        return self.like.product.name if self.like else "throwaway"

    def found(self) -> None:
        """Keys, project file and the first metadata."""
        keep = self.like.app.keep if self.like else ["settings.json"]
        asked = ["--name", self.name, "--board", self.board, "--url", self.url, "--url", MIRROR]
        asked += [word for path in keep for word in ("--keep", path)]
        # Keys of no value may open at once.
        with patch.object(keyfile, "SCRYPT_N", 2), self.at_work(), redirect_stderr(io.StringIO()):
            self.heirloom("init", "--contact", "security@throwaway.example", *asked)
        self._take_over()

    def _take_over(self) -> None:
        """What `init` does not ask for: how releases are confirmed and installed, and the file of an own board."""
        import tomlkit

        path = self.project_dir / "heirloom.toml"
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        if self.like:
            document["app"]["confirm"] = self.like.app.confirm
            document["app"]["install"] = self.like.app.install
        if self.definition:
            document["boards"][self.board]["definition"] = str(self.definition)
        path.write_text(tomlkit.dumps(document), encoding="utf-8")

    def release(self, version: str, app: App, *options: str) -> Release:
        """Build, sign and publish a release, and point the channel to it.

        Args:
            version: Its name for people.
            app: A folder, or the application's files by their path.
            options: For `heirloom release build`.
        """
        with self.at_work():
            self._take(app)
            self.heirloom("release", "build", "--version", version, *options)
            self._sign_and_publish(version)
        return self.published(version)

    def candidate(self) -> Release:
        """Publish what is to be tested: a built release (its very manifest), or the application's folder as it is.

        Raises:
            HeirloomError: There is no project, or the release was not built.
        """
        if self.like is None:
            raise HeirloomError("there is no project here, so nothing to test", "name it with --heirloom-project")
        if self.wanted is None or self.board not in self.like.boards:
            return self.release(self.wanted or "candidate", self.like.app.source)
        release = self.adopt(built.load(self.like, self.board, self.wanted).directory, self.wanted)
        self.tested.append(release.sha256)
        return release

    def adopt(self, directory: Path, version: str) -> Release:
        """Publish a release as it was built elsewhere: the very manifest.

        Args:
            directory: With manifest.cbor and blobs/.
            version: Its name in the manifest.
        """
        place = built.folder(self.project, self.board) / version
        place.mkdir(parents=True)
        shutil.copy(directory / built.MANIFEST, place)
        shutil.copytree(directory / built.BLOBS, place / built.BLOBS)
        with self.at_work():
            self._sign_and_publish(version)
        return self.published(version)

    def published(self, version: str) -> Release:
        """A release that was published before."""
        (found,) = (one for one in self.repository.releases(self.board) if one.version == version)
        return Release(version, (found.order[0], found.order[1]), found.sha256)

    def order(self, version: str) -> list[int]:
        """What orders a published release: [epoch, sequence]."""
        (release,) = (one for one in self.repository.releases(self.board) if one.version == version)
        return list(release.order)

    def contents(self, version: str) -> dict[str, int]:
        """The blobs of a published release: SHA-256 to length."""
        manifest = self.repository.manifest(self.board, version)
        return {sha256.hex(): length for _, length, sha256 in manifest.files}

    def copy(self, directory: Path) -> "Product":
        """The same product, with the same keys, in another folder."""
        shutil.copytree(self.directory, directory, symlinks=True)
        made = Product(directory, self.url, self.board, definition=self.definition, like=self.like, wanted=self.wanted)
        made.passphrase = self.passphrase
        return made

    def bundle(self, repository: Path) -> bytes:
        """What a stick for its board holds, in one file, made of any whole copy of the repository."""
        with tempfile.TemporaryDirectory(prefix="heirloom-") as folder, self.at_work():
            stick = Path(folder) / "heirloom.tar"
            with redirect_stderr(io.StringIO()):
                self.heirloom("bundle", str(stick), "--file", "--board", self.board, "--from", str(repository))
            return stick.read_bytes()

    def _sign_and_publish(self, version: str) -> None:
        self.heirloom("release", "sign", version)
        self.heirloom("release", "publish", version, "--channel", CHANNEL)

    def _take(self, app: App) -> None:
        if isinstance(app, Path):
            self.take_source(app)
            return
        target = self.project_dir / "app"
        shutil.rmtree(target, ignore_errors=True)
        for name, content in app.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
