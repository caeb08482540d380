"""The file that describes a rig. Tests never name a port: they get the devices that are described here."""

import tomllib
from pathlib import Path

from heirloom.boards.model import DRIVERS
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.toml import Table, wrong
from heirloom.hil.drivers.resource import Resource

POWER = ("on", "off", "cycle")
RESETS = ("power", "soft")
_KEYS = (
    "driver", "board", "definition", "image", "serial-number", "hub-port", "power", "reset", "network", "password-env",
    "host", "by-stick",
)  # fmt: skip
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_MAX_NAME = 64


def read(path: Path) -> list[Resource]:
    """The devices of a rig, in the order of the file.

    Raises:
        HeirloomError: The file is missing or wrong; the message names the key.
    """
    try:
        top = Table(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as exc:
        raise os_error(exc, f"cannot read the rig {path}") from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise wrong(path, f"it is not TOML: {exc}") from exc
    top.only("devices")
    found = [_resource(name, table) for name, table in top.table("devices", required=True).tables().items()]
    if not found:
        raise wrong(path, "it describes no device; write a table [devices.NAME] for each")
    _check_unique(path, found)
    return found


def _resource(name: str, table: Table) -> Resource:
    table.only(*_KEYS)
    if not name or len(name) > _MAX_NAME or not set(name) <= _NAME or name[0] in ".-":
        raise wrong(table.path, f"[{table.name}]: {name!r} is no name; letters, digits and . _ - (at most {_MAX_NAME})")
    driver, board = _required(table, "driver"), _required(table, "board")
    if driver not in DRIVERS:
        raise wrong(table.path, f"[{table.name}] driver is {driver!r}; known are {', '.join(DRIVERS)}")
    reset = table.text("reset") or "power"
    if reset not in RESETS:
        raise wrong(table.path, f"[{table.name}] reset is {reset!r}; known are {', '.join(RESETS)}")
    made = Resource(
        name=name,
        driver=driver,
        board=board,
        definition=_path(table, "definition"),
        image=_path(table, "image"),
        serial_number=table.text("serial-number"),
        hub_port=table.text("hub-port"),
        power=_power(table),
        reset=reset,
        network=table.text("network"),
        password_env=table.text("password-env"),
        host=table.text("host"),
        by_stick=_flag(table, "by-stick"),
    )
    _check(made, table)
    return made


def _required(table: Table, key: str) -> str:
    value = table.text(key)
    if value is None:
        raise wrong(table.path, f"[{table.name}] {key} is missing")
    return value


def _flag(table: Table, key: str) -> bool:
    value = table.values.get(key, False)
    if not isinstance(value, bool):
        raise wrong(table.path, f"[{table.name}] {key} is {value!r}; it must be true or false")
    return value


def _path(table: Table, key: str) -> Path | None:
    """A path in the file is relative to the file."""
    value = table.text(key)
    return None if value is None else table.path.absolute().parent / Path(value).expanduser()


def _power(table: Table) -> dict[str, list[str]]:
    power = table.table("power")
    power.only(*POWER)
    found = {key: power.strings(key) for key in power.values}
    for key, argv in found.items():
        if not argv:
            raise wrong(table.path, f"[{power.name}] {key} is empty; it is a program with its arguments")
    return found


def _check(made: Resource, table: Table) -> None:
    """What the keys must be to each other, and what they say of a board that is known."""
    place = f"[{table.name}]"
    try:
        model = made.load_board()
    except HeirloomError as exc:
        raise wrong(table.path, f"{place} board: {exc.message}") from exc
    if made.driver != "serial":
        if model.driver != made.driver:
            raise wrong(table.path, f"{place} driver is {made.driver}, and {made.board} is driven by {model.driver}")
        for key in ("serial-number", "hub-port", "power", "network", "host", "password-env"):
            if key in table.values:
                raise wrong(table.path, f"{place} {key} is for physical devices, and the driver is {made.driver}")
        return
    if model.simulated:
        raise wrong(table.path, f"{place} board {made.board} is a simulated one, and the driver is serial")
    if (made.serial_number is None) == (made.hub_port is None):
        raise wrong(table.path, f"{place} needs serial-number or hub-port, one of both; a tty is no name for a device")
    if made.power and not ("cycle" in made.power or {"on", "off"} <= made.power.keys()):
        raise wrong(table.path, f"[{table.name}.power] needs on and off, or cycle")
    if made.reset == "power" and not made.power:
        raise wrong(table.path, f'{place} has no [power]; say reset = "soft", or how its power is switched')
    if made.network is not None and made.host is None:
        raise wrong(table.path, f"{place} network needs host: the address of this machine on that network")


def _check_unique(path: Path, found: list[Resource]) -> None:
    """Two names for one device would defeat its lock."""
    for key in ("serial_number", "hub_port"):
        seen: dict[str, str] = {}
        for one in found:
            value = getattr(one, key)
            if value is not None and value in seen:
                what = key.replace("_", " ")
                raise wrong(path, f"[devices.{one.name}] has the {what} of [devices.{seen[value]}]")
            if value is not None:
                seen[value] = one.name
