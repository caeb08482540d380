"""Whether the sweep finds the mistakes of `mutants`: each is given to devices, and their lives are cut."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from heirloom.boards.images import lfs
from heirloom.cli.errors import UsageError
from heirloom.hil import provision
from heirloom.hil.powercut import record
from heirloom.hil.powercut import scene as scenes
from heirloom.hil.powercut.campaign import Plan, prepare
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.powercut.medium import Medium
from heirloom.hil.powercut.mutants import MUTANTS, Mutant
from heirloom.hil.powercut.scene import Scene
from heirloom.hil.powercut.sweep import Sweep, Tally

_FOLDERS = ("/data", "/heirloom/blobs", "/heirloom/slots", "/heirloom/trust")


@dataclass(frozen=True)
class Verdict:
    """What came of a mutant.

    Attributes:
        killed: The case that found it; "" if none did.
        what: What was wrong there, or why none can be.
        cuts, starts: Until then.
    """

    mutant: str
    life: str
    killed: str
    what: str
    cuts: int
    starts: int
    seconds: float

    @property
    def expected(self) -> bool:
        """Whether it is as it must be: killed, or one of those that cannot be."""
        return bool(self.killed) != bool(_named(self.mutant).survives)


def _named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def chosen(words: Sequence[str]) -> list[Mutant]:
    """The mutants with one of these words in their name; all without.

    Raises:
        UsageError: There is none.
    """
    found = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not found:
        raise UsageError(f"no mutant has {words[0]!r} in its name", "see docs/powercut.md")
    return found


def hunt(mutants: Sequence[Mutant], plan: Plan, folder: Path, progress: Callable[[str], object]) -> list[Verdict]:
    """Sweep each of these mutants until something is found.

    Args:
        mutants: Some.
        plan: How many cuts, and their seed; its lives are not used.
        folder: Empty, or that of such a plan.
        progress: Told what is being done.

    Raises:
        ValueError: The client changed, and a mutant did not.
    """
    lives = [life for life in LIVES if any(mutant.life == life.name for mutant in mutants)]
    verdicts = []
    with (
        prepare(plan, folder, lives, progress) as made,
        ProcessPoolExecutor(plan.jobs, mp_context=get_context("spawn")) as pool,
    ):
        running = [pool.submit(_hunt_one, mutant, plan, folder, made.ports) for mutant in mutants]
        for future in running:
            verdicts.append(future.result())
            killed = sum(bool(verdict.killed) for verdict in verdicts)
            progress(f"{killed} of {len(verdicts)} mutants killed")
    return verdicts


def _hunt_one(mutant: Mutant, plan: Plan, folder: Path, ports: dict[str, int]) -> Verdict:
    """One mutant, in a process of its own."""
    made = scenes.load(folder / "scene")
    made.ports = ports
    return hunt_one(made, mutant, plan, folder)


def hunt_one(made: Scene, mutant: Mutant, plan: Plan, folder: Path) -> Verdict:
    """Sweep one mutant until something is found. made: being served, with its lives recorded in the folder."""
    began = time.monotonic()
    life = next(one for one in LIVES if one.name == mutant.life)
    place = folder / f"mutant-{MUTANTS.index(mutant)}"
    place.mkdir(exist_ok=True)
    start, _ = record.load(folder / "records" / f"{life.name}.z")
    broken = with_client(made.medium(life), start, mutant)
    tally = _sweep(made, life, place, plan, broken)
    case, what = next(iter(tally.problems.items()), ("", mutant.survives))
    seconds = time.monotonic() - began
    return Verdict(mutant.name, life.name, case, what, tally.cuts + tally.pairs, tally.starts, seconds)


def _sweep(made: Scene, life: Life, place: Path, plan: Plan, broken: bytes) -> Tally:
    lived = record.live(made, life, broken, place)
    if not lived.reached:
        # Not even without a cut: a test of updates would find it, too.
        return Tally(problems={life.name: f"it does not reach its end; its console ends\n{lived.console[-3000:]}"})
    sweep = Sweep(made, life, place, plan.cuts, plan.pairs, plan.starts, plan.seed, 2, lambda _: None, enough=1)
    return sweep.run(broken, lived.operations)


def with_client(medium: Medium, flash: bytes, mutant: Mutant) -> bytes:
    """A flash as it is, but with the broken client.

    Raises:
        HeirloomError: littlefs cannot read it.
        ValueError: The client changed, and the mutant did not.
    """
    layout = medium.board.flash
    used: list[str] = []

    def edit(module: str, source: str) -> str:
        changed = mutant.edit(module, source)
        used.extend([module] if changed != source else [])
        return changed

    client = provision.client_files(medium.board, edit=edit)
    if not used:
        raise ValueError(f"there is no module {mutant.module}; change the mutant: {mutant.name}")
    content = {path: data for path, data in lfs.read(layout, medium.filesystem(flash)).items() if path not in client}
    return medium.with_filesystem(flash, lfs.build(layout, {**content, **client}, _FOLDERS))
