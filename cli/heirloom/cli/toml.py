"""Typed access to a TOML table. Every error is one line that names the file and the key."""

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from heirloom.cli.errors import HeirloomError


def wrong(path: Path, message: str) -> HeirloomError:
    """The error "PATH: MESSAGE"."""
    return HeirloomError(f"{path}: {message}", f"correct {path.name}")


class Table:
    """One table of the file `path`.

    Args:
        values: As `tomllib` read them.
        path: The file, for messages.
        name: The dotted name of the table, empty at the top.
    """

    def __init__(self, values: Mapping[str, object], path: Path, name: str = "") -> None:
        self.values = values
        self.path = path
        self.name = name

    def only(self, *known: str) -> None:
        """Refuse other keys than `known`: a misspelt `keep` would lose an owner's settings."""
        for key in self.values:
            if key not in known:
                near = get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise wrong(self.path, f"{self._where(key)} is unknown; {hint}")

    def table(self, key: str, *, required: bool = False) -> "Table":
        """The table under `key`; an empty one if it is absent and not required."""
        value = self.values.get(key)
        if value is None and required:
            raise wrong(self.path, f"[{self._child(key)}] is missing")
        if not isinstance(value, dict | None):
            raise self._mistyped(key, "a table")
        return Table(value or {}, self.path, self._child(key))

    def tables(self) -> dict[str, "Table"]:
        """All values, which must be tables."""
        return {key: self.table(key) for key in self.values}

    def text(self, key: str) -> str | None:
        """The string under `key`, or None. A TOML date counts as its ISO form."""
        value = self.values.get(key)
        if isinstance(value, date):
            return value.isoformat()
        if not isinstance(value, str | None):
            raise self._mistyped(key, "a string")
        if value == "":
            raise wrong(self.path, f"{self._where(key)} is empty")
        return value

    def text_or_number(self, key: str, default: str) -> str | int:
        """The string or whole number under `key`."""
        value = self.values.get(key, default)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise self._mistyped(key, "a string or a whole number")
        return value

    def strings(self, key: str) -> list[str]:
        """The list of strings under `key`; empty if absent."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._mistyped(key, "a list of strings")
        return value

    def string_lists(self) -> dict[str, list[str]]:
        """All values, which must be lists of strings."""
        return {key: self.strings(key) for key in self.values}

    def _mistyped(self, key: str, wanted: str) -> HeirloomError:
        return wrong(self.path, f"{self._where(key)} is {self.values[key]!r}; it must be {wanted}")

    def _where(self, key: str) -> str:
        return f"[{self.name}] {key}" if self.name else key

    def _child(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key
