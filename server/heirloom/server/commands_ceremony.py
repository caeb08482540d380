"""`heirloom ceremony finish`."""

from typing import TYPE_CHECKING

import typer

from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing.commands_ceremony import Folder
from heirloom.signing.options import DryRun, PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.server.finishing import Finished


def register(app: typer.Typer) -> None:
    """Add the command to the group `ceremony`."""
    app.command("finish")(finish_command)


def finish_command(
    ceremony: Folder = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Publish a ceremony that enough holders have signed. Run again, it completes what was cut short."""
    from heirloom.server.finishing import Finisher
    from heirloom.signing.ceremony import place
    from heirloom.signing.passphrases import Passphrases

    project = Project.load()
    found = place.choose(ceremony, project)
    result = Finisher(project, Passphrases(passphrase_fd, pin_fd)).finish(found, dry_run=dry_run)
    emit(result, lambda console: _show(console, result))


def _show(console: "Console", result: "Finished") -> None:
    will = "would be" if result.dry_run else "is"
    if result.files:
        console.print(f"Ceremony {result.ceremony} {will} published: {', '.join(result.files)}", markup=False)
    else:
        console.print(f"Ceremony {result.ceremony} was published already.", markup=False)
    for name in result.project_file:
        console.print(f"heirloom.toml: {name} is up to date", markup=False)
