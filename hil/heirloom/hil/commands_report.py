"""`heirloom hil report`."""

from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.files import write_atomic
from heirloom.cli.output import emit


def report_command(
    run: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, metavar="FOLDER", help="What a run left: JUnit XML and more."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page. Default: report.html in the folder."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Its title. Default: the folder's name.")] = None,
) -> None:
    """Make one HTML page of a run: tests, skips, the map of power cuts, attacks, the timeline of each device."""
    from heirloom.hil.reporting import collect, render

    found = collect(run, title)
    path = output or run / "report.html"
    write_atomic(path, render(found).encode())
    emit(
        {"report": path, "cases": len(found.cases), "devices": len(found.timelines)},
        lambda console: console.print(
            f"{path}: {len(found.cases)} tests, {len(found.timelines)} devices", markup=False
        ),
    )
