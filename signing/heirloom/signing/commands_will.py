"""`heirloom will`, but for `open`, which publishes, and `rehearse`, which needs a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.output import confirm, emit, note
from heirloom.cli.project import Project
from heirloom.signing.options import PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console
    from securesystemslib.signer import Key

    from heirloom.signing.will.standing import State
    from heirloom.signing.will.writing import Testament, Written


def register(will: typer.Typer) -> None:
    """Add the commands to the group `will`."""
    will.command("write")(write_command)
    will.command("check")(check_command)


def write_command(
    successor: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="A successor and the .pub.json of their key; repeat.")
    ],
    trustee: Annotated[list[str], typer.Option(metavar="NAME", help="Who gets a share; repeat.")],
    needed: Annotated[int, typer.Option(min=2, help="How many trustees open it together.")],
    shares: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the shares, as on a stick.")],
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many successors must sign together. Default: more than half.")
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the root waits for the next holder if too few keys are here."),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
) -> None:
    """Sign the hand-over to the successors ahead, seal it, and split the key of the seal among trustees."""
    from heirloom.signing import roles
    from heirloom.signing.keys import KeyStore, role_signers
    from heirloom.signing.metadata import utc_now
    from heirloom.signing.passphrases import Passphrases
    from heirloom.signing.repository import Repository
    from heirloom.signing.will import writing

    project = Project.load()
    named = dict(_successor(text) for text in successor)
    if len(named) != len(successor):
        raise UsageError("two successors have the same name")
    testament = writing.Testament(named, threshold or len(named) // 2 + 1, trustee, needed)
    repository = Repository(project.repository, KeyStore(project.keys_dir()).anchor())
    writing.check(repository.root(), testament)
    writing.check_shares_folder(project, shares)
    note("\n".join(_explain(repository.root().signed.version + 1, testament)))
    confirm("Sign this?")
    signers = role_signers(project, roles.ROOT, Passphrases(passphrase_fd, pin_fd))
    written = writing.write(project, repository, testament, signers, shares, utc_now(), draft)
    emit(written, lambda console: _show_written(console, written))


def _successor(text: str) -> "tuple[str, Key]":
    from heirloom.signing.will.people import public_key

    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"--successor {text}: it must be of the form NAME=FILE", "FILE is their NAME.pub.json")
    return name, public_key(Path(file))


def _explain(version: int, testament: "Testament") -> list[str]:
    names = ", ".join(f"{name} (key {key.keyid[:8]})" for name, key in testament.successors.items())
    return [
        f"Root {version} would hand the product over. Every key of today loses every role.",
        f"Successors, {testament.threshold} of whom sign together: {names}",
        f"Trustees, any {testament.needed} of whom open it: {', '.join(testament.trustees)}",
        "Compare the successors' key ids with them by telephone.",
    ]


def check_command(
    inventory: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Devices and the root that each has taken (JSON), to count them."),
    ] = None,
    share: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A trustee's share: is it whole, and of the live will?")
    ] = None,
) -> None:
    """Say whether there is a live will, what voided the others, and which devices would still follow those.

    Exit code 3 if there is no live will.
    """
    from heirloom.signing.will import state

    found = state(Project.load(), inventory=inventory)
    for path in share or []:
        _check_share(found, path)
    emit(
        {"root": found.root, "live": found.live, "wills": found.wills, "shares_checked": len(share or [])},
        lambda console: _show_state(console, found, share or []),
    )
    if found.live is None:
        raise typer.Exit(3)


def _check_share(found: "State", path: Path) -> None:
    from heirloom.signing.will import shares

    if found.live is None:
        raise HeirloomError("there is no live will that a share could belong to", "`heirloom will write` makes one")
    shares.check(shares.read(path), found.live.header.identifier, found.live.header.needed)


def _show_written(console: "Console", written: "Written") -> None:
    if written.will is None:
        say = (
            f"{written.draft} carries {written.signatures} of the {written.threshold} signatures that it needs.\n"
            "It is not sealed yet: hand it to the next holder in person, who runs the same command on it."
        )
    else:
        files = "\n".join(f"  {path}" for path in written.shares)
        say = (
            f"The will is sealed: {written.will}\nKeep copies of it wherever the repository is kept.\n"
            f"Shares, one for each trustee:\n{files}\n"
            "Hand each one over and delete it here. A new root voids this will: write another one then."
        )
    console.print(say, markup=False, soft_wrap=True)


def _show_state(console: "Console", found: "State", shares: list[Path]) -> None:
    for will in found.wills:
        header = will.header
        console.print(
            f"Will for root {header.version}, written {header.written}: {will.state}, {will.reason}\n"
            f"  {header.needed} of {', '.join(header.trustees)} open it for {', '.join(header.successors)}",
            markup=False,
            soft_wrap=True,
        )
        if will.state == "void":
            console.print(f"  {_devices(will.devices, header.version)}", markup=False, soft_wrap=True)
    for path in shares:
        console.print(f"{path} is whole and a share of the live will", markup=False, soft_wrap=True)
    if not found.wills:
        console.print("There is no will: `heirloom will write` makes one.", markup=False)
    elif found.attention:
        console.print(found.attention[0].upper() + found.attention[1:], markup=False, soft_wrap=True)


def _devices(counts: tuple[int, int] | None, version: int) -> str:
    if counts is None:
        return "how many devices would still follow it is unknown: name an --inventory"
    behind, known = counts
    return f"{behind} of {known} known devices have not taken root {version} yet and would still follow it"
