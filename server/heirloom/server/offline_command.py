"""`heirloom bundle`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing.options import Boards

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.server.offline import Bundled


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("bundle")(bundle_command)


def bundle_command(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder, or with --file a file, that does not exist yet.")
    ],
    board: Boards = None,
    channel: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Only what this channel serves. Default: what any does.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", metavar="VERSION", help="Only this release; some channel must serve it.")
    ] = None,
    single: Annotated[
        bool, typer.Option("--file", help="One file, heirloom.tar by custom, which devices read as it is.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="Any whole copy of a repository, as an archive. Default: the project's.",
        ),
    ] = None,
) -> None:
    """Write all that boards need for an update to a stick, a card, or a folder that is mounted over serial.

    Devices check it as they check a server. Nothing is signed: it is as fresh as the repository is.
    """
    from heirloom.server import offline
    from heirloom.signing.keys import KeyStore
    from heirloom.signing.metadata import utc_now

    anchor = None
    if source is None:
        project = Project.load()
        source, anchor = project.repository, KeyStore(project.keys_dir()).anchor()
    wish = offline.Wish(board or (), channel, release)
    made = offline.bundle(source, anchor, out, wish, utc_now(), single=single)
    emit(made, lambda console: _show(console, made))


def _show(console: "Console", made: "Bundled") -> None:
    lines = [f"{made.bundle}: {made.product}, {made.files} files, {made.bytes} bytes"]
    lines += [f"  {board}: {', '.join(versions)}" for board, versions in made.releases.items()]
    lines.append(
        f"Devices take it until {made.accepted_until}, when {made.limited_by} expires; after that, once, when their"
        " owner says so beside the device."
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)
