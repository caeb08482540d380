"""`heirloom demo`: the story, told on a terminal or as data."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer


def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Leave everything in this new or empty folder, for the curious.")
    ] = None,
) -> None:
    """Tell the whole story once, on a simulated device that runs real MicroPython.

    Keys, a first release, updates, a release that crashes, attacks and a power cut. What is claimed is read back from
    the device. Nothing leaves this machine. Exit code 0 only if every claim held.
    """
    from heirloom.cli import output
    from heirloom.cli.context import current
    from heirloom.cli.errors import UsageError

    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(f"{keep} is not an empty folder", "name a new one")
    with ExitStack() as stack:
        if keep is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heirloom-demo-")))
        else:
            directory = keep.absolute()
            directory.mkdir(parents=True, exist_ok=True)
        document = _tell(directory, silent=current().json or current().capture, guide=keep is not None)
    if current().json or current().capture:
        output.emit(document)
    if keep is not None:
        output.note(f"everything is in {keep}: README.txt there says how to go on")
    if not document["ok"]:
        raise typer.Exit(1)


def _tell(directory: Path, *, silent: bool, guide: bool) -> dict[str, object]:
    """The story, in `directory`; returns it as data. guide: leave directions for who looks at it later."""
    from rich.console import Console

    from heirloom.hil.demo.narrator import Narrator
    from heirloom.hil.demo.stage import leave_guide, stage
    from heirloom.hil.demo.story import Story

    narrator = Narrator(None if silent else Console(highlight=False))
    with stage(directory) as (workshop, wire):
        if guide:
            leave_guide(workshop)
        Story(narrator, workshop, wire).tell()
    narrator.conclude()
    return narrator.document()
