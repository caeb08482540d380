"""The devices of a rig as a person asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.hil.drivers import unavailable_reason
from heirloom.hil.rig.file import read
from heirloom.hil.rig.shelf import Quarantine, Statistics, shelf_of


@dataclass(frozen=True)
class Listed:
    """One device.

    Attributes:
        unavailable: Why it cannot be driven on this machine, or None.
        in_use: By whom, or None.
        quarantine: Why it is out of use, or None.
        statistics: How it has been doing.
    """

    name: str
    driver: str
    board: str
    unavailable: str | None
    in_use: str | None
    quarantine: Quarantine | None
    statistics: Statistics

    def line(self) -> str:
        """For a person."""
        state = "free"
        if self.quarantine:
            state = f"in quarantine since {self.quarantine.since}: {self.quarantine.reason}"
        elif self.unavailable:
            state = self.unavailable
        elif self.in_use:
            state = self.in_use
        done = self.statistics
        counts = f"{done.uses} uses, {done.retries} retries, {done.troubles} troubles"
        return f"{self.name:20} {self.driver:7} {self.board:18} {state} ({counts})"


def look(rig: Path, released: Sequence[str]) -> list[Listed]:
    """The devices of a rig, after some were taken out of quarantine.

    Raises:
        HeirloomError: The rig's file is wrong, or has no such device.
    """
    resources, shelf = read(rig), shelf_of(rig)
    for name in released:
        if name not in {one.name for one in resources}:
            raise HeirloomError(f"the rig {rig} has no device {name}", "see `heirloom hil list`")
        shelf.release(name)
    return [
        Listed(
            one.name,
            one.driver,
            one.board,
            unavailable_reason(one),
            shelf.in_use(one.name),
            shelf.quarantine(one.name),
            shelf.statistics(one.name),
        )
        for one in resources
    ]
