"""The sweep: every cut of a recorded run is judged from the flash, and every different flash is started."""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.powercut import cuts
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.facts import Facts
from heirloom.hil.powercut.scene import PHASES, Phase, Scene
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.page import Operation

_LIFE_S = 40.0  # for one start to reach its end, on a busy machine
_GLANCE_S = 0.03


@dataclass(frozen=True)
class Start:
    """A flash from which a device starts.

    Attributes:
        cells: Of the file system.
        path: The cuts that led to it, in order.
    """

    phase: Phase
    cells: bytes
    facts: Facts
    path: tuple[Cut, ...] = ()

    @property
    def name(self) -> str:
        """For people, and for the file that keeps it."""
        return "_".join([self.phase.name, *(str(cut).replace(":", "-") for cut in self.path)])


@dataclass(frozen=True)
class Life:
    """What came of a start: its flash operations, and the flash in the end."""

    operations: list[Operation]
    cells: bytes
    reached: bool
    console: str


@dataclass
class Tally:
    """Counts of one phase."""

    operations: int = 0
    cuts: int = 0
    pairs: int = 0
    starts: int = 0


@dataclass
class Result:
    """What a sweep found.

    Attributes:
        problems: Name of the case to what is wrong.
    """

    seed: int
    phases: dict[str, Tally] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cuts(self) -> int:
        """Different cuts that were judged, pairs among them."""
        return sum(tally.cuts + tally.pairs for tally in self.phases.values())

    @property
    def starts(self) -> int:
        """Devices that were started from a flash that a cut left."""
        return sum(tally.starts for tally in self.phases.values())


@dataclass
class Sweep:
    """Sweeps phases.

    Attributes:
        scene: The product.
        directory: For devices and for the flashes of cases that went wrong; exists.
        cuts: Of each phase, at most.
        pairs: Second cuts of each phase, at most; spread over all its starts.
        seed: For which cuts, and which bits.
        jobs: Devices at a time.
        progress: Told what is being done, and how many cuts are judged.
        enough: End after so many problems; 0: never.
    """

    scene: Scene
    directory: Path
    cuts: int
    pairs: int
    seed: int
    jobs: int
    progress: Callable[[str], object]
    enough: int = 0
    result: Result = field(init=False)

    def __post_init__(self) -> None:
        self.result = Result(self.seed)

    def run(self, phases: Sequence[Phase]) -> Result:
        """Sweep these phases. Those that lead to them are lived, too, without a cut.

        Raises:
            RigTrouble: A life without a cut does not reach its end.
        """
        began = time.monotonic()
        cells = self.scene.first
        for phase in PHASES[: 1 + max(map(PHASES.index, phases))]:
            self.progress(f"{phase.name}: recording")
            start = Start(phase, cells, self.scene.facts(bytearray(cells)))
            life = self._live(start)
            if not life.reached:
                raise RigTrouble(f"{phase.name} does not reach its end without a cut", life.console[-2000:])
            if phase in phases:
                self._sweep(start, life)
            cells = life.cells
        self.result.seconds = time.monotonic() - began
        return self.result

    def _sweep(self, start: Start, life: Life) -> None:
        tally = self.result.phases[start.phase.name] = Tally(operations=len(life.operations))
        seen: set[bytes] = set()
        first: list[Start] = []
        for child in self._cut(start, life, self.cuts):
            if self._has_enough():
                return
            tally.cuts += 1
            if child is not None and child.facts.digest not in seen:
                seen.add(child.facts.digest)
                first.append(child)
            if not tally.cuts % 100:
                self.progress(f"{start.phase.name}: {tally.cuts} cuts, {len(seen)} different flashes")
        second = max(1, self.pairs // max(1, len(first))) if self.pairs else 0
        for child, lived in self._live_all(first, tally):
            grown = []
            for grandchild in self._cut(child, lived, second) if second else ():
                tally.pairs += 1
                if grandchild is not None and grandchild.facts.digest not in seen:
                    seen.add(grandchild.facts.digest)
                    grown.append(grandchild)
            for _ in self._live_all(grown, tally):
                self.progress(f"{start.phase.name}: {tally.starts} starts, {tally.pairs} pairs")

    def _has_enough(self) -> bool:
        return bool(self.enough) and len(self.result.problems) >= self.enough

    def _live_all(self, starts: list[Start], tally: Tally) -> Iterator[tuple[Start, Life]]:
        """Start them, several at a time; yields those that reached their end, as they do."""
        with ThreadPoolExecutor(self.jobs) as pool:
            running: dict[Future[Life], Start] = {pool.submit(self._live, start): start for start in starts}
            while running and not self._has_enough():
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    start, life = running.pop(future), future.result()
                    tally.starts += 1
                    if life.reached:
                        yield start, life
                    else:
                        self._blame(start, f"it did not reach its end; its console ends\n{life.console[-6000:]}")
            for future in running:
                future.cancel()

    def _cut(self, start: Start, life: Life, number: int) -> Iterator[Start | None]:
        """Every chosen cut of a life that leaves another flash: where it leads, or None if that is wrong already."""
        block = self.scene.block_size
        cells = bytearray(start.cells)
        chosen = iter(cuts.choose(life.operations, number, self.seed + len(start.path), block))
        cut = next(chosen, None)
        before = start.facts
        for at in range(len(life.operations) + 1):
            torn: set[bytes] = set()
            while cut is not None and cut.at == at:
                undone = b""
                if at < len(life.operations):
                    undone = cuts.tear(cells, life.operations[at], cut, block)
                reached = self._reach(cells, life.operations[at : at + 1])
                if reached not in torn:
                    torn.add(reached)
                    child = self._judge(start, cut, cells, before)
                    if child is not None and cut.kind == "before":
                        before = child.facts
                    yield child
                if undone:
                    address = life.operations[at].address
                    cells[address : address + len(undone)] = undone
                cut = next(chosen, None)
            if at < len(life.operations):
                cuts.apply(cells, life.operations[at], block)

    def _reach(self, cells: bytearray, operation: list[Operation]) -> bytes:
        if not operation:
            return b""
        address = operation[0].address
        return bytes(cells[address : address + (len(operation[0].data) or self.scene.block_size)])

    def _judge(self, start: Start, cut: Cut, cells: bytearray, before: Facts) -> Start | None:
        """The start that this cut leaves; None, and noted, when its flash alone says that something is wrong."""
        path = (*start.path, cut)
        try:
            facts = self.scene.facts(cells)
        except HeirloomError as exc:
            self._blame(Start(start.phase, bytes(cells), start.facts, path), exc.message)
            return None
        found = Start(start.phase, bytes(cells), facts, path)
        wrong = [*facts.wrong, *facts.went_back(before)]
        if facts.runs not in (start.phase.old, start.phase.serves, start.phase.ends):
            wrong.append(f"{facts.runs} would run, which is neither the old release nor the new one")
        if wrong:
            self._blame(found, "; ".join(wrong))
            return None
        return found

    def _blame(self, start: Start, what: str) -> None:
        self.result.problems[start.name] = what
        kept = self.directory / "problems"
        kept.mkdir(exist_ok=True)
        (kept / f"{start.name}.littlefs").write_bytes(start.cells)

    def _live(self, start: Start) -> Life:
        """Start a device from a flash, in a process of its own, and let it live until it is where it should be."""
        folder = self.directory / f"device-{secrets.token_hex(6)}"
        try:
            with self.scene.device(folder, start.phase, start.cells) as device:
                device.record_flash()
                device.power_on()
                reached = self._wait(start, device)
                device.power_off()
                life = Life(device.recorded_flash(), device.filesystem_image(), reached, device.console())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        cells = bytearray(start.cells)
        for operation in life.operations:
            cuts.apply(cells, operation, self.scene.block_size)
        if bytes(cells) != life.cells:
            raise RigTrouble(f"the record of {start.name} does not lead to its flash")
        return life

    def _has_reached(self, phase: Phase, device: SimDevice, operations: int) -> bool:
        """What its flash says, if it stood still while it was read."""
        cells = bytearray(device.filesystem_image())
        still = device.flash.operations == operations
        return still and phase.reached(self.scene.facts(cells), self.scene.orders[phase.serves])

    def _wait(self, start: Start, device: SimDevice) -> bool:
        deadline = time.monotonic() + _LIFE_S
        seen = -1
        while time.monotonic() < deadline:
            time.sleep(_GLANCE_S)
            now = device.flash.operations
            if now == seen and self._has_reached(start.phase, device, now):
                return True
            seen = now
        return False
