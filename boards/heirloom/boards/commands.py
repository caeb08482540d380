"""Commands about board models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.boards.model import Board


def register(app: typer.Typer) -> None:
    """Add `board` to the program."""
    board = group(app, "board", "Models of boards: what they are and what they can do.")
    board.command("list")(list_command)
    board.command("show")(show_command)
    board.command("check")(check_command)
    board.command("image")(image_command)


def list_command() -> None:
    """List the boards that come with this program and those of the project."""
    found = list(_known().values())
    emit({"boards": [_summary(board) for board in found]}, lambda console: _show_list(console, found))


def show_command(name: Annotated[str, typer.Argument(help="A board, as in RPI_PICO_W.")]) -> None:
    """Show all that is known about a board."""
    emit(_details(_named(name)))


def check_command(
    file: Annotated[Path, typer.Argument(help="A board definition of your own (TOML).", exists=True, dir_okay=False)],
) -> None:
    """Check a board definition of your own."""
    from heirloom.boards.definition import load

    emit(_details(load(file.stem, file.absolute())))


def image_command(
    file: Annotated[Path, typer.Argument(help="A .bin, .app-bin, .uf2 or littlefs.", exists=True, dir_okay=False)],
    board: Annotated[str | None, typer.Option(metavar="NAME", help="It must be right for this board.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Accept under 5 % of a slot left free.")] = False,
    app: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="OUT", help="Write the app alone, as sent over the air.")
    ] = None,
    flash: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="OUT", help="Write a whole flash in the layout of --board.")
    ] = None,
) -> None:
    """Say what a firmware or file system image is, check it, and cut or lay it out anew."""
    from heirloom.boards.images import esp32, inspect
    from heirloom.cli.files import os_error, write_atomic

    try:
        data = file.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {file}") from exc
    model = _named(board) if board else None
    if flash is not None and model is None:
        raise UsageError("--flash needs a layout", "say which board it is for with --board")
    described = inspect.describe(data, model, force=force)
    written = []
    if app is not None or flash is not None:
        parts = esp32.split(data, model.chip if model else None)
        outputs = [(app, parts.app), (flash, esp32.whole_flash(model, parts) if flash and model else b"")]
        for path, content in outputs:
            if path is not None:
                write_atomic(path, content)
                written.append(path)
    emit({"file": file, **described, "written": written})


def _known() -> "dict[str, Board]":
    from heirloom.boards.definition import load, names

    boards = {name: load(name) for name in names()}
    for name, definition in _own_definitions().items():
        boards[name] = load(name, definition)
    return boards


def _named(name: str) -> "Board":
    from heirloom.boards.definition import load

    return load(name, _own_definitions().get(name))


def _own_definitions() -> dict[str, Path]:
    from heirloom.cli.project import Project, find

    if find() is None:
        return {}
    settings = Project.load().boards.items()
    return {name: board.definition for name, board in settings if board.definition is not None}


def _summary(board: "Board") -> dict[str, object]:
    return {
        "name": board.name,
        "chip": board.chip,
        "driver": board.driver,
        "description": board.description,
        "tested": board.tested,
    }


def _details(board: "Board") -> dict[str, object]:
    from heirloom.boards.images.inspect import places

    layout, table = board.flash, board.partitions
    return {
        **_summary(board),
        "arch": board.arch,
        "mpy": board.mpy,
        "capabilities": sorted(board.capabilities),
        "flashing": board.hardware.flashing,
        "flash": {"size": layout.size, "block_size": layout.block_size, "page_size": layout.page_size},
        "filesystem": {
            "offset": f"{layout.offset:#x}",
            "block_count": layout.block_count,
            "size": layout.filesystem_size,
            "program_size": layout.program_size,
        },
        "partitions": places(table) if table else {},
        "definition": board.definition,
    }


def _show_list(console: "Console", boards: "list[Board]") -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for board in boards:
        table.add_row(board.name, board.chip, board.driver, board.description, "" if board.tested else "untested")
    console.print(table)
