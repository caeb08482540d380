"""How results of the commands are shown."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from heirloom.cli.output import emit
from heirloom.signing.metadata import time_text

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.server.get import Fetched
    from heirloom.server.publish import Published
    from heirloom.server.staging import Staged
    from heirloom.server.status import Status

_STATES = {"ok": "ok", "soon": "[yellow]soon[/]", "expired": "[red]expired[/]"}


def published(result: "Published") -> None:
    """Say what a commit brought."""
    emit(result, lambda console: console.print("\n".join(_published(result)), markup=False))


def _published(result: "Published") -> Iterator[str]:
    if result.completed:
        yield "Completed an earlier commit that had been cut short."
    will = "would be" if result.dry_run else "is now"
    for moved in result.moved:
        what = (
            f"channel {moved.channel} of {moved.board} {will} at" if moved.channel else f"{moved.board} {will} offered"
        )
        yield f"{what[0].upper()}{what[1:]} {moved.version}"
    if not (result.files or result.completed):
        yield "Nothing to do: it is so already"
    yield f"Timestamp {result.timestamp} is valid until {time_text(result.expires)}"


def staged(result: "Staged") -> None:
    """Say what waits for uploading."""
    emit(result, lambda console: console.print("\n".join(_staged(result)), markup=False, soft_wrap=True))


def _staged(result: "Staged") -> Iterator[str]:
    would = "would be" if result.dry_run else "is"
    for board, versions in result.boards.items():
        yield f"{', '.join(versions)} for {board} {would} in {result.folder}"
    yield f"{result.size} bytes; upload the folder, and there: heirloom release publish VERSION --from FOLDER"


def channels(boards: Mapping[str, Mapping[str, str]]) -> None:
    """Show which release each channel serves."""
    emit({"boards": boards}, lambda console: _show_channels(console, boards))


def _show_channels(console: "Console", boards: Mapping[str, Mapping[str, str]]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for board, pointers in boards.items():
        for channel, version in pointers.items():
            table.add_row(board, channel, version)
    if table.row_count:
        console.print(table)
    else:
        console.print("No channel points anywhere yet: heirloom channel set stable VERSION", markup=False)


def status(console: "Console", found: "Status") -> None:
    """Draw the status of a repository."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for role in sorted(found.roles, key=lambda role: role.expires):
        expires = f"{role.expires:%Y-%m-%d %H:%M} UTC"
        table.add_row(role.role, str(role.version), _STATES[role.state], expires, escape(role.renew))
    console.print(table)
    for board in found.boards:
        pointers = ", ".join(f"{channel} {version}" for channel, version in board.channels.items())
        console.print(f"\n{board.board}: {pointers or 'no channel points anywhere yet'}", markup=False)
    for one in found.ceremonies:
        waiting = f"waits for {', '.join(one.waiting)}" if one.waiting else "complete: `heirloom ceremony finish`"
        console.print(f"\nCeremony {one.ceremony}: {one.problem or waiting}", markup=False, soft_wrap=True)
    if found.will is not None:
        console.print(f"\nWill for root {found.will.root}: {found.will.state}, {found.will.reason}", markup=False)
    for line in found.attention:
        console.print(f"\n[yellow]attention[/] {escape(line)}")


def fetched(result: "Fetched") -> None:
    """Say what was fetched."""
    emit(
        result,
        lambda console: console.print(
            f"{result.version} for {result.board} is in {result.directory}: {result.files} files, verified; "
            f"{result.bytes_fetched} bytes came from {result.url}",
            markup=False,
            soft_wrap=True,
        ),
    )
