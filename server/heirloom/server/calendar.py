"""The calendar of a repository: who has to sign what, and what breaks for which devices if nobody does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.project import Project
from heirloom.signing import roles
from heirloom.signing.ceremony.ceremony import listed
from heirloom.signing.ceremony.holders import keys_of, names_in
from heirloom.signing.ceremony.keyring import Keyring
from heirloom.signing.ceremony.place import CEREMONIES, Place
from heirloom.signing.ceremony.report import look
from heirloom.signing.keys import KeyStore
from heirloom.signing.repository import Repository


@dataclass(frozen=True)
class OpenCeremony:
    """A ceremony that waits.

    Attributes:
        state: "open" or "complete".
        waiting: Names of those whose signature is missing.
        problem: Why it cannot go on; empty if it can.
    """

    ceremony: str
    state: str
    waiting: list[str]
    problem: str


def holders(repository: Repository, project: Project, store: KeyStore, role: str) -> list[str]:
    """Who can sign for a role: names that people signed, else those that keys have here, else the keyid."""
    root, targets = repository.root(), repository.targets()
    names = {**Keyring(store, project).names(), **names_in(targets), **names_in(root)}
    delegator = root.signed if role in roles.TOP_LEVEL else targets.signed
    return [names.get(key.keyid, key.keyid[:8]) for key in keys_of(delegator, role)]


def affected(role: str, boards: Sequence[str]) -> list[str]:
    """The boards whose devices stop updating when `role` expires."""
    if role in roles.TOP_LEVEL:
        return list(boards)
    board = role.partition("-")[2]
    return [board] if board in boards else []


def breaks(role: str, boards: Sequence[str]) -> str:
    """What happens when `role` expires and nobody renews it."""
    devices = " and ".join(affected(role, boards)) or "no board"
    whose = "all devices" if role in roles.TOP_LEVEL else f"devices of {devices}"
    return f"{whose} keep what they run, and refuse every update as stale, until it is renewed"


def ceremonies(project: Project, repository: Repository) -> list[OpenCeremony]:
    """The ceremonies of the project that are neither finished nor aborted."""
    store = KeyStore(project.keys_dir())
    here = Place(project, repository, store.anchor(), Keyring(store, project))
    found = [look(ceremony, here) for ceremony in listed(_folder(project))]
    return [
        OpenCeremony(one.ceremony, one.state, one.waiting, one.problem)
        for one in found
        if one.state not in ("finished", "aborted")
    ]


def stuck(found: Sequence[OpenCeremony]) -> list[str]:
    """A sentence for each ceremony that cannot go on."""
    return [f"ceremony {one.ceremony}: {one.problem}" for one in found if one.problem]


def command(role: str) -> str:
    """What begins the renewal of a role."""
    return "heirloom renew" if roles.rule(role).online else f"heirloom ceremony start --renew {role}"


def _folder(project: Project) -> Path:
    return project.root / CEREMONIES
