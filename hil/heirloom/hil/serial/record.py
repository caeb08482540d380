"""unit.toml: a unit of the project that is reached by a port. No secret is in it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from heirloom.boards import Board, load
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.toml import Table, wrong
from heirloom.hil.serial.ports import Port

FILE_NAME = "unit.toml"


@dataclass(frozen=True)
class Record:
    """A unit as the project knows it.

    Attributes:
        name: Its name for people.
        board: Name of its board.
        id: `machine.unique_id()` in hexadecimal.
        port: Where it was seen last; a USB device is found again by its serial number or hub port.
        definition: File of an own board, absolute.
    """

    name: str
    board: str
    id: str
    port: Port
    definition: Path | None = None

    def load_board(self) -> Board:
        """The board."""
        return load(self.board, self.definition)

    def write(self, folder: Path) -> None:
        """Write unit.toml into `folder`."""
        document = tomlkit.document()
        for key in ("name", "board", "id"):
            document.add(key, getattr(self, key))
        if self.definition is not None:
            document.add("definition", str(self.definition))
        table = tomlkit.table()
        for key in ("device", "serial_number", "location", "vendor", "product"):
            value = getattr(self.port, key)
            if value is not None:
                table.add(key, value)
        document.add("port", table)
        write_atomic(folder / FILE_NAME, tomlkit.dumps(document).encode())


def read(folder: Path) -> Record:
    """The record in `folder`.

    Raises:
        HeirloomError: The file is missing or wrong; the message names the key.
    """
    path = folder / FILE_NAME
    try:
        table = Table(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise wrong(path, f"it is not TOML: {exc}") from exc
    table.only("name", "board", "id", "definition", "port")
    port = table.table("port", required=True)
    port.only("device", "serial_number", "location", "vendor", "product")
    definition = table.text("definition")
    return Record(
        name=_required(table, "name"),
        board=_required(table, "board"),
        id=_required(table, "id"),
        port=Port(
            _required(port, "device"),
            port.text("serial_number"),
            port.text("location"),
            _number(port, "vendor"),
            _number(port, "product"),
        ),
        definition=Path(definition) if definition else None,
    )


def _required(table: Table, key: str) -> str:
    value = table.text(key)
    if value is None:
        raise wrong(table.path, f"{key} is missing")
    return value


def _number(table: Table, key: str) -> int | None:
    value = table.values.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise wrong(table.path, f"[{table.name}] {key} is {value!r}; it must be a whole number")
    return value


def exists(folder: Path) -> bool:
    """Whether the folder is one of a unit at a port."""
    return (folder / FILE_NAME).is_file()


def check_is_unit(folder: Path, name: str) -> None:
    """Refuse a folder that is taken by a simulated device.

    Raises:
        HeirloomError: It is.
    """
    if folder.exists() and any(folder.iterdir()) and not exists(folder):
        raise HeirloomError(
            f"device {name} exists already, and is simulated", "choose another name, or leave --port out"
        )
