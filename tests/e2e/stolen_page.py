"""The table of docs/stolen-keys.md: written out of a run, `make stolen-keys`."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ceremony_scene import PASSPHRASE
from stolen_heist import GOALS, HOLDS, Heist, Loot, Row
from stolen_world import LOOT, Field, make_robbed

from heirloom.signing import keyfile

PAGE = Path(__file__).resolve().parents[2] / "docs/stolen-keys.md"
BEGIN, END = "<!-- made by `make stolen-keys` -->", "<!-- end -->"
WORDS = {
    "code": "install arbitrary code",
    "old": "install an old release",
    "other": "install another board's or product's release",
    "choose": "install a signed newer release that nobody put on the channel",
    "jam": "have the maker refused until a ceremony replaces keys",
    "lock": "lock the device out for good",
}
# What divides the rows best comes first.
_ORDER = ["root", "timestamp", "snapshot", "targets", "channels", "all releases keys"]


def page(rows: Mapping[Loot, Row]) -> str:
    """What stands between the markers."""
    return "\n".join([BEGIN, "", *_least(rows), "", *_complete(rows), "", END])


def _least(rows: Mapping[Loot, Row]) -> Iterator[str]:
    yield "### The least that must be stolen"
    yield ""
    yield "| to | the thief needs one of these |"
    yield "|---|---|"
    for goal in GOALS:
        yield f"| {WORDS[goal]} | {_sets({stolen for stolen, row in rows.items() if getattr(row, goal)})} |"
    for days in HOLDS[1:]:
        enough = {stolen for stolen, row in rows.items() if HOLDS.index(row.hold_days) >= HOLDS.index(days)}
        yield f"| hold back updates unnoticed {_hold(days)} | {_sets(enough)} |"


def _sets(found: set[Loot]) -> str:
    least = [one for one in found if not any(other < one for other in found)]
    named = sorted((len(one), " + ".join(sorted(one, key=list(LOOT).index))) for one in least)
    return "; or ".join(text for _, text in named)


def _hold(days: int | None) -> str:
    return "for ever" if days is None else f"up to {days} days"


def _complete(rows: Mapping[Loot, Row]) -> Iterator[str]:
    idle = [thing for thing in LOOT if thing not in _ORDER]
    assert all(rows[stolen] == rows[stolen - {thing}] for stolen in rows for thing in idle if thing in stolen)
    count = len(rows)
    yield f"### All {count} sets"
    yield ""
    yield f"{_and(idle)} change no row: all sets were run with each of them and without. ● stolen, ○ not, · either."
    yield ""
    heads = [*_ORDER[:-1], "releases", "sets", *GOALS, "nothing", "held back unnoticed"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join([':-:'] * len(_ORDER))}|--:|{'|'.join([':-:'] * (len(GOALS) + 1))}|---|"
    total = 0
    for known, row in _folded(rows, ()):
        marks = ["●" if state else "○" for state in known] + ["·"] * (len(_ORDER) - len(known))
        size = sum(_matches(stolen, known) for stolen in rows)
        total += size
        cells = ["**yes**" if getattr(row, goal) else "" for goal in GOALS]
        cells.append("" if any(cells) or row.hold_days != HOLDS[0] else "nothing")
        yield f"| {' | '.join([*marks, str(size), *cells, _hold(row.hold_days)])} |"
    assert total == count


def _and(things: list[str]) -> str:
    text = ", ".join(things[:-1]) + " and " + things[-1]
    return text[0].upper() + text[1:]


def _matches(stolen: Loot, known: tuple[bool, ...]) -> bool:
    return all((thing in stolen) == state for thing, state in zip(_ORDER, known, strict=False))


def _folded(rows: Mapping[Loot, Row], known: tuple[bool, ...]) -> Iterator[tuple[tuple[bool, ...], Row]]:
    found = {row for stolen, row in rows.items() if _matches(stolen, known)}
    if len(found) == 1:
        yield known, found.pop()
        return
    for state in (True, False):
        yield from _folded(rows, (*known, state))


def with_page(text: str, rows: Mapping[Loot, Row]) -> str:
    """The whole file, with the table of these rows."""
    before, _, rest = text.partition(BEGIN)
    return before + page(rows) + rest.partition(END)[2]


@contextmanager
def heist(micropython: Path, folder: Path) -> Iterator[Heist]:
    """A product, robbed, in an empty folder."""
    (folder / "flash").mkdir()
    field = Field(micropython, folder / "flash")
    try:
        yield Heist(make_robbed(folder / "product"), field, folder / "thefts")
    finally:
        field.close()


def main() -> None:
    """Run the whole table and write it down."""
    scripts = Path(sys.executable).parent
    os.environ |= {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HEIRLOOM_PASSPHRASE": PASSPHRASE}
    os.environ["HEIRLOOM_KEYS"] = ""
    keyfile.SCRYPT_N = 2  # keys that open at once
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder, heist(scripts / "micropython", Path(folder)) as run:
        rows = run.rows
    PAGE.write_text(with_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    print(f"{len(rows)} sets of stolen things, {run.mounted} thefts, {run.field.ran} checks by the device; see {PAGE}")


if __name__ == "__main__":
    main()
