"""What a report is made of, and how each part lies in the folder of a run.

junit.xml               what passed, failed, and was skipped (pytest --junitxml)
devices/NAME.json       the timeline of one device
powercut.json           the sweep of power cuts
attacks.json            the table of attacks
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

JUNIT = "junit.xml"
DEVICES = "devices"
POWERCUT = "powercut.json"
ATTACKS = "attacks.json"

#: From above, as people read them: what the rig did, what the device is, said, wrote and asked for.
LANES = ("power", "state", "console", "flash", "request")


@dataclass(frozen=True)
class Event:
    """Something that happened to a device.

    Attributes:
        at_s: Seconds since its recording began.
        lane: One of LANES.
        text: A line for people. In the lane "flash" the number of operations since the event before.
    """

    at_s: float
    lane: str
    text: str


@dataclass(frozen=True)
class Timeline:
    """What was seen of one device in one test."""

    device: str
    board: str
    driver: str
    test: str
    events: Sequence[Event] = ()


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        outcome: "passed", "failed", "error" (of the rig) or "skipped".
        detail: Why, if it did not pass.
    """

    name: str
    outcome: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class CutPhase:
    """One phase of a sweep of power cuts.

    Attributes:
        operations: Flash operations of its life without a cut.
        cells: (operation, kind of cut, outcome, how many); outcomes are "old", "new", "started" and "lost".
    """

    name: str
    operations: int
    cells: Sequence[tuple[int, str, str, int]]


@dataclass(frozen=True)
class PowerCuts:
    """A sweep of power cuts."""

    seed: int
    seconds: float
    phases: Sequence[CutPhase]
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attack:
    """One row of the table of attacks.

    Attributes:
        stolen: What the attacker has besides the network.
        cells: How the device is connected, to what came of it there.
        wrong: The columns in which that is not what was promised.
    """

    name: str
    stolen: str
    cells: dict[str, str]
    wrong: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A run of the rig."""

    title: str
    cases: Sequence[Case] = ()
    timelines: Sequence[Timeline] = ()
    powercuts: PowerCuts | None = None
    attacks: Sequence[Attack] = ()
