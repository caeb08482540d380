"""Every theft, mounted: for each set of stolen things, what a real device lets the thief do.

A thief need not use all that he has. So each way of using some of it is mounted once against a fresh copy of the
device, and a set of stolen things can do what any part of it can.
"""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stolen_thief import Plan, Thief, just_before_root_expires, new_own, payloads
from stolen_world import CONTAINS, LOOT, RELEASES, Field, Robbed

from heirloom.cli.errors import HeirloomError
from heirloom.signing.roles import CHANNELS_PREFIX, ROOT, SNAPSHOT, TIMESTAMP, rule

Loot = frozenset[str]

_ALL_BUT_ROOT = frozenset(LOOT) - {"root", "publishing server", "API token"}

GOALS = ("code", "old", "other", "choose", "jam", "lock")
DAY_S = 86400
# For how long at most a device can be kept from news without its noticing: the shortest life of a role that the thief
# cannot renew. None is for ever.
LIVES_DAYS = [rule(role).lifetime.days for role in (TIMESTAMP, SNAPSHOT, CHANNELS_PREFIX, RELEASES, ROOT)]
HOLDS: list[int | None] = [*LIVES_DAYS, None]


@dataclass(frozen=True)
class Row:
    """What a thief can do to a device.

    Attributes:
        code, old, other: Install arbitrary code, an old release, another board's or product's.
        choose: Install a signed, newer release that no maker put on the device's channel.
        jam: Have the maker's releases refused until the maker replaces keys in a ceremony.
        lock: Have them refused after that, too.
        hold_days: Keep news from it for so long before it notices; None: for ever.
    """

    code: bool
    old: bool
    other: bool
    choose: bool
    jam: bool
    lock: bool
    hold_days: int | None


def subsets() -> Iterator[Loot]:
    """All 1024."""
    for count in range(len(LOOT) + 1):
        for things in itertools.combinations(LOOT, count):
            yield frozenset(things)


def held(stolen: Loot) -> Loot:
    """What comes with it: a whole threshold has a part of one."""
    return stolen | {part for whole, part in CONTAINS.items() if whole in stolen}


def ways(stolen: Loot) -> Iterator[Loot]:
    """The parts of it that a thief may use. Of a threshold he uses the whole or one key.

    A whole root makes every other key his own, so beside it he uses none. A root that too few signed makes a device
    refuse what comes with it, so he publishes one alone, or, to see that, with everything. What he writes into the
    server's files, the publisher signs with its own online keys, or nobody does.
    """
    things = held(stolen)
    if "publishing server" in things:
        left_behind = {"publishing server", "snapshot", "timestamp", "root", "root below threshold"}
        yield from (used | {"publishing server"} for used in ways(frozenset(things - left_behind)))
    things -= {"publishing server", "API token"}  # nothing takes a token
    if "root" in things:
        yield frozenset({"root"})
    if "root below threshold" in things:
        yield frozenset({"root below threshold"})
        if things >= _ALL_BUT_ROOT:
            yield _ALL_BUT_ROOT - {"one releases key"}
    free = sorted(things - {"root", "root below threshold"})
    for count in range(len(free) + 1):
        for used in itertools.combinations(free, count):
            if not any(whole in used and part in used for whole, part in CONTAINS.items()):
                yield frozenset(used)


class Heist:
    """Mounts thefts, and remembers what came of them."""

    def __init__(self, robbed: Robbed, field: Field, folder: Path) -> None:
        self.robbed, self.field, self.folder = robbed, field, folder
        self.began = int(robbed.began.timestamp()) + 600
        self.mounted = 0
        self.keys = robbed.signers()
        self.own = new_own()
        self._known: dict[tuple[str, Loot], Any] = {}
        self.payloads = payloads(robbed)
        root = robbed.seen / "metadata/1.root.json"
        field.provision("blank", root)
        field.live("blank", [self.step(robbed.seen)], keep="device")

    def row(self, stolen: Loot) -> Row:
        """What can be done with these things."""
        possible = {goal: any(self.can(goal, used) for used in ways(stolen)) for goal in GOALS}
        held_back = max(HOLDS.index(self.holds_back(used)) for used in ways(stolen))
        return Row(**possible, hold_days=HOLDS[held_back])

    def can(self, goal: str, used: Loot) -> bool:
        """Whether the thief reaches a goal by using exactly these things."""
        if goal not in ("code", "choose"):  # the publisher signs what was planted, or it does not
            used -= {"publishing server"}
        tried: dict[str, Callable[[Loot], bool]] = {"jam": self._jams, "lock": self._locks}
        attempt = tried.get(goal, lambda things: self._installs(goal, things))
        return bool(self._once(goal, used, attempt))

    def holds_back(self, used: Loot) -> int | None:
        """For how many days the device believes that 1.1.0 is the newest; None for ever."""
        days: int | None = self._once("hold", used - {"publishing server"}, self._hold_days)
        return days

    def _once(self, goal: str, used: Loot, attempt: Callable[[Loot], Any]) -> Any:
        if (goal, used) not in self._known:
            self._known[goal, used] = attempt(used)
        return self._known[goal, used]

    def step(self, *folders: Path, days: float = 0, **more: object) -> dict[str, object]:
        return {"serve": [str(folder) for folder in folders], "now": self.began + int(days * DAY_S), **more}

    def rob(self, used: Loot, plan: Plan) -> Path:
        folder = self.folder / str(self.mounted)
        self.mounted += 1
        return Thief(used, self.keys, folder, self.own, self.robbed.began).publish(plan)

    def _lives(self, *steps: dict[str, object]) -> list[dict[str, Any]]:
        return self.field.live("device", steps)

    def _installs(self, goal: str, used: Loot) -> bool:
        return any(self._installed(used, plan) for plan in self.plans(goal, used))

    def plans(self, goal: str, used: Loot) -> list[Plan]:
        plans = [Plan(self.robbed.latest, payload) for payload in self.payloads[goal]]
        if "publishing server" in used:
            return plans
        if goal == "code":
            plans += [replace(plans[0], lie=lie) for lie in ("own", "twice")]
        if "targets" in used:
            plans.append(replace(plans[0], direct=True))
        return plans

    def _installed(self, used: Loot, plan: Plan) -> bool:
        """Served by the thief, or, when he has written into the server's files, by the publisher who renews them."""
        folder = self.rob(used - {"publishing server"}, plan)
        if "publishing server" in used:
            self._renew(folder)
        (outcome,) = self._lives(self.step(folder, plan.base))
        assert plan.payload
        return bool(outcome["installed"] == plan.payload.version)

    def _renew(self, folder: Path) -> None:
        """Lay the thief's files among the publisher's, who goes on from them with its own keys, or refuses to."""
        project = self.robbed.at_theft(self.folder / f"project-{self.mounted}")
        shutil.copytree(folder, project.repository.path, dirs_exist_ok=True)
        with contextlib.suppress(HeirloomError):
            project.heirloom("renew", "--all")
        shutil.rmtree(folder)
        shutil.move(project.repository.path, folder)

    def _hold_days(self, used: Loot) -> int | None:
        """Served what it has seen, signed to last as far as the thief can."""
        folder = self.rob(used, Plan(self.robbed.seen))
        margin = 1 / 24
        moments = [LIVES_DAYS[0] - margin, *(days + margin for days in LIVES_DAYS)]
        outcomes = self._lives(*(self.step(folder, self.robbed.seen, days=days) for days in moments))
        unnoticed = [not outcome["code"] for outcome in outcomes]
        assert not any(outcome["installed"] for outcome in outcomes)
        return HOLDS[max(unnoticed.index(False) - 1, 0)] if False in unnoticed else None

    def _poisons(self) -> list[Plan]:
        plan = Plan(self.robbed.latest)
        late = just_before_root_expires(self.robbed.latest)
        return [
            replace(plan, versions="huge"),
            replace(plan, versions="huge", broken=True),
            replace(plan, broken=True),
            replace(plan, dated=late, all_dated=True),
            replace(plan, dated=late),
        ]

    def _jams(self, used: Loot) -> bool:
        """Whether a poison outlasts the thief: the maker's next release, by the keys as they were, is refused."""
        return any(not outcomes[1]["installed"] for outcomes in self._poisoned(used))

    def _locks(self, used: Loot) -> bool:
        """Whether the device refuses what the maker publishes after the ceremony.

        Also when the thief has code of his own run there.
        """
        if any(not outcomes[2]["installed"] for outcomes in self._poisoned(used)):
            return True
        if not self.can("code", used):
            return False
        folder = self.rob(used, Plan(self.robbed.latest, self.payloads["code"][0]))
        outcomes = self._lives(self.step(folder, self.robbed.latest, run=True), self.step(self.robbed.recovered))
        return not outcomes[1]["installed"]

    def _poisoned(self, used: Loot) -> list[list[dict[str, Any]]]:
        used -= {"publishing server"}
        found: list[list[dict[str, Any]]] = self._once("poison", used, self._poison)
        return found

    def _poison(self, used: Loot) -> list[list[dict[str, Any]]]:
        """For each poison: what the device says to the thief, to the maker, and to the maker after the ceremony."""
        found = []
        for plan in self._poisons():
            folder = self.rob(used, plan)
            maker = [self.step(served) for served in (self.robbed.later, self.robbed.recovered)]
            found.append(self._lives(self.step(folder, plan.base), *maker))
        return found

    @cached_property
    def rows(self) -> dict[Loot, Row]:
        """The whole table."""
        return {stolen: self.row(stolen) for stolen in subsets()}
