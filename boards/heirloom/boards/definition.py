"""Board definitions: TOML files named after the board, one board may `extends` another.

    description = "Our own board"
    extends = "RPI_PICO_W"          # a known board, or "other.toml" beside this file

    [filesystem]                    # only what differs
    block_count = 128

The definitions beside this file, in `definitions/`, are the known boards.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from heirloom.boards import layout
from heirloom.boards.chips import CHIPS
from heirloom.boards.model import ARCHITECTURES, CAPABILITIES, DRIVERS, Board
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.toml import Table, wrong

DEFINITIONS = Path(__file__).with_name("definitions")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BOARD = (
    "description", "extends", "chip", "driver", "arch", "mpy", "capabilities", "tested", "machine",
    "flash", "filesystem", "partitions",
)  # fmt: skip


def names() -> list[str]:
    """The boards that come with this program."""
    return sorted(path.stem for path in DEFINITIONS.glob("*.toml"))


def load(name: str, definition: Path | None = None) -> Board:
    """The board `name`.

    Args:
        name: One of `names()`, or any name with `definition`.
        definition: A file of one's own that describes it.

    Raises:
        HeirloomError: There is no such board, or its file is wrong; the message names file and key.
    """
    if not _NAME.fullmatch(name):
        raise HeirloomError(f"{name!r} is no board name", "letters, digits and . _ - (at most 64)")
    path = definition or DEFINITIONS / f"{name}.toml"
    if definition is None and not path.is_file():
        raise HeirloomError(f"no board {name}", f"known are {', '.join(names())}; `board check FILE` tests your own")
    return _board(name, path, _resolve(path, ()))


def _resolve(path: Path, seen: tuple[Path, ...]) -> dict[str, object]:
    """The content of the file over that of the one which it extends."""
    if path in seen:
        raise wrong(seen[0], f"extends goes in a circle: {' -> '.join(p.stem for p in (*seen, path))}")
    document = _read(path)
    top = Table(document, path)
    top.only(*_BOARD)
    layout.check_keys(top)
    base = top.text("extends")
    if base is None:
        return document
    below = _resolve(_base_path(path, base), (*seen, path))
    below.pop("tested", None)  # what ran on that board says nothing about this one
    return _merge(below, document)


def _base_path(path: Path, base: str) -> Path:
    other = path.parent / base if base.endswith(".toml") else DEFINITIONS / f"{base}.toml"
    if not other.is_file():
        raise wrong(path, f"extends names {base!r}, which is neither a known board nor a file beside it")
    return other.resolve()


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except UnicodeDecodeError as exc:
        raise HeirloomError(f"{path} is not UTF-8 text", "save it as UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise HeirloomError(f"{path} is not TOML: {exc}") from exc


def _merge(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _board(name: str, path: Path, document: Mapping[str, object]) -> Board:
    table = Table(document, path)
    mpy = _required(table, "mpy")
    if not re.fullmatch(r"\d+\.\d+", mpy):
        raise wrong(path, f'mpy is {mpy!r}; it must be a version such as "6.3"')
    capabilities = table.strings("capabilities")
    for capability in capabilities:
        if capability not in CAPABILITIES:
            raise wrong(path, f"capabilities has {capability!r}; known are {', '.join(CAPABILITIES)}")
    chip = _one_of(table, "chip", tuple(CHIPS))
    flash = layout.flash(table)
    partitions = layout.partition_table(table, flash, CHIPS[chip])
    if "firmware-ota" in capabilities:
        layout.check_firmware_ota(table, partitions)
    return Board(
        name=name,
        description=_required(table, "description"),
        chip=chip,
        driver=_one_of(table, "driver", DRIVERS),
        arch=_one_of(table, "arch", ARCHITECTURES),
        mpy=mpy,
        capabilities=frozenset(capabilities),
        flash=flash,
        partitions=partitions,
        tested=table.text("tested"),
        definition=path,
        machine=table.text("machine"),
    )


def _required(table: Table, key: str) -> str:
    value = table.text(key)
    if value is None:
        raise wrong(table.path, f"{key} is missing")
    return value


def _one_of(table: Table, key: str, known: tuple[str, ...]) -> str:
    value = _required(table, key)
    if value not in known:
        raise wrong(table.path, f"{key} is {value!r}; known are {', '.join(known)}")
    return value
