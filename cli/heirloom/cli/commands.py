"""Commands of the program itself."""

from typing import TYPE_CHECKING

import typer

from heirloom.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.cli.doctor import Check

_MARKS = {"ok": "[green]ok[/]", "absent": "[dim]absent[/]", "attention": "[yellow]attention[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("doctor")(doctor_command)


def doctor_command() -> None:
    """Check this machine and this project. Exit code 3 if something needs attention."""
    from heirloom.cli.doctor import checks

    found = list(checks())
    emit({"checks": found}, lambda console: _show(console, found))
    if any(check.state == "attention" for check in found):
        raise typer.Exit(3)


def _show(console: "Console", found: "list[Check]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for check in found:
        advice = f"\n[dim]{escape(check.advice)}[/]" if check.advice else ""
        table.add_row(check.name, _MARKS[check.state], escape(check.text) + advice)
    console.print(table)
