"""`heirloom will open`: from the trustees' shares to a repository that devices follow, at once or signer by signer.

What was signed waits in `.heirloom/opening` until there are enough signatures. That folder may be carried from
successor to successor; nothing in it is secret any more.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import FILE_NAME, Project
from heirloom.server.store import Store
from heirloom.signing import online, places, roles
from heirloom.signing.ceremony.holders import names_in
from heirloom.signing.keys import SCHEME, KeyStore
from heirloom.signing.metadata import MAKER, URLS, utc_now
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository
from heirloom.signing.will import opening, standing
from heirloom.signing.will.opening import Answers, Documents, Missing
from heirloom.signing.will.sealed import read
from heirloom.signing.will.shares import Share

_ORDER = "order.json"


@dataclass(frozen=True)
class Opened:
    """How far the opening is.

    Attributes:
        root: Version of the root that devices end with.
        missing: Signatures that are missing; empty when all is published.
        folder: What to carry to the next successor, while signatures are missing.
        published: Names of the new files under metadata/.
    """

    root: int
    missing: list[Missing] = field(default_factory=list)
    folder: Path | None = None
    published: list[str] = field(default_factory=list)


class Opening:
    """The opening of a project's will on this machine.

    Args:
        project: A copy of the maker's, with the newest repository and the will.
        passphrases: For the successors' keys and the new online keys.
    """

    def __init__(self, project: Project, passphrases: Passphrases) -> None:
        self.project = project
        self.keys = KeyStore(project.keys_dir())
        self.repository = Repository(project.repository, self.keys.anchor())
        self.folder = project.state_dir / "opening"
        self._passphrases = passphrases

    @property
    def begun(self) -> bool:
        """Whether documents wait for signatures."""
        return (self.folder / _ORDER).is_file()

    def will(self, path: Path | None) -> standing.Will:
        """The will to open: the named file, else the project's live one, else the newest, which says why it is not.

        Raises:
            HeirloomError: There is none.
        """
        if path is not None:
            return standing.judge(self.project, self.repository, path)
        found = standing.state(self.project, self.repository)
        will = found.live or next(iter(found.wills), None)
        if will is None:
            raise HeirloomError("this project has no will", "name the file with --will")
        return will

    def begin(self, will: standing.Will, shares: Sequence[Share], answers: Answers) -> None:
        """Unseal, make the online keys, and put the documents where the successors sign them.

        Raises:
            HeirloomError: The will is void, the shares do not open it, none of the keys here is a successor's, ...
        """
        places.check(answers.urls)
        root = opening.unseal(self.project, self.repository, read(will.path), will, shares)
        self._signers(root)
        public = {
            role: self._new_key(_online_name(role, root.signed.version + 1)).public_key
            for role in opening.online_roles(self.repository)
        }
        self._keep(opening.documents(self.repository, root, public, answers, utc_now()))

    def documents(self) -> Documents:
        """What waits for signatures.

        Raises:
            HeirloomError: It is damaged, or another root was published meanwhile.
        """
        Store(self.project.repository).recover()  # a killed opening may have published half
        found = self._load()
        published, expected = self.repository.root().signed.version, found.will.signed.version - 1
        if published not in (expected, found.own.signed.version):
            raise HeirloomError(
                f"root {published} was published meanwhile, and this opening follows root {expected}",
                f"the will is void; remove {self.folder}",
            )
        return found

    def go_on(self) -> Opened:
        """Sign with the successors' keys that are here; publish when there are enough signatures.

        Raises:
            HeirloomError: No key of a successor is here, or the documents were changed.
        """
        found = self.documents()
        version, files = found.own.signed.version, list[str]()
        # A killed opening may have published already.
        if self.repository.root().signed.version != version:
            found.sign(self._signers(found.will))
            self._keep(found)
            missing = opening.missing(self.repository.root(), found)
            if missing:
                return Opened(version, missing, self.folder)
            files = self._publish(found)
        self._update_project(found)
        self._put_away()
        return Opened(version, published=files)

    def _signers(self, root: Metadata[Root]) -> list[Signer]:
        signers = opening.signers_here(root, self.keys, self._passphrases)
        if not signers:
            names = ", ".join(names_in(root).values())
            raise HeirloomError(
                f"none of the keys in {self.keys.directory} belongs to a successor",
                f"run this where a key of {names} is, or name its folder in HEIRLOOM_KEYS",
            )
        return signers

    def _new_key(self, name: str) -> Signer:
        if name not in self.keys.names():
            return self.keys.generate(name, self._passphrases(name))
        return self._key(name)  # of an opening that was cut short

    def _key(self, name: str) -> Signer:
        return self.keys.signer(f"{SCHEME}:{name}", self._passphrases)

    def _publish(self, found: Documents) -> list[str]:
        now, version = utc_now(), found.own.signed.version
        signers = {role: [self._key(_online_name(role, version))] for role in opening.online_roles(self.repository)}
        changed = found.to_files() | opening.channels(self.repository, signers, now)
        files = online.refresh(self.repository, changed, signers, now)
        Store(self.project.repository).commit(files, {}, [])
        return sorted(files)

    # -- what waits for signatures

    def _keep(self, found: Documents) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise os_error(exc, f"cannot make {self.folder}") from exc
        files = found.to_files()
        for name, data in files.items():
            write_atomic(self.folder / name, data)
        write_atomic(self.folder / _ORDER, json.dumps(list(files)).encode())

    def _load(self) -> Documents:
        try:
            names = [str(name) for name in json.loads((self.folder / _ORDER).read_bytes())]
            return Documents.from_files({name: (self.folder / name).read_bytes() for name in names})
        except OSError as exc:
            raise os_error(exc, f"cannot read {self.folder}") from exc
        except (ValueError, TypeError, IndexError) as exc:
            raise HeirloomError(f"{self.folder} is damaged", "remove it and open the will again") from exc

    def _put_away(self) -> None:
        # The list first: without it nothing waits.
        for path in (self.folder / _ORDER, *sorted(self.folder.iterdir())):
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _update_project(self, found: Documents) -> None:
        """The project file names the successors' keys and places from now on; what else it says stays."""
        path = self.project.root / FILE_NAME
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        product = document.setdefault("product", tomlkit.table())
        signing = document.setdefault("signing", tomlkit.table())
        product["urls"] = found.own.signed.unrecognized_fields[URLS]
        product["contact"] = found.targets.signed.unrecognized_fields[MAKER]["contact"]
        product.pop("support-until", None)
        successors = [f"{SCHEME}:{name}" for name in names_in(found.will).values()]
        made = set(opening.online_roles(self.repository))
        for role in roles.product_roles(self.repository.boards()):
            own = [f"{SCHEME}:{_online_name(role, found.own.signed.version)}"]
            signing[role] = own if role in made else successors
        write_atomic(path, tomlkit.dumps(document).encode())


def _online_name(role: str, version: int) -> str:
    """What the key of an online role is called that root `version` brings: nothing of the maker's has that name."""
    return f"{role}-{version}"
