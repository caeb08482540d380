"""`heirloom hil powercut`."""

import secrets
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli import output
from heirloom.cli.errors import UsageError
from heirloom.cli.files import os_error

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.hil.powercut.sweep import Result


def _complete_phase() -> list[str]:
    from heirloom.hil.powercut.scene import PHASES

    return [phase.name for phase in PHASES]


def powercut_command(
    phase: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=_complete_phase, help="install, update, rollback, repair; may be repeated. Default: all."
        ),
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, help="Different cuts in each phase.")] = 1000,
    pairs: Annotated[int, typer.Option(min=0, help="Second cuts in each phase, during what follows a first one.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="For what is at random. Default: another each time.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Devices at a time.")] = 2,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the flash of each case that went wrong, in a new folder."),
    ] = None,
) -> None:
    """Cut the power of a simulated device everywhere: at, and inside, each flash operation of its life.

    Exit code 1 if a device did not survive. Makes a product of its own; needs no project.
    """
    from heirloom.hil.powercut.scene import phases, scene
    from heirloom.hil.powercut.sweep import Sweep

    swept = phases(phase or [])
    with _folder(keep) as folder:
        directory = Path(folder)
        (directory / "scene").mkdir()
        with output.progress("making a product") as bar, scene(directory / "scene", bar.describe) as made:
            chosen = secrets.randbits(31) if seed is None else seed
            result = Sweep(made, directory, cuts, pairs, chosen, jobs, bar.describe).run(swept)
    output.emit(result, lambda console: _show(console, result, keep))
    if result.problems:
        raise typer.Exit(1)


def _folder(keep: Path | None) -> "tempfile.TemporaryDirectory[str] | nullcontext[str]":
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="heirloom-")
    if keep.exists():
        raise UsageError(f"{keep} exists already", "name a new folder")
    try:
        keep.mkdir(parents=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {keep}") from exc
    return nullcontext(str(keep))


def _show(console: "Console", result: "Result", keep: Path | None) -> None:
    for name, tally in result.phases.items():
        console.print(
            f"{name:10} {tally.operations} flash operations, {tally.cuts} cuts, {tally.pairs} pairs:"
            f" {tally.starts} different flashes started",
            markup=False,
        )
    for name, what in result.problems.items():
        console.print(f"\nLOST {name}\n{output.printable(what)}", markup=False, soft_wrap=True)
    verdict = f"{len(result.problems)} devices lost" if result.problems else "every device lives"
    console.print(
        f"\n{result.cuts} cuts, {result.starts} starts in {result.seconds:.0f} s, seed {result.seed}: {verdict}",
        markup=False,
        soft_wrap=True,
    )
    if result.problems:
        advice = f"their flashes are in {keep / 'problems'}" if keep else "--keep FOLDER keeps their flashes"
        console.print(advice, markup=False, soft_wrap=True)
