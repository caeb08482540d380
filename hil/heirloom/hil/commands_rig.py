"""`heirloom hil list` and `heirloom hil run`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli import output
from heirloom.cli.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.hil.rig.run import Outcome

_FAILED, _TROUBLE = 1, 4
_Rig = Annotated[
    Path | None,
    typer.Option("--rig", envvar="HEIRLOOM_RIG", exists=True, dir_okay=False, metavar="FILE", help="The rig."),
]


def list_command(
    rig: _Rig = None,
    release: Annotated[
        list[str] | None, typer.Option("--release", metavar="NAME", help="Somebody looked at it: end its quarantine.")
    ] = None,
) -> None:
    """Show the devices of a rig: whether they can be driven here, who uses them, quarantine, flakes."""
    from heirloom.hil.rig.listing import look

    if rig is None:
        raise UsageError("which rig?", "name its file with --rig, or in HEIRLOOM_RIG")
    found = look(rig, release or [])
    output.emit(
        {"rig": rig, "devices": found},
        lambda console: console.print("\n".join(one.line() for one in found), markup=False, soft_wrap=True),
    )


def run_command(
    rig: _Rig = None,
    driver: Annotated[
        list[str] | None,
        typer.Option("--driver", metavar="DRIVER[:BOARD]", help="sim, rp2040, esp32 or serial; may be repeated."),
    ] = None,
    select: Annotated[str | None, typer.Option("-k", metavar="WORDS", help="Only stories with such names.")] = None,
    tests: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Your own tests. Default: the life-cycle suite.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", metavar="VERSION", help="The built release that your tests try.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Leave junit.xml there, for `report` and `attest`.")
    ] = None,
) -> None:
    """Run the life-cycle suite on the devices of a rig, or on simulated and emulated ones.

    Exit code 1: a test failed. 4: none did, but the rig had trouble.
    """
    from heirloom.hil.rig.run import Selection, run

    with output.progress("running the suite") as bar:
        outcome = run(rig, driver or [], Selection(select, tests or [], release), to, bar.describe)
    output.emit(outcome, lambda console: _show(console, outcome))
    if outcome.failed:
        raise typer.Exit(_FAILED)
    if outcome.errors:
        raise typer.Exit(_TROUBLE)


def _show(console: "Console", outcome: "Outcome") -> None:
    for word, cases in (("skipped", outcome.skipped), ("RIG TROUBLE", outcome.errors), ("FAILED", outcome.failed)):
        for name, reason in cases.items():
            console.print(f"{word} {name}\n    {output.printable(reason)}", markup=False, soft_wrap=True)
    for name, device in outcome.devices.items():
        console.print(f"{name}: {device.uses} uses, {device.retries} retries, {device.troubles} troubles", markup=False)
    console.print(
        f"{len(outcome.passed)} passed, {len(outcome.failed)} failed, {len(outcome.errors)} had trouble of the rig,"
        f" {len(outcome.skipped)} skipped in {outcome.seconds:.0f} s",
        markup=False,
        soft_wrap=True,
    )
