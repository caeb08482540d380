"""`heirloom will open`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import ask_secret, confirm, emit, note
from heirloom.cli.project import Project
from heirloom.signing.options import PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.server.will_open import Opened, Opening
    from heirloom.signing.will.shares import Share
    from heirloom.signing.will.standing import Will

_SHARE_VARIABLE = "HEIRLOOM_SHARE"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    group(app, "will", "The will: the hand-over to successors, signed ahead and sealed.").command("open")(open_command)


def open_command(
    share: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A trustee's share; repeat. Without any they are typed.")
    ] = None,
    shares_fd: Annotated[
        int | None, typer.Option(metavar="N", help="Read the shares from this open file descriptor, one a line.")
    ] = None,
    will: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The will. Default: the live one of the project.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Where devices look from now on; repeat.")
    ] = None,
    maker: Annotated[str | None, typer.Option(help="Who stands behind the product now.")] = None,
    contact: Annotated[str | None, typer.Option(help="For security matters, as in security@example.org.")] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
) -> None:
    """Open the will: publish the successors' roots and sign everything anew, so that every device follows.

    Run it again on each machine that holds a successor's key until all have signed; shares are needed once.
    """
    from heirloom.server.will_open import Opening
    from heirloom.signing.passphrases import Passphrases
    from heirloom.signing.will.opening import Answers

    opening = Opening(Project.load(), Passphrases(passphrase_fd, pin_fd))
    if not opening.begun:
        if not (url and maker and contact):
            raise UsageError("the successors must say who they are", "give --url (twice), --maker and --contact")
        chosen = opening.will(will)
        opening.begin(chosen, _shares(chosen, share or [], shares_fd), Answers(url, maker, contact))
    _agree(opening)
    opened = opening.go_on()
    emit(opened, lambda console: _show(console, opened))


def _agree(opening: "Opening") -> None:
    note("\n".join(opening.documents().in_words()))
    confirm("Sign this?")


def _shares(will: "Will", files: list[Path], fd: int | None) -> "list[Share]":
    from heirloom.signing.will import shares

    if will.state != "live":
        return []  # refused with the reason before anybody is asked for a share
    if fd is not None:
        return [shares.parse(line, f"line {number}") for number, line in enumerate(_lines(fd), 1)]
    if files:
        return [shares.read(path) for path in files]
    found = []
    for number in range(1, will.header.needed + 1):
        name = f"share {number} of {will.header.needed}"
        found.append(shares.parse(ask_secret(name, env=_SHARE_VARIABLE, option="--share FILE or --shares-fd"), name))
    return found


def _lines(fd: int) -> list[str]:
    import os

    try:
        with os.fdopen(os.dup(fd), encoding="ascii") as stream:
            return [line for line in stream.read().splitlines() if line.strip()]
    except (OSError, ValueError) as exc:
        raise HeirloomError(f"cannot read shares from file descriptor {fd}", "see --shares-fd") from exc


def _show(console: "Console", opened: "Opened") -> None:
    if opened.missing:
        lines = [f"  {each.document}: {each.have} of {each.need}" for each in opened.missing]
        say = "\n".join(
            [
                "Not enough successors have signed yet:",
                *lines,
                f"Carry {opened.folder} to the next one's copy of the project and run `heirloom will open` there.",
            ]
        )
    else:
        say = (
            f"The will is open. Devices follow to root {opened.root}; the repository is ready to be served.\n"
            "Now write a will of your own: heirloom will write"
        )
    console.print(say, markup=False, soft_wrap=True)
