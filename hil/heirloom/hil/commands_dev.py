"""`heirloom dev`: the source folder on a device, over its serial line, nothing signed and nothing written there."""

import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.output import emit, note
from heirloom.cli.project import Project


def dev_command(
    name: Annotated[str | None, typer.Argument(help="The device. Default: the project's only one.")] = None,
    source: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Default: [app] source.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--for", metavar="S", help="End after so many seconds.")] = None,
) -> None:
    """Run the source folder on a device, over its serial line, and again on each save. Ctrl-C ends.

    Nothing is signed, and nothing of the application is written on the device: the folder of this machine is mounted
    at /app. What the application keeps ([app] keep) is written to .heirloom/dev. Afterwards a hard reset brings the
    signed release back.
    """
    from heirloom.hil import devices
    from heirloom.hil.serial.dev import Development
    from heirloom.hil.serial.line import Line
    from heirloom.hil.serial.repl import SerialRepl

    project = Project.load()
    chosen = name or _only(devices.names(project))
    folder = source or project.app.source
    if not (folder / "main.py").is_file():
        raise HeirloomError(f"there is no main.py in {folder}", "name the application's folder with --source")
    data = project.state_dir / "dev" / chosen
    with closing(devices.open_unit(project, chosen)) as unit, unit.serial_port() as port, Line(port) as line:
        repl = SerialRepl(line, chosen, reset_line=unit.board.hardware.flashing == "esptool")
        session = Development(repl, folder, project.app.keep, data, _show, note)
        note(f"{folder} runs on {chosen} ({port}); Ctrl-C ends")
        try:
            with suppress(KeyboardInterrupt):
                session.loop(seconds)
        finally:
            session.restore()
    emit({"device": chosen, "source": folder, "runs": session.runs})


def _only(names: list[str]) -> str:
    if len(names) != 1:
        have = ", ".join(names) or "none"
        raise UsageError(f"which device? The project has {have}", "name it, or make one with `heirloom device new`")
    return names[0]


def _show(text: str) -> None:
    from heirloom.cli.context import current

    stream = sys.stderr if current().json else sys.stdout
    stream.write(text)
    stream.flush()
