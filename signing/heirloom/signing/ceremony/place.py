"""Where a signer stands: with the project and its repository, or with nothing but the folder and a trusted root."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.project import KEYS_VARIABLE, Project, find
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.ceremony import Ceremony, listed
from heirloom.signing.ceremony.keyring import Keyring
from heirloom.signing.keys import KeyStore
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository

CEREMONIES = "ceremonies"


@dataclass(frozen=True)
class Place:
    """What is at hand.

    Attributes:
        project: None for a signer without the project.
        repository: Its repository, if there is one.
        anchor: The root that is trusted; None for the repository's own first one.
    """

    project: Project | None
    repository: Repository | None
    anchor: bytes | None
    keyring: Keyring

    @property
    def product(self) -> str | None:
        """The product of the keys here, if it is known."""
        return self.project.product.name if self.project else None

    def base(self, ceremony: Ceremony) -> Base:
        """What the ceremony builds on, as it is trusted here."""
        base = ceremony.base(self.repository.read if self.repository else None, self.anchor)
        return replace(base, known=self.keyring.names())


def here(passphrases: Passphrases | None = None, root: Path | None = None) -> Place:
    """Look around.

    Args:
        passphrases: Where passphrases come from.
        root: A root to trust, in place of the one beside the keys.

    Raises:
        UsageError: There is neither a project nor a root to trust.
    """
    project = Project.load() if find() is not None else None
    named = os.environ.get(KEYS_VARIABLE)
    if project is None and named is None:
        raise UsageError(
            "there is no project here and no folder of keys", f"name the keys in {KEYS_VARIABLE}, and --root FILE"
        )
    store = KeyStore(project.keys_dir() if project else Path(named or "").expanduser().absolute())
    anchor = _read(root) if root else store.anchor()
    repository = Repository(project.repository, anchor) if project else None
    if repository is not None and not repository.exists:
        repository = None
    if repository is None and anchor is None:
        raise UsageError("there is no root to trust here", "say --root FILE, with a root file from somebody you trust")
    return Place(project, repository, anchor, Keyring(store, project, passphrases))


def choose(text: str | None, project: Project | None) -> Ceremony:
    """The ceremony that a person means: a folder, the start of its name or its id; the only open one if None.

    Raises:
        UsageError: None or several are meant.
    """
    if text is not None and Path(text).is_dir():
        return Ceremony.load(Path(text))
    parent = project.root / CEREMONIES if project else Path.cwd()
    if text is not None and (parent / text).is_dir():
        return Ceremony.load(parent / text)
    found = [one for one in listed(parent) if _means(text, one)]
    if text is None:
        found = [one for one in found if not one.aborted and not _is_over(one, project)]
    if len(found) == 1:
        return found[0]
    if not found:
        what = f"no ceremony {text}" if text else "no ceremony is open"
        raise UsageError(f"{what} in {parent}", "start one with `heirloom ceremony start`, or name its folder")
    raise UsageError(f"several ceremonies are meant: {', '.join(one.path.name for one in found)}", "name one")


def _means(text: str | None, ceremony: Ceremony) -> bool:
    return text is None or ceremony.path.name.startswith(text) or (len(text) > 3 and ceremony.id.startswith(text))


def _is_over(ceremony: Ceremony, project: Project | None) -> bool:
    """Whether everything that it makes is published."""
    if project is None:
        return False
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    try:
        return ceremony.published(repository) == set(ceremony.documents)
    except HeirloomError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
