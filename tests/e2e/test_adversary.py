"""The table of docs/adversary.md: every attack, whatever was stolen, however a device is connected, on the real client.

Each run mounts some cells, chosen by a seed that is named where one is wrong; HEIRLOOM_ADVERSARY=all mounts all of them
and holds the page against them. That the adversary is good enough to find a hole is tested, too.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from adversary_attacks import ATTACKS
from adversary_page import NOTHING, PAGE, reported, with_page
from adversary_promises import wrong
from adversary_table import CONNECTIONS, OFFLINE, OLD_STICK, STICK, STOLEN, Cell, Table
from stolen_heist import Heist
from stolen_world import DEVICE, Field, Robbed

# The devices take the client from the source tree, and the page lies there.
pytestmark = pytest.mark.usefixtures("source_tree")
EVERYTHING = os.environ.get("HEIRLOOM_ADVERSARY") == "all"
SEED = int(os.environ["HEIRLOOM_SEED"])  # tests/conftest.py
SAMPLE = 14
BY_NAME = {attack.name: attack for attack in ATTACKS}


@pytest.fixture
def table(robbed: Robbed, field: Field, tmp_path: Path) -> Table:
    return Table(Heist(robbed, field, tmp_path / "thefts"), tmp_path / "adversary")


@pytest.mark.skipif(EVERYTHING, reason="all cells are mounted by another test")
def test_cells_are_what_is_promised(table: Table) -> None:
    coin = Random(SEED)
    cells = [(attack, stolen, name) for attack in ATTACKS for stolen in STOLEN for name in CONNECTIONS]
    for attack, stolen, connection in coin.sample(cells, SAMPLE):
        why = wrong(attack, STOLEN[stolen], connection, table.cell(attack, STOLEN[stolen], connection))
        assert not why, f"{attack.name}, {stolen}, {connection}, seed {SEED}: {why}"


@pytest.mark.skipif(not EVERYTHING, reason="minutes: HEIRLOOM_ADVERSARY=all, or make adversary")
@pytest.mark.timeout(3600)
def test_every_cell_is_what_is_promised_and_what_the_page_shows(table: Table) -> None:
    rows = list(table.rows())
    assert [row.name for row in reported(rows) if row.wrong] == []
    text = PAGE.read_text(encoding="utf-8")
    assert with_page(text, rows) == text, "run `make adversary`"


def test_the_page_names_every_attack_and_no_cell_is_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for attack in ATTACKS:
        section = text.partition(f"### {attack.name[0].upper()}{attack.name[1:]} (")[2].partition("###")[0]
        assert section, f"{attack.name}: run `make adversary`"
        rows = [line for line in section.split("\n") if line.startswith("| ") and "stolen |" not in line]
        assert all(cell.strip() for row in rows for cell in row.strip("|").split("|")), attack.name
        assert (NOTHING in section) == attack.networks, attack.name


def test_the_page_shows_what_is_promised() -> None:
    """The whole table, as it was measured; the sample above sees a few cells of it."""
    text = PAGE.read_text(encoding="utf-8")
    for attack in ATTACKS:
        section = text.partition(f"### {attack.name[0].upper()}{attack.name[1:]} (")[2].partition("###")[0]
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n") if line[:2] == "| "
        ]
        shown = {name: cells for names, *cells in rows for name in names.split("; ")}
        for stolen, loot in STOLEN.items():
            cells = shown.get(stolen) or shown["whatever was stolen"]
            for connection, cell in zip(CONNECTIONS, cells, strict=True):
                why = wrong(attack, loot, connection, None if cell == NOTHING else as_cell(cell))
                assert not why, f"{attack.name}, {stolen}, {connection}: {why}"


def as_cell(text: str) -> Cell:
    """The cell that `Cell.text` wrote."""
    locks = "**locked out**" in text
    codes = frozenset(re.findall(r"E_[A-Z_]+", text))
    return Cell("**installs**" in text, "held back" in text, locks or "**jams**" in text, locks, codes)


# A file of the client, what stands there, what a careless author would have written; the cell in which it shows.
BROKEN: dict[str, tuple[str, str, str, str, str, str]] = {
    "a stick is not asked for freshness": (
        "updater.py",
        "accept_stale = not self._looking and _take_stale()",
        "accept_stale = bool(self._media)",
        "another signed release",
        "all online keys",
        OLD_STICK,
    ),
    "expiry is not looked at": (
        "trust.py",
        "            raise UpdateError(E_STALE,",
        "            return\n            raise UpdateError(E_STALE,",
        "indefinite freeze",
        "nothing",
        OFFLINE,
    ),
    "the order is not checked": (
        "ordering.py",
        "    order = list(order)\n",
        "    return\n",
        "rollback of a release",
        "all online keys",
        STICK,
    ),
    "blobs are not hashed": (
        "blobs.py",
        "        return left == 0 and digest.digest() == sha256",
        "        return left == 0",
        "mixed bundle",
        "nothing",
        STICK,
    ),
}


@pytest.fixture
def broken(
    request: pytest.FixtureRequest, robbed: Robbed, micropython: Path, tmp_path: Path
) -> Iterator[tuple[Table, str, str, str]]:
    name, before, after, *cell = BROKEN[request.param]
    client = tmp_path / "device"
    shutil.copytree(DEVICE / "heirloom", client / "heirloom")
    path = client / "heirloom/device" / name
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    (tmp_path / "flash").mkdir()
    field = Field(micropython, tmp_path / "flash", client)
    yield Table(Heist(robbed, field, tmp_path / "thefts"), tmp_path / "adversary"), *cell
    field.close()


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN, indirect=True)
def test_the_adversary_finds_a_broken_client(broken: tuple[Table, str, str, str]) -> None:
    table, attack, stolen, connection = broken
    cell = table.cell(BY_NAME[attack], STOLEN[stolen], connection)
    assert wrong(BY_NAME[attack], STOLEN[stolen], connection, cell)
