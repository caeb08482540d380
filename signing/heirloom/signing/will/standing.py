"""What became of a project's wills: which one is live, which are void and for which devices not yet."""

import json
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Root

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.project import Project
from heirloom.signing import roles
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import file_name, parse
from heirloom.signing.repository import Repository
from heirloom.signing.will.sealed import Header, digest, read

LIVE, VOID, OPENED, FOREIGN = "live", "void", "opened", "foreign"
_FOLDER = "will"
_SUFFIX = ".will.json"


@dataclass(frozen=True)
class Will:
    """One will of a project.

    Attributes:
        state: "live"; "void" (another root took its place); "opened"; "foreign" (it follows no root of this product).
        reason: Why, in one sentence.
        devices: Devices that would still follow a void will, and all devices that are known; None if nobody said.
    """

    path: Path
    header: Header
    state: str
    reason: str
    devices: tuple[int, int] | None = None


@dataclass(frozen=True)
class State:
    """A project's wills.

    Attributes:
        root: Version of the root that is published.
        wills: Newest first.
        attention: What a person should do about them; empty if nothing.
    """

    root: int
    wills: list[Will]
    attention: str = ""

    @property
    def live(self) -> Will | None:
        """The will that would be opened."""
        return next((will for will in self.wills if will.state == LIVE), None)


def place(project: Project, version: int) -> Path:
    """Where the sealed will with that root lies: in the project, to be copied and committed freely."""
    return project.root / _FOLDER / f"{version}{_SUFFIX}"


def state(project: Project, repository: Repository | None = None, inventory: Path | None = None) -> State:
    """The wills of a project.

    Args:
        project: The project.
        repository: As published; the project's own if None.
        inventory: JSON that says which root each device has taken; see `roots_in`.

    Raises:
        HeirloomError: There is no repository, or a file cannot be read.
    """
    repository = repository or Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    roots = roots_in(inventory) if inventory else None
    paths = sorted((project.root / _FOLDER).glob(f"[!.]*{_SUFFIX}"), key=_version, reverse=True)
    wills = [judge(project, repository, path, roots) for path in paths]
    version = repository.root().signed.version
    live = any(will.state == LIVE for will in wills)
    attention = ""
    if wills and not live:
        attention = f"no will follows root {version}: {wills[0].reason}; write a new one with `heirloom will write`"
    return State(version, wills, attention)


def _version(path: Path) -> int:
    number = path.name.removesuffix(_SUFFIX)
    return int(number) if number.isdecimal() else 0


def judge(project: Project, repository: Repository, path: Path, roots: list[int] | None = None) -> Will:
    """One will, held against the repository as published."""
    header = read(path).header
    kind, reason = _judge(project, repository, header)
    devices = None
    if roots is not None:
        devices = sum(root < header.version for root in roots), len(roots)
    return Will(path, header, kind, reason, devices)


def _judge(project: Project, repository: Repository, header: Header) -> tuple[str, str]:
    if header.product != project.product.name:
        return FOREIGN, f"it is the will of the product {header.product}"
    current = repository.root()
    if current.signed.version < header.version - 1:
        return FOREIGN, f"it follows root {header.version - 1}, but this repository ends with {current.signed.version}"
    before = _published(repository, header.version - 1)
    if before != header.follows:
        return FOREIGN, f"it follows another root {header.version - 1} than this product's"
    after = _published(repository, header.version)
    if after is None:
        return LIVE, f"it follows root {header.version - 1}, which is published"
    if after == header.root:
        return OPENED, f"root {header.version} of this product is the one of the will"
    return VOID, f"root {header.version} was published after it was written"


def _published(repository: Repository, version: int) -> str | None:
    name = file_name(roles.ROOT, version)
    data = repository.read(name)
    if data is None and version == repository.root().signed.version:
        return digest(repository.root())
    return None if data is None else digest(parse(Root, data, name))


def roots_in(inventory: Path) -> list[int]:
    """The root version that each device of an inventory has taken.

    Args:
        inventory: JSON: a list of devices, or an object with a list "devices", each a status report or with a
            number "root".

    Raises:
        HeirloomError: It is not such a file.
    """
    try:
        document = json.loads(inventory.read_bytes())
        devices = document["devices"] if isinstance(document, dict) else document
        roots = [(device.get("metadata") or device)["root"] for device in devices]
    except OSError as exc:
        raise os_error(exc, f"cannot read {inventory}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise HeirloomError(
            f"{inventory} is no inventory", 'a JSON list of devices, each with a number "root"'
        ) from exc
    if not all(type(root) is int and root >= 0 for root in roots):
        raise HeirloomError(f"{inventory} has a device whose root is no number", "see `heirloom device status`")
    return roots
