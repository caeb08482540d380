"""One case of a sweep once more: its flash is computed from the record, judged, and a device starts from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.hil.powercut import record
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.judge import flash_at
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.powercut.scene import Scene
from heirloom.hil.powercut.sweep import case_name, file_name
from heirloom.hil.sim.page import Operation


@dataclass(frozen=True)
class Replayed:
    """What came of a case.

    Attributes:
        wrong: What its flash alone says; empty when all is well.
        reached: Whether the device was where it should be, in the end.
        flash: Where the flash lies.
        console: What the device said.
    """

    case: str
    wrong: list[str]
    reached: bool
    flash: str
    console: str


def parse(case: str) -> tuple[Life, tuple[Cut, ...]]:
    """A case's life and its cuts.

    Raises:
        UsageError: It is none.
    """
    name, *cuts = case.split("/")
    try:
        (life,) = (one for one in LIVES if one.name == name)
        path = tuple(Cut.parse(text) for text in cuts)
    except ValueError as exc:
        raise UsageError(f"{case} is no case", "a case is LIFE/AT:KIND:DETAIL, as a sweep prints it") from exc
    if not 1 <= len(path) <= 2:
        raise UsageError(f"{case} has {len(path)} cuts", "a case has one or two")
    return life, path


def replay(case: str, made: Scene, folder: Path, progress: Callable[[str], object]) -> Replayed:
    """Come to a case again.

    Args:
        case: As a sweep calls it.
        made: The product, being served.
        folder: Has the record of the case's life; and of the recovery from its first cut, or that is recorded anew.
        progress: Told what is being done.

    Raises:
        UsageError: There is no such case.
    """
    life, path = parse(case)
    start, operations = record.load(folder / "records" / f"{life.name}.z")
    judge = made.judge(life, again=len(path) > 1)
    for number, cut in enumerate(path):
        if number:
            start, operations = _recovery(made, life, start, path[:number], folder, progress)
        if cut.at > len(operations):
            raise UsageError(f"{case}: there are only {len(operations)} flash operations")
        before = judge.look(flash_at(start, operations, Cut(cut.at, "before"), made.medium(life).block_size)).facts
        start = flash_at(start, operations, cut, made.medium(life).block_size)
    kept = folder / f"{file_name(case)}.flash"
    kept.write_bytes(start)
    try:
        wrong = list(judge.wrong(judge.look(start).facts, before))
    except HeirloomError as exc:
        wrong = [exc.message]
    progress(f"{case}: starting a device")
    lived = record.live(made, life, start, folder)
    return Replayed(case, wrong, lived.reached, str(kept), lived.console)


def _recovery(
    made: Scene, life: Life, flash: bytes, path: tuple[Cut, ...], folder: Path, progress: Callable[[str], object]
) -> tuple[bytes, list[Operation]]:
    """The record of what follows a first cut: the sweep's own, or a new one."""
    kept = folder / "records" / f"{file_name(case_name(life, path))}.z"
    if not kept.exists():
        progress(f"{case_name(life, path)}: recording")
        record.live(made, life, flash, folder).save(kept, flash)
    return record.load(kept)
