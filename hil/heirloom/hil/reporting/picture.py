"""Pictures of a report, as SVG that lies in the page itself: the map of power cuts, and a device's timeline."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from heirloom.hil.reporting.model import LANES, CutPhase, Timeline

#: Worst first: a column shows the worst of what it stands for.
OUTCOMES = ("lost", "started", "new", "old")
_COLUMNS = 160
_DOTS = 1500


@dataclass(frozen=True)
class Cell:
    """One rectangle of the map.

    Attributes:
        x, y: Column and row.
        outcome: The worst that came of the cuts here.
        title: What it stands for, for people.
    """

    x: int
    y: int
    outcome: str
    title: str


@dataclass(frozen=True)
class CutMap:
    """A phase, operations from left to right, a row for each kind of cut."""

    name: str
    kinds: Sequence[str]
    columns: int
    cells: Sequence[Cell]
    cuts: int
    lost: int
    operations: int


def cut_map(phase: CutPhase) -> CutMap:
    """The map of one phase; neighbouring operations share a column where there are more than fit."""
    kinds = sorted({kind for _, kind, _, _ in phase.cells}, key=lambda kind: (kind != "before", kind))
    columns = max(1, min(_COLUMNS, phase.operations + 1))
    counts: dict[tuple[int, int], Counter[str]] = {}
    for at, kind, outcome, number in phase.cells:
        place = min(columns - 1, at * columns // (phase.operations + 1)), kinds.index(kind)
        counts.setdefault(place, Counter())[outcome] += number
    cells = [Cell(x, y, _worst(found), _title(x, columns, phase, kinds[y], found)) for (x, y), found in counts.items()]
    total: Counter[str] = sum(counts.values(), Counter())
    return CutMap(
        phase.name,
        kinds,
        columns,
        sorted(cells, key=lambda cell: (cell.y, cell.x)),
        total.total(),
        total["lost"],
        phase.operations,
    )


def _worst(found: Counter[str]) -> str:
    return next((outcome for outcome in OUTCOMES if found[outcome]), "lost")


def _title(x: int, columns: int, phase: CutPhase, kind: str, found: Counter[str]) -> str:
    first = -(-x * (phase.operations + 1) // columns)
    last = max(first, -(-(x + 1) * (phase.operations + 1) // columns) - 1)
    where = f"operation {first}" if first == last else f"operations {first} to {last}"
    return f"{where}, {kind}: " + ", ".join(f"{number} {outcome}" for outcome, number in found.most_common())


@dataclass(frozen=True)
class Dot:
    """An event on the picture of a timeline: x in 0..1000, y the row."""

    x: float
    y: int
    lane: str
    title: str


def dots(timeline: Timeline) -> list[Dot]:
    """The events of a device from left to right, a row for each lane; at most as many as can be told apart."""
    end = max((event.at_s for event in timeline.events), default=0) or 1
    every = -(-len(timeline.events) // _DOTS) or 1
    return [
        Dot(round(1000 * event.at_s / end, 1), LANES.index(event.lane), event.lane, f"{event.at_s:.2f} s {event.text}")
        for number, event in enumerate(timeline.events)
        if number % every == 0 or event.lane in ("power", "state")
    ]
