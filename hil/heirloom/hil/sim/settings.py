"""device.toml: what a simulated device is, apart from its flash."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from heirloom.boards import Board, load
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.toml import Table, wrong
from heirloom.hil.sim.page import MAX_BLOCKS

FILE_NAME = "device.toml"
SSID = "heirloom-sim"
HEAP = "181k"  # 160k for the board, and 21k for what stands in for its hardware and is C on a real one
CLOCKS = ("board", "host")


@dataclass(frozen=True)
class Settings:
    """A simulated device.

    Attributes:
        board: Name of the board.
        name: Name of the device, for people.
        id: What `machine.unique_id()` gives, in hexadecimal.
        definition: File of an own board, absolute.
        heap: MicroPython's heap as for `-X heapsize=`.
        clock: "board": the clock starts where the chip's does; "host": it is right from the start.
        ssid: The network in reach.
        password: Its password; None accepts any.
        hosts: Names that the device can resolve: "name" or "name:port" to "127.0.0.1" or "127.0.0.1:port".
    """

    board: str
    name: str
    id: str
    definition: Path | None = None
    heap: str = HEAP
    clock: str = "board"
    ssid: str = SSID
    password: str | None = None
    hosts: dict[str, str] = field(default_factory=dict)

    def load_board(self) -> Board:
        """The board.

        Raises:
            HeirloomError: It is unknown, not a simulated one, or too large.
        """
        board = load(self.board, self.definition)
        if not board.simulated:
            raise HeirloomError(f"{self.board} is not a simulated board", "see `heirloom board list`")
        if board.flash.block_count > MAX_BLOCKS:
            raise HeirloomError(f"the file system of {self.board} has over {MAX_BLOCKS} blocks, too many to simulate")
        return board

    def write(self, folder: Path) -> None:
        """Write device.toml into `folder`."""
        document = tomlkit.document()
        for key in ("board", "name", "id", "heap", "clock"):
            document.add(key, getattr(self, key))
        if self.definition is not None:
            document.add("definition", str(self.definition))
        network = tomlkit.table()
        network.add("ssid", self.ssid)
        if self.password is not None:
            network.add("password", self.password)
        document.add("network", network)
        hosts = tomlkit.table()
        for name, place in self.hosts.items():
            hosts.add(tomlkit.key(name), place)
        document.add("hosts", hosts)
        write_atomic(folder / FILE_NAME, tomlkit.dumps(document).encode())


def read(folder: Path) -> Settings:
    """The settings in `folder`.

    Raises:
        HeirloomError: The file is missing or wrong; the message names the key.
    """
    path = folder / FILE_NAME
    try:
        table = Table(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError as exc:
        raise HeirloomError(f"no simulated device in {folder}", "make one with `heirloom device new NAME`") from exc
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise wrong(path, f"it is not TOML: {exc}") from exc
    return _parse(table)


def _parse(table: Table) -> Settings:
    table.only("board", "name", "id", "definition", "heap", "clock", "network", "hosts")
    network = table.table("network")
    network.only("ssid", "password")
    clock = table.text("clock") or "board"
    if clock not in CLOCKS:
        raise wrong(table.path, f"clock is {clock!r}; known are {', '.join(CLOCKS)}")
    definition = table.text("definition")
    return Settings(
        board=_required(table, "board"),
        name=_required(table, "name"),
        id=_identity(table),
        definition=Path(definition) if definition else None,
        heap=table.text("heap") or HEAP,
        clock=clock,
        ssid=network.text("ssid") or SSID,
        password=network.text("password"),
        hosts=_hosts(table.table("hosts")),
    )


def _required(table: Table, key: str) -> str:
    value = table.text(key)
    if value is None:
        raise wrong(table.path, f"{key} is missing")
    return value


def _identity(table: Table) -> str:
    value = _required(table, "id")
    try:
        return bytes.fromhex(value).hex()
    except ValueError as exc:
        raise wrong(table.path, f"id is {value!r}; it must be hexadecimal") from exc


def _hosts(table: Table) -> dict[str, str]:
    hosts = {}
    for name in table.values:
        place = table.text(name) or ""
        if place.partition(":")[0] != "127.0.0.1":
            raise wrong(table.path, f"[hosts] {name} is {place!r}; a simulated board only reaches 127.0.0.1[:PORT]")
        hosts[name] = place
    return hosts
