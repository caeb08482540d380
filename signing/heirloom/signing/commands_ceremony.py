"""`heirloom ceremony start|sign|status|abort`; `finish` publishes and belongs to the server."""

from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.output import confirm, emit, note
from heirloom.signing import completion
from heirloom.signing.options import DryRun, PassphraseFd, PinFd

Folder = Annotated[
    str | None,
    typer.Argument(metavar="[CEREMONY]", help="Its folder, or the start of its name or id. Default: the open one."),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="FILE", help="A root to trust, for signers without the project."),
]
_Many = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the commands to the group `ceremony`."""
    app.command("start")(start_command)
    app.command("sign")(sign_command)
    app.command("status")(status_command)
    app.command("abort")(abort_command)


def start_command(
    add_key: Annotated[_Many, typer.Option(metavar="ROLE=KEY", help="A key comes in: its file or name.")] = None,
    remove_key: Annotated[_Many, typer.Option(metavar="ROLE=KEY", help="A key goes.")] = None,
    replace_key: Annotated[_Many, typer.Option(metavar="OLD=NEW", help="In every role that has the old one.")] = None,
    threshold: Annotated[_Many, typer.Option(metavar="ROLE=N", help="How many must sign.")] = None,
    lost: Annotated[_Many, typer.Option(metavar="KEY", help="It goes from every role.")] = None,
    stolen: Annotated[_Many, typer.Option(metavar="KEY", help="It goes from every role, and says so.")] = None,
    renew: Annotated[_Many, typer.Option(metavar="ROLE", help="The same content with a fresh expiry.")] = None,
    board: Annotated[
        _Many, typer.Option(metavar="NAME", autocompletion=completion.known_boards, help="A board comes in.")
    ] = None,
    holder: Annotated[_Many, typer.Option(metavar="KEY=NAME", help="Who holds a key that comes in.")] = None,
    url: Annotated[_Many, typer.Option(metavar="URL", help="The places where devices look from now on.")] = None,
    epoch: Annotated[int | None, typer.Option(metavar="N", help="Every release of before orders below.")] = None,
    maker: Annotated[str | None, typer.Option(help="Who stands behind the product.")] = None,
    contact: Annotated[str | None, typer.Option(help="Where security problems are told.")] = None,
    support_until: Annotated[str | None, typer.Option(metavar="DATE", help="Until when there will be updates.")] = None,
    handover: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pass the product, or a board, on to those in this file.")
    ] = None,
    purpose: Annotated[str | None, typer.Option(help="A title, for the other signers.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Propose a change of keys, thresholds or roles. Needs no key; nothing changes until enough holders signed."""
    from heirloom.signing.ceremony import asking, report, starting

    said = asking.Said(
        add=add_key or (),
        remove=remove_key or (),
        replace=replace_key or (),
        lost=lost or (),
        stolen=stolen or (),
        thresholds=threshold or (),
        renew=renew or (),
        boards=board or (),
        holders=holder or (),
        urls=url or (),
        epoch=epoch,
        contact=contact,
        maker=maker,
        support_until=support_until,
        handover=handover,
    )
    report.started(starting.start(said, purpose, dry_run=dry_run))


def sign_command(
    ceremony: Folder = None,
    key: Annotated[_Many, typer.Option("--key", metavar="KEY", help="Sign with this one. Default: all here.")] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Of the ceremony that you looked at, if that was before.")
    ] = None,
    root: Root = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Look at what a ceremony changes, and sign it with your keys. Works offline, on a copy of the folder."""
    from heirloom.signing.ceremony import place, report, signing
    from heirloom.signing.passphrases import Passphrases

    here = place.here(Passphrases(passphrase_fd, pin_fd), root)
    found = place.choose(ceremony, here.project)
    base = signing.look(found, here)
    wanted = signing.choose_keys(found, base, here, key or [])
    shown = report.describe(found, base, here)
    if dry_run:
        report.shown(shown)
        return
    note(report.text(shown))
    confirm(f"Sign ceremony {found.short_id} with {', '.join(wanted.values())}?")
    written = signing.sign(found.path, id or found.id, here, wanted)
    report.signed(found, base, here, written)


def status_command(ceremony: Folder = None, root: Root = None) -> None:
    """Show what a ceremony changes, who signed, and who has to. Without one: all of them."""
    from heirloom.signing.ceremony import place, report

    here = place.here(root=root)
    if ceremony is None:
        report.overview(here)
        return
    found = place.choose(ceremony, here.project)
    report.status(found, here)


def abort_command(
    ceremony: Folder = None,
    reason: Annotated[str, typer.Option(help="For the others.")] = "",
) -> None:
    """End a ceremony that shall not be finished. The folder stays, and says so."""
    from heirloom.cli.project import Project, find
    from heirloom.signing.ceremony import place
    from heirloom.signing.metadata import utc_now

    project = Project.load() if find() is not None else None
    found = place.choose(ceremony, project)
    confirm(f"Abort ceremony {found.path.name}?")
    found.abort(reason or "no reason given", utc_now())
    emit(
        {"ceremony": found.path.name, "aborted": True},
        lambda console: console.print(
            f"Ceremony {found.path.name} is aborted: nobody can sign or finish this copy any more. Signatures that "
            "were given stay valid elsewhere; the next version that is published ends that.",
            markup=False,
            soft_wrap=True,
        ),
    )
