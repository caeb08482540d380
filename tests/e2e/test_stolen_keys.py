"""The table of stolen keys: every set, every goal, by thefts that are really mounted against the real client.

What comes of it is what DESIGN promises, cell by cell, and what docs/stolen-keys.md shows. That the thief is good
enough to find a hole is tested, too: the client is broken in one place, and he gets in.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from stolen_heist import Heist, Loot, held, subsets, ways
from stolen_page import PAGE, with_page
from stolen_promises import promised
from stolen_world import DEVICE, Field, Robbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_cell_is_what_the_promises_imply(robbed: Robbed, field: Field, tmp_path: Path) -> None:
    """And what the page shows. In one test, because the run takes a minute or two."""
    rows = Heist(robbed, field, tmp_path).rows
    assert len(rows) == 1024
    wrong = [stolen for stolen, row in rows.items() if row != promised(stolen)]
    assert not wrong, "\n".join(f"{sorted(one)}:\n  is {rows[one]}\n  promised {promised(one)}" for one in wrong)
    text = PAGE.read_text(encoding="utf-8")
    assert with_page(text, rows) == text, "run `make stolen-keys`"


def test_a_thief_of_more_can_do_what_a_thief_of_less_can() -> None:
    """What the run of parts stands on: every way of a part is a way of the whole, or is no better than one of them."""
    for stolen in subsets():
        for thing in stolen:
            less = set(ways(stolen - {thing}))
            assert all(used <= held(stolen) for used in less)
            rooted = "root below threshold"
            assert {used for used in less if rooted not in used} <= set(ways(stolen))


# A file of the client, what stands there, what a careless author would have written; what the thief has, and now gains.
BROKEN: dict[str, tuple[str, str, str, set[str], str]] = {
    "the channel alone decides": (
        "finding.py",
        "    if target is None or target.sha256 != pointer.sha256 or target.length != pointer.length:",
        "    if target is None:\n        target, target.path = pointer, path\n    if False:",
        {"channels", "snapshot", "timestamp"},
        "code",
    ),
    "the order is not checked": (
        "ordering.py",
        "    order = list(order)\n",
        "    return\n",
        {"channels", "snapshot", "timestamp"},
        "old",
    ),
    "one signature is enough": (
        "keys.py",
        "                if len(counted) == self.threshold:",
        "                if counted:",
        {"one releases key", "channels", "snapshot", "timestamp"},
        "code",
    ),
    "a new root forgets nothing": (
        "rootchain.py",
        "        if _identity(trust.by_root(role)) != _identity(by_root(document, role)):",
        "        if False:",
        {"timestamp"},
        "lock",
    ),
    "releases tell the time for good": (
        "timebound.py",
        'if role in ("root", "targets"):',
        'if role in ("root", "targets") or role.startswith("releases-"):',
        {"all releases keys", "snapshot", "timestamp"},
        "lock",
    ),
}


@pytest.fixture
def broken(
    request: pytest.FixtureRequest, robbed: Robbed, micropython: Path, tmp_path: Path
) -> Iterator[tuple[Heist, Loot, str]]:
    name, before, after, used, goal = BROKEN[request.param]
    client = tmp_path / "device"
    shutil.copytree(DEVICE / "heirloom", client / "heirloom")
    path = client / "heirloom/device" / name
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    (tmp_path / "flash").mkdir()
    field = Field(micropython, tmp_path / "flash", client)
    yield Heist(robbed, field, tmp_path / "thefts"), frozenset(used), goal
    field.close()


@pytest.mark.parametrize("broken", BROKEN, indirect=True)
def test_the_thief_finds_a_broken_client(broken: tuple[Heist, Loot, str]) -> None:
    heist, used, goal = broken
    assert not getattr(promised(used), goal)
    assert heist.can(goal, used)
