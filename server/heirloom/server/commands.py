"""Commands of the repository: publish, channels, renew, status, serve, get."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.server import archive_commands, commands_ceremony, offline_command, will_commands
from heirloom.signing import completion
from heirloom.signing.options import Boards, DryRun, PassphraseFd, PinFd

if TYPE_CHECKING:
    from heirloom.server.publish import Publisher

_Version = Annotated[str, typer.Argument(autocompletion=completion.versions, help="A version, as in 1.0.0.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group(app, "release", "Build, sign and publish releases.").command("publish")(publish_command)
    channel = group(app, "channel", "Say which release each channel serves.")
    channel.command("set")(channel_set_command)
    channel.command("show")(channel_show_command)
    commands_ceremony.register(group(app, "ceremony", "Ceremonies: people who change keys and roles together."))
    app.command("status")(status_command)
    app.command("serve")(serve_command)
    app.command("renew")(renew_command)
    app.command("get")(get_command)
    will_commands.register(app)
    archive_commands.register(app)
    offline_command.register(app)


def publish_command(
    version: _Version,
    board: Boards = None,
    channel: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Point this channel to it in the same step.")
    ] = None,
    stage: Annotated[
        Path | None,
        typer.Option(
            "--stage",
            metavar="FOLDER",
            help="Only put it into this new folder, to upload to where the online keys are; needs no keys.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Publish what arrived in this folder, made by --stage."),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Publish a signed release: clients see all of it or nothing.

    Run again, it completes what was cut short.
    """
    from heirloom.server import report, staging

    if stage is not None:
        if channel or source:
            raise UsageError("--stage goes with neither --channel nor --from", "say those where it is published")
        report.staged(staging.stage(Project.load(), version, board or (), stage, dry_run=dry_run))
        return
    publisher = _publisher(passphrase_fd, pin_fd, dry_run=dry_run)
    project = publisher.project
    if source is not None:
        publisher.project = staging.staged_project(project, source)
    published = publisher.publish(version, board or (), channel)
    if source is not None and not dry_run:
        new = [(moved.board, moved.version) for moved in published.moved if not moved.channel]
        staging.keep_origins(project, source, new)
    report.published(published)


def channel_set_command(
    channel: Annotated[str, typer.Argument(help="As in stable.")],
    version: _Version,
    board: Boards = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Point a channel to a published release: devices on that channel will install it."""
    from heirloom.server import report

    publisher = _publisher(passphrase_fd, pin_fd, dry_run=dry_run)
    report.published(publisher.set_channel(channel, version, board or ()))


def channel_show_command(board: Boards = None) -> None:
    """Show which release each channel serves."""
    from heirloom.server import report

    repository = _publisher().repository()
    report.channels({name: repository.channels(name) for name in board or repository.boards()})


def renew_command(
    everything: Annotated[
        bool,
        typer.Option("--all", help="Sign all online roles anew, also those with more than half of their life left."),
    ] = False,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Sign a new timestamp, and what else of the online roles is due. For a scheduled job in place of a server."""
    from heirloom.server import report

    report.published(_publisher(passphrase_fd, pin_fd, dry_run=dry_run).renew(everything=everything))


def status_command() -> None:
    """Show what expires when, who can renew it, and what each channel serves.

    Exit code 3 if something needs attention.
    """
    from heirloom.server import report, status
    from heirloom.signing.metadata import utc_now

    found = status.read(Project.load(), utc_now())
    emit(found, lambda console: report.status(console, found))
    if found.attention:
        raise typer.Exit(3)


def serve_command(
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; 0.0.0.0 is all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any free port.")] = 8000,
    no_renew: Annotated[bool, typer.Option("--no-renew", help="Do not keep the timestamp fresh.")] = False,
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository", metavar="FOLDER", help="Serve this folder, without a project and without renewing."
        ),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="One line for each request, on stderr.")] = False,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
) -> None:
    """Serve the repository over HTTP and keep its timestamp fresh, until stopped by Ctrl-C or SIGTERM."""
    from heirloom.server import running

    if repository is not None:
        running.serve_folder(repository, host, port, log=log)
    else:
        running.serve_project(_publisher(passphrase_fd, pin_fd), host, port, renew=not no_renew, log=log)


def get_command(
    board: Annotated[str, typer.Argument(help="As in RPI_PICO_W.")],
    channel: Annotated[str, typer.Option("--channel", metavar="CHANNEL")] = "stable",
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where the repository is. Default: the project's places.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to put it. Default: BOARD-CHANNEL.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FILE", help="The root to trust. Default: the project's first.")
    ] = None,
) -> None:
    """Fetch the release that a channel serves, verified as any TUF client would. Goes on where it was interrupted."""
    from heirloom.server import getting

    getting.run(board, channel, url, out or Path(f"{board}-{channel}"), root)


def _publisher(passphrase_fd: int | None = None, pin_fd: int | None = None, *, dry_run: bool = False) -> "Publisher":
    from heirloom.server.publish import Publisher
    from heirloom.signing.passphrases import Passphrases

    return Publisher(Project.load(), Passphrases(passphrase_fd, pin_fd), dry_run=dry_run)
