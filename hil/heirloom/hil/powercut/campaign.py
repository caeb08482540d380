"""A whole sweep: its folder, its lives in some processes, and what came of it."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from multiprocessing import get_context
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import write_atomic
from heirloom.hil.powercut import outcome
from heirloom.hil.powercut import scene as scenes
from heirloom.hil.powercut.lives import LIVES, Life
from heirloom.hil.powercut.outcome import Result
from heirloom.hil.powercut.scene import Scene
from heirloom.hil.powercut.sweep import Sweep, Tally, recorded

_FILE = "sweep.json"
_SPENT = "spent.json"
_GLANCE_S = 0.5


def client_digest() -> str:
    """The same for the same client."""
    hasher = hashlib.sha256()

    def add(folder: Traversable) -> None:
        for entry in sorted(folder.iterdir(), key=lambda one: one.name):
            if entry.is_dir() and entry.name != "__pycache__":
                add(entry)
            elif entry.name.endswith(".py"):
                hasher.update(entry.name.encode() + entry.read_bytes())

    add(files("heirloom.device"))
    return hasher.hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """What is to be swept.

    Attributes:
        lives: Names.
        cuts, pairs: In each life, at most.
        starts: In each life after single cuts, at most; 0: from every different flash.
        seed: For which cuts, and which bits.
        jobs: Processes, each with two devices at a time.
        client: Digest of the client, so that nothing goes on with another one.
    """

    lives: tuple[str, ...]
    cuts: int
    pairs: int
    seed: int
    starts: int = 0
    jobs: int = 2
    client: str = field(default_factory=client_digest)


def run(plan: Plan, folder: Path, progress: Callable[[str], object], enough: int = 0) -> Result:
    """Sweep, or go on with a sweep that was interrupted.

    Args:
        plan: What.
        folder: Empty, or that of the same plan.
        progress: Told what is being done.
        enough: End each life after so many problems; 0: never.

    Raises:
        HeirloomError: The folder is another plan's.
    """
    began = time.monotonic()
    with prepare(plan, folder, scenes.named(plan.lives), progress) as made:
        return sweep(plan, folder, made, progress, began, enough)


def sweep(
    plan: Plan, folder: Path, made: Scene, progress: Callable[[str], object], began: float, enough: int = 0
) -> Result:
    """As `run`, with a product that is being served, and lives that are recorded. began: as `time.monotonic()`."""
    before = _open(plan, folder)

    def spent() -> float:
        return before + time.monotonic() - began

    tallies = _sweep_all(plan, folder, made, scenes.named(plan.lives), progress, spent, enough)
    result = Result(plan.seed, tallies, spent())
    outcome.write(result, folder)
    return result


@contextmanager
def prepare(plan: Plan, folder: Path, lives: Sequence[Life], progress: Callable[[str], object]) -> Iterator[Scene]:
    """Have the product served, and these lives and those before them recorded: anew, or as they lie in the folder."""
    _open(plan, folder)
    made = _scene(folder, scenes.named(plan.lives), progress)
    with made.serving(scenes.until(lives)):
        ends = dict(made.first)
        for life in scenes.until(lives):
            progress(f"{life.name}: recording")
            _, _, end = recorded(made, life, made.begins(life, ends[life.board]), folder)
            if not life.aside:
                ends[life.board] = end
        yield made


def _open(plan: Plan, folder: Path) -> float:
    """Take a folder; returns the seconds that were spent in it before."""
    path = folder / _FILE
    described = {**asdict(plan), "lives": list(plan.lives)}
    if not path.exists():
        write_atomic(path, json.dumps(described).encode())
        return 0.0
    theirs = json.loads(path.read_bytes())
    for key, value in described.items():
        if key != "jobs" and theirs.get(key) != value:
            advice = "the same options go on with it; or name a new folder"
            raise HeirloomError(f"{folder} is a sweep with another {key}", advice, exit_code=2)
    spent = folder / _SPENT
    return float(json.loads(spent.read_bytes())) if spent.exists() else 0.0


def plan_of(folder: Path) -> Plan | None:
    """The plan of the sweep in a folder, or None."""
    path = folder / _FILE
    if not path.exists():
        return None
    described = json.loads(path.read_bytes())
    return Plan(**{**described, "lives": tuple(described["lives"])})


def _scene(folder: Path, lives: Sequence[Life], progress: Callable[[str], object]) -> Scene:
    directory = folder / "scene"
    if (directory / "scene.json").exists():
        return scenes.load(directory)
    draft = folder / f"scene-{secrets.token_hex(3)}"  # named when it is complete: it may be interrupted
    draft.mkdir()
    scenes.make(draft, lives, progress)
    draft.rename(directory)
    return scenes.load(directory)


def _sweep_all(
    plan: Plan,
    folder: Path,
    made: Scene,
    lives: Sequence[Life],
    progress: Callable[[str], object],
    spent: Callable[[], float],
    enough: int,
) -> dict[str, Tally]:
    # A fresh interpreter each: this one has threads, and devices are started by a process that belongs to its parent.
    with ProcessPoolExecutor(plan.jobs, mp_context=get_context("spawn")) as pool:
        running: dict[Future[Tally], str] = {
            pool.submit(_sweep, plan, folder, made.ports, life.name, enough): life.name for life in lives
        }
        found: dict[str, Tally] = {}
        while running:
            done, _ = wait(running, timeout=_GLANCE_S, return_when=FIRST_COMPLETED)
            for future in done:
                found[running.pop(future)] = future.result()
            progress(_told(folder, [life.name for life in lives]))
            write_atomic(folder / _SPENT, json.dumps(spent()).encode())
    return {life.name: found[life.name] for life in lives}


def _told(folder: Path, names: Sequence[str]) -> str:
    """How far all are, in words."""
    totals = [0, 0, 0]
    for name in names:
        try:
            told = json.loads((folder / f"told-{name}.json").read_bytes())
        except (OSError, ValueError):
            continue
        totals = [mine + theirs for mine, theirs in zip(totals, told, strict=True)]
    return f"{totals[0]} cuts, {totals[1]} starts, {totals[2]} problems"


def _sweep(plan: Plan, folder: Path, ports: dict[str, int], name: str, enough: int) -> Tally:
    """One life, in a process of its own."""
    made = scenes.load(folder / "scene")
    made.ports = ports
    life = next(one for one in LIVES if one.name == name)
    start, operations, _ = recorded(made, life, made.begins(life, made.first[life.board]), folder)

    def tell(tally: Tally) -> None:
        counts = [tally.cuts + tally.pairs, tally.starts, len(tally.problems)]
        write_atomic(folder / f"told-{name}.json", json.dumps(counts).encode())

    sweep = Sweep(made, life, folder, plan.cuts, plan.pairs, plan.starts, plan.seed, 2, tell, enough)
    return sweep.run(start, operations)
