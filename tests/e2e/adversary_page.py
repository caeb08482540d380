"""The table of docs/adversary.md, and attacks.json for the report of a run: `make adversary`."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import adversary_promises as promises
from adversary_attacks import ATTACKS, Attack
from adversary_table import CONNECTIONS, STOLEN, Cell, Table
from ceremony_scene import PASSPHRASE
from stolen_page import heist

from heirloom.hil.reporting.model import ATTACKS as FILE
from heirloom.hil.reporting.model import Attack as Reported
from heirloom.signing import keyfile

PAGE = Path(__file__).resolve().parents[2] / "docs/adversary.md"
BEGIN, END = "<!-- made by `make adversary` -->", "<!-- end -->"
NOTHING = "n/a"
Row = tuple[Attack, str, Mapping[str, Cell | None]]


def page(rows: Iterable[Row]) -> str:
    """What stands between the markers: a table for each attack; sets of keys with the same outcome share a row."""
    found = list(rows)
    lines = [BEGIN, ""]
    for attack in ATTACKS:
        lines += [f"### {attack.name[0].upper()}{attack.name[1:]} ({attack.source})", ""]
        lines += [f"| stolen | {' | '.join(CONNECTIONS)} |", f"|---|{'---|' * len(CONNECTIONS)}"]
        lines += _shared([row for row in found if row[0] is attack])
        lines.append("")
    return "\n".join([*lines, END])


def _shared(rows: list[Row]) -> Iterator[str]:
    texts: dict[tuple[str, ...], list[str]] = {}
    for _, stolen, cells in rows:
        outcome = tuple(cell.text() if cell else NOTHING for cell in cells.values())
        texts.setdefault(outcome, []).append(stolen)
    for outcome, names in texts.items():
        everything = "whatever was stolen" if len(names) == len(STOLEN) else "; ".join(names)
        yield f"| {everything} | {' | '.join(outcome)} |"


def with_page(text: str, rows: Iterable[Row]) -> str:
    """The whole file, with the table of these rows."""
    before, _, rest = text.partition(BEGIN)
    return before + page(rows) + rest.partition(END)[2]


def reported(rows: Iterable[Row]) -> list[Reported]:
    """As the report of a run shows it."""
    return [
        Reported(
            attack.name,
            stolen,
            {connection: cell.text().replace("*", "") if cell else NOTHING for connection, cell in cells.items()},
            [name for name, cell in cells.items() if promises.wrong(attack, STOLEN[stolen], name, cell)],
        )
        for attack, stolen, cells in rows
    ]


def main() -> None:
    """Run the whole table, hold it against the promises, and write it down."""
    scripts = Path(sys.executable).parent
    os.environ |= {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HEIRLOOM_PASSPHRASE": PASSPHRASE}
    os.environ["HEIRLOOM_KEYS"] = ""
    keyfile.SCRYPT_N = 2  # keys that open at once
    with tempfile.TemporaryDirectory(prefix="heirloom-") as name, heist(scripts / "micropython", Path(name)) as run:
        table = Table(run, Path(name) / "adversary")
        rows = []
        for row in table.rows():
            print(f"\r{len(rows) + 1} of {len(ATTACKS) * len(STOLEN)}: {row[0].name}\033[K", end="", file=sys.stderr)
            rows.append(row)
        print(file=sys.stderr)
        checks = run.field.ran
    PAGE.write_text(with_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        (Path(sys.argv[1]) / FILE).write_text(json.dumps([asdict(row) for row in reported(rows)]))
    wrong = [
        f"{attack.name}, {stolen}, {connection}: {why}"
        for attack, stolen, cells in rows
        for connection, cell in cells.items()
        if (why := promises.wrong(attack, STOLEN[stolen], connection, cell))
    ]
    cells = sum(len(row[2]) for row in rows)
    print(
        f"{cells} cells, {table.mounted} attacks mounted, {checks} checks by devices; {len(wrong)} against the promises"
    )
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
