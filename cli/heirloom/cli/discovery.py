"""The folders' commands: modules of the entry point group `heirloom.commands`, each with `register(app)`."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import typer

from heirloom.cli import extras

GROUP = "heirloom.commands"
# The order of the commands in `heirloom --help`: from making a project to the fleet.
_ORDER = ("signing", "server", "boards", "hil", "cli")


@dataclass(frozen=True)
class Absent:
    """A folder whose commands could not be loaded.

    Attributes:
        name: The folder.
        reason: One line.
        advice: Which extra to install, or empty.
    """

    name: str
    reason: str
    advice: str


def modules() -> Iterator[tuple[str, ModuleType | Absent]]:
    """The commands modules by folder, in the order of `heirloom --help`."""
    for entry in sorted(entry_points(group=GROUP), key=_rank):
        yield entry.name, _load(entry)


def _rank(entry: EntryPoint) -> tuple[int, str]:
    known = entry.name in _ORDER
    return (_ORDER.index(entry.name) if known else len(_ORDER), entry.name)


def _load(entry: EntryPoint) -> ModuleType | Absent:
    try:
        return importlib.import_module(entry.value)
    except ImportError as exc:
        return Absent(entry.name, f"the commands of {entry.name} cannot be loaded: {exc}", extras.advice_for(exc.name))


def register_all(app: typer.Typer) -> list[Absent]:
    """Add every folder's commands to `app`. Returns the folders that could not be loaded."""
    absent = []
    for _, module in modules():
        if isinstance(module, Absent):
            absent.append(module)
        else:
            register: Callable[[typer.Typer], None] = module.register
            register(app)
    return absent
