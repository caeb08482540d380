"""`heirloom hil powercut` and `heirloom hil mutants`."""

import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli import output
from heirloom.cli.errors import UsageError
from heirloom.cli.files import os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from heirloom.hil.powercut.campaign import Plan
    from heirloom.hil.powercut.hunt import Verdict
    from heirloom.hil.powercut.outcome import Result
    from heirloom.hil.powercut.replay import Replayed


def _complete_life() -> list[str]:
    from heirloom.hil.powercut.lives import LIVES

    return [life.name for life in LIVES]


def powercut_command(
    life: Annotated[
        list[str] | None,
        typer.Option(autocompletion=_complete_life, help="Only this life; may be repeated. Default: all."),
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, help="Different cuts in each life.")] = 1000,
    pairs: Annotated[int, typer.Option(min=0, help="Second cuts in each life, in the recoveries from first ones.")] = 0,
    starts: Annotated[
        int, typer.Option(min=0, help="Devices started in each life after one cut; 0: from every different flash.")
    ] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="For what is at random. Default: another each time.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each with two devices at a time.")] = 2,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Work there, and leave all there. What was interrupted goes on where it was."
        ),
    ] = None,
    replay: Annotated[
        str | None, typer.Option(metavar="CASE", help="Only this case, with the records in --keep or with new ones.")
    ] = None,
    unstable: Annotated[
        int,
        typer.Option(
            min=0, help="Instead: so many cuts in each life that leave cells which read differently each time."
        ),
    ] = 0,
    driver: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead: --cuts of a real image in an emulator, rp2040 (exact) or esp32 (its process is killed).",
        ),
    ] = None,
) -> None:
    """Cut the power of a simulated device everywhere: at, and inside, each flash operation of its life.

    Exit code 1 if a device did not survive. Makes a product of its own; needs no project.
    """
    from heirloom.hil.powercut import campaign
    from heirloom.hil.powercut.replay import parse
    from heirloom.hil.powercut.replay import replay as replay_case
    from heirloom.hil.powercut.scene import named

    folder = _folder(keep)
    before = campaign.plan_of(folder)
    if seed is None:
        seed = before.seed if before else secrets.randbits(31)
    plan = campaign.Plan(tuple(one.name for one in named(life or [])), cuts, pairs, seed, starts, jobs)
    lost = True  # or interrupted: then the folder is needed
    try:
        with output.progress("making a product") as bar:
            if replay is not None:
                case, (first, _) = replay, parse(replay)
                with campaign.prepare(before or plan, folder, [first], bar.describe) as made:
                    found = replay_case(case, made, folder, bar.describe)
                _replayed(found)
                return
            if driver is not None:
                _real(driver, plan, folder, bar.describe)
                return
            if unstable:
                _unstable(plan, unstable, folder, bar.describe)
                return
            result = campaign.run(plan, folder, bar.describe)
        lost = bool(result.total.problems)
        output.emit(result.as_dict(), lambda console: _show(console, result, folder))
    finally:
        if keep is None and not lost:
            shutil.rmtree(folder, ignore_errors=True)
    if lost:
        raise typer.Exit(1)


def _unstable(plan: "Plan", number: int, folder: Path, progress: "Callable[[str], object]") -> None:
    """Losses here break no promise, so they are no failure."""
    from heirloom.hil.powercut.unstable import sweep

    found = sweep(plan, number, folder, progress)

    def show(console: "Console") -> None:
        for name, why in found.losses.items():
            console.print(f"\nLOST {name}\n{output.printable(why)}", markup=False, soft_wrap=True)
        console.print(
            f"\n{found.cuts} cuts with cells that waver: littlefs reads {found.read} of them, {found.wavering} in more"
            f" ways than one; {found.starts} devices started, {len(found.losses)} lost; seed {found.seed}",
            markup=False,
            soft_wrap=True,
        )

    output.emit(found, show)


def _real(driver: str, plan: "Plan", folder: Path, progress: "Callable[[str], object]") -> None:
    from heirloom.hil.powercut.real import BOARDS, sweep

    if driver not in BOARDS:
        raise UsageError(f"no driver {driver} can be swept", f"there are {', '.join(BOARDS)}")
    found = sweep(driver, plan.cuts, plan, folder, progress)

    def show(console: "Console") -> None:
        for name, why in found.problems.items():
            console.print(f"\nLOST {name}\n{output.printable(why)}", markup=False, soft_wrap=True)
        console.print(
            f"\n{found.board} in an emulator: {found.cuts} cuts in {found.seconds:.0f} s, of"
            f" {found.operations or 'uncounted'} flash operations; {found.early} before anything changed,"
            f" {found.late} after the last step,"
            f" {len(found.problems)} lost; seed {found.seed}",
            markup=False,
            soft_wrap=True,
        )

    output.emit(found, show)
    if found.problems:
        raise typer.Exit(1)


def mutants_command(
    only: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Mutants with this in their name; may be repeated.")
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, help="Different cuts for each, at most.")] = 600,
    seed: Annotated[int | None, typer.Option(min=0, help="For what is at random. Default: another each time.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Mutants at a time.")] = 2,
) -> None:
    """Break the client on purpose, in many ways, and see whether the sweep of power cuts finds each.

    Exit code 1 if one survives that should not.
    """
    from heirloom.hil.powercut import hunt
    from heirloom.hil.powercut.campaign import Plan
    from heirloom.hil.powercut.lives import LIVES

    chosen = hunt.chosen(only or [])
    began = time.monotonic()
    plan = Plan(tuple(one.name for one in LIVES), cuts, 0, secrets.randbits(31) if seed is None else seed, jobs=jobs)
    with (
        tempfile.TemporaryDirectory(prefix="heirloom-mutants-") as folder,
        output.progress("making a product") as bar,
    ):
        verdicts = hunt.hunt(chosen, plan, Path(folder), bar.describe)
    seconds = time.monotonic() - began
    document = {"seed": plan.seed, "seconds": round(seconds, 1), "mutants": verdicts}
    output.emit(document, lambda console: _show_verdicts(console, verdicts, plan.seed, seconds))
    if not all(verdict.expected for verdict in verdicts):
        raise typer.Exit(1)


def _show_verdicts(console: "Console", verdicts: "list[Verdict]", seed: int, seconds: float) -> None:
    for verdict in verdicts:
        how = f"killed by {verdict.killed}: " if verdict.killed else "survives: "
        what = output.printable(verdict.what.partition("\n")[0]) or "NOBODY KNOWS WHY"
        console.print(f"{verdict.mutant}\n    {how}{what}", markup=False, soft_wrap=True)
    killed = sum(bool(verdict.killed) for verdict in verdicts)
    explained = sum(verdict.expected and not verdict.killed for verdict in verdicts)
    console.print(
        f"\n{killed} of {len(verdicts)} mutants killed, {explained} survive for a reason,"
        f" {len(verdicts) - killed - explained} for none; {seconds:.0f} s, seed {seed}",
        markup=False,
        soft_wrap=True,
    )


def _replayed(found: "Replayed") -> None:
    output.emit(found, lambda console: _show_case(console, found))
    if found.wrong or not found.reached:
        raise typer.Exit(1)


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="heirloom-powercut-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()) and not (keep / "sweep.json").exists():
            raise UsageError(f"{keep} is not empty, and no sweep", "name a new folder, or that of a sweep")
    except OSError as exc:
        raise os_error(exc, f"cannot make {keep}") from exc
    return keep


def _show(console: "Console", result: "Result", folder: Path) -> None:
    total = result.total
    for name, tally in result.lives.items():
        console.print(
            f"{name:10} {tally.operations:5} flash operations, {tally.cuts:6} cuts, {tally.pairs:6} pairs;"
            f" {tally.different:4} flashes with other files, {tally.starts} started",
            markup=False,
        )
    phases = sorted(total.phases.items(), key=lambda item: -item[1])
    console.print("\nflash operations by phase: " + ", ".join(f"{name} {count}" for name, count in phases))
    for name, what in total.problems.items():
        console.print(f"\nLOST {name}\n{output.printable(what)}", markup=False, soft_wrap=True)
    verdict = f"{len(total.problems)} devices lost" if total.problems else "every device lives"
    console.print(
        f"\n{total.cuts + total.pairs} different cuts, {total.starts} starts in {result.seconds:.0f} s"
        f" ({(total.cuts + total.pairs) / max(result.seconds, 1):.0f} a second), seed {result.seed}: {verdict}",
        markup=False,
        soft_wrap=True,
    )
    if total.problems:
        case = next(iter(total.problems))
        console.print(f"once more: heirloom hil powercut --keep {folder} --replay {case}", markup=False, soft_wrap=True)


def _show_case(console: "Console", found: "Replayed") -> None:
    console.print(output.printable(found.console), markup=False, soft_wrap=True)
    for what in found.wrong:
        console.print(f"its flash says: {output.printable(what)}", markup=False, soft_wrap=True)
    reached = "it reached its end" if found.reached else "it did not reach its end"
    console.print(f"\n{found.case}: {reached}; its flash before that: {found.flash}", markup=False, soft_wrap=True)
