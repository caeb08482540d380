"""The sweep of one life: every cut is judged from the flash, and every different flash is started."""

import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from heirloom.cli.errors import RigTrouble
from heirloom.hil.powercut import cuts, record
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.lives import Life
from heirloom.hil.powercut.record import Record
from heirloom.hil.powercut.scene import Scene
from heirloom.hil.sim.page import Operation

_TOLD_EVERY = 200


@dataclass
class Tally:
    """Counts of one life.

    Attributes:
        operations: Flash operations of the life.
        phases: Of these, by phase.
        cuts: Different flashes that one cut left, all judged.
        pairs: Different flashes that a second cut left, in the recovery from a first; all judged.
        mounted: Of both, those that littlefs read; the others differ only where it reads nothing.
        starts: Devices started from such a flash, which lived until they were where they should be.
        different: Of both, those whose files no other has: each is one to be started.
        starts: Devices started from such a flash, which lived until they were where they should be.
        map: Single cuts by operation, kind of cut and outcome, as "17 bits old".
        problems: Name of the case to what is wrong.
    """

    operations: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    cuts: int = 0
    pairs: int = 0
    mounted: int = 0
    different: int = 0
    starts: int = 0
    map: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Count the other one's, too."""
        for name in ("operations", "cuts", "pairs", "mounted", "different", "starts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.phases, other.phases), (self.map, other.map)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.problems |= other.problems


@dataclass(frozen=True)
class Child:
    """A flash that cuts have left, to be started. cells: compressed, since many wait."""

    path: tuple[Cut, ...]
    cells: bytes

    @property
    def flash(self) -> bytes:
        """The flash."""
        return zlib.decompress(self.cells)


def case_name(life: Life, path: Sequence[Cut]) -> str:
    """How a case is called: it says all that is needed to come to it again from the record of its life."""
    return "/".join([life.name, *map(str, path)])


def file_name(case: str) -> str:
    """A case's name as the name of a file."""
    return case.replace("/", "_").replace(":", "-")


class Journal:
    """What is done already, so that a sweep which was interrupted goes on: one line of JSON for each piece."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, dict[str, object]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self.done[entry["piece"]] = entry
                except (ValueError, KeyError):
                    break  # the line that was being written

    def write(self, piece: str, tally: Tally, digests: Sequence[bytes], children: Sequence[str] = ()) -> None:
        """A piece is done."""
        entry = {"piece": piece, "tally": asdict(tally), "digests": [one.hex() for one in digests]}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**entry, "children": list(children)}) + "\n")


class Sweep:
    """Sweeps one life.

    Args:
        scene: The product, being served.
        life: Which.
        folder: For records, devices, and flashes of cases that went wrong; exists.
        cuts, pairs: How many, at most.
        starts: Devices started after single cuts, at most, by chance; 0: from every different flash.
        seed: For which cuts, and which bits.
        jobs: Devices at a time.
        progress: Told the counts now and then.
        enough: End after so many problems; 0: never.

    Attributes:
        tally: What was counted so far.
    """

    def __init__(
        self,
        scene: Scene,
        life: Life,
        folder: Path,
        cuts: int,
        pairs: int,
        starts: int,
        seed: int,
        jobs: int,
        progress: Callable[[Tally], object],
        enough: int = 0,
    ) -> None:
        self.scene, self.life, self.folder = scene, life, folder
        self.cuts, self.pairs, self.starts, self.seed, self.jobs = cuts, pairs, starts, seed, jobs
        self.tally = Tally()
        self._progress = progress
        self._enough = enough
        self._seen: set[bytes] = set()
        (folder / "records").mkdir(exist_ok=True)
        (folder / "problems").mkdir(exist_ok=True)
        self._journal = Journal(folder / f"journal-{life.name}.jsonl")

    def run(self, start: bytes, operations: list[Operation]) -> Tally:
        """Sweep a recorded life."""
        children = self._first(start, operations)
        if self.starts and len(children) > self.starts:
            children = random.Random(self.seed).sample(children, self.starts)  # noqa: S311 - as below
        waiting = [child for child in children if not self._take(case_name(self.life, child.path))]
        second = max(1, self.pairs // max(1, len(children))) if self.pairs else 0
        for child, lived, flash in self._live_all(waiting):
            self._second(child, lived, flash, second)
            if self._has_enough():
                break
        self._progress(self.tally)
        return self.tally

    def _first(self, start: bytes, operations: list[Operation]) -> list[Child]:
        """The different flashes that single cuts leave."""
        before = self._journal.done.get("cuts")
        if before is not None and self._take("cuts"):
            paths = [Cut.parse(text) for text in before["children"]]  # type: ignore[attr-defined]
            return [Child((cut,), zlib.compress(self._flash(start, operations, cut), 1)) for cut in paths]
        tally = Tally(operations=len(operations))
        children = self._judge((), start, operations, self.cuts, tally, self.seed)
        digests = list(self._seen)
        self.tally.add(tally)
        self._journal.write("cuts", tally, digests, [str(child.path[-1]) for child in children])
        return children

    def _flash(self, start: bytes, operations: list[Operation], cut: Cut) -> bytes:
        from heirloom.hil.powercut.judge import flash_at

        return flash_at(start, operations, cut, self.scene.medium(self.life).block_size)

    def _take(self, piece: str) -> bool:
        """Whether the journal has this piece; what it found counts then."""
        entry = self._journal.done.get(piece)
        if entry is None:
            return False
        self.tally.add(Tally(**entry["tally"]))  # type: ignore[arg-type]
        self._seen |= {bytes.fromhex(digest) for digest in entry["digests"]}  # type: ignore[attr-defined]
        return True

    def _second(self, child: Child, lived: Record, flash: bytes, number: int) -> None:
        """What follows one start: its recovery is cut as well, and what that leaves is started."""
        tally, known = Tally(starts=1), set(self._seen)
        name = case_name(self.life, child.path)
        if not lived.reached:
            self._blame(tally, name, flash, f"it did not reach its end; its console ends\n{lived.console[-6000:]}")
        elif number:
            lived.save(self.folder / "records" / f"{file_name(name)}.z", flash)
            grown = self._judge(child.path, flash, lived.operations, number, tally, self._own_seed(name))
            for grandchild, grand, theirs in self._live_all(grown):
                tally.starts += 1
                if not grand.reached:
                    what = f"it did not reach its end; its console ends\n{grand.console[-6000:]}"
                    self._blame(tally, case_name(self.life, grandchild.path), theirs, what)
        self.tally.add(tally)
        self._journal.write(name, tally, list(self._seen - known))
        self._progress(self.tally)

    def _own_seed(self, name: str) -> int:
        return self.seed + zlib.crc32(name.encode())

    def _judge(
        self, path: tuple[Cut, ...], start: bytes, operations: list[Operation], number: int, tally: Tally, seed: int
    ) -> list[Child]:
        """Judge so many cuts of a record; returns those that are to be started: new to the client, and some twins."""
        judge = self.scene.judge(self.life, again=bool(path))
        coin = random.Random(seed)  # noqa: S311 - a case that comes again, no secret
        found: list[Child] = []
        twins = 0
        for case in judge.cases(
            start, operations, cuts.choose(operations, number, seed, self.scene.medium(self.life).block_size)
        ):
            self._count(tally, path, case.mounted)
            mine = (*path, case.cut)
            if case.wrong or case.facts is None:
                self._blame(tally, case_name(self.life, mine), bytes(case.cells), "; ".join(case.wrong))
                self._draw(tally, mine, "lost")
                if self._has_enough(tally):
                    break
                continue
            new = case.facts.digest not in self._seen
            # The same files, but other cells: littlefs may go on from there another way.
            twin = not new and case.mounted and coin.random() < 0.01 and twins <= number // 1000
            self._draw(tally, mine, "started" if new or twin else "old" if case.facts.runs == self.life.old else "new")
            if new or twin:
                twins += twin
                tally.different += new
                self._seen.add(case.facts.digest)
                found.append(Child(mine, zlib.compress(bytes(case.cells), 1)))
        if not path:
            tally.phases = judge.phases
        return found

    @staticmethod
    def _draw(tally: Tally, path: Sequence[Cut], outcome: str) -> None:
        """A dot in the map of the life; second cuts are not in it."""
        if len(path) == 1:
            key = f"{path[0].at} {path[0].kind} {outcome}"
            tally.map[key] = tally.map.get(key, 0) + 1

    def _count(self, tally: Tally, path: tuple[Cut, ...], mounted: bool) -> None:
        if path:
            tally.pairs += 1
        else:
            tally.cuts += 1
        tally.mounted += mounted
        if not (tally.cuts + tally.pairs) % _TOLD_EVERY:
            told = Tally()
            told.add(self.tally)
            told.add(tally)
            self._progress(told)

    def _has_enough(self, more: Tally | None = None) -> bool:
        problems = len(self.tally.problems) + (len(more.problems) if more else 0)
        return bool(self._enough) and problems >= self._enough

    def _live_all(self, starts: Sequence[Child]) -> Iterator[tuple[Child, Record, bytes]]:
        """Start them, several at a time; yields each with its record and its flash, as they end."""

        def live(child: Child) -> tuple[Record, bytes]:
            flash = child.flash
            return record.live(self.scene, self.life, flash, self.folder), flash

        with ThreadPoolExecutor(self.jobs) as pool:
            running: dict[Future[tuple[Record, bytes]], Child] = {pool.submit(live, child): child for child in starts}
            try:
                while running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), *future.result()
            finally:
                for future in running:
                    future.cancel()

    def _blame(self, tally: Tally, name: str, flash: bytes, what: str) -> None:
        tally.problems[name] = what
        (self.folder / "problems" / f"{file_name(name)}.flash").write_bytes(flash)


def recorded(scene: Scene, life: Life, start: bytes, folder: Path) -> tuple[bytes, list[Operation], bytes]:
    """Live a life without a cut, and keep its record; or the record that is there. Returns start, operations, end.

    Raises:
        RigTrouble: It does not reach its end.
    """
    path = folder / "records" / f"{life.name}.z"
    if path.exists():
        start, operations = record.load(path)
    else:
        path.parent.mkdir(exist_ok=True)
        lived = record.live(scene, life, start, folder)
        if not lived.reached:
            raise RigTrouble(f"{life.name} does not reach its end without a cut", lived.console[-2000:])
        lived.save(path, start)
        operations = lived.operations
    cells = bytearray(start)
    for operation in operations:
        cuts.apply(cells, operation, scene.medium(life).block_size)
    return start, operations, bytes(cells)
