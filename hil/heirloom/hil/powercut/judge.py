"""What flash says after each cut of a recorded life, by real littlefs, looking only where something changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError
from heirloom.hil.powercut import cuts, facts, firmware, steps
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.facts import Facts
from heirloom.hil.powercut.lives import ADOPTED, Life
from heirloom.hil.powercut.medium import Medium
from heirloom.hil.sim.page import Operation

_PAGE = 256


@dataclass(frozen=True)
class Look:
    """A flash as littlefs reads it.

    Attributes:
        read: For each page of the file system, whether littlefs read anything there.
    """

    facts: Facts
    content: dict[str, bytes]
    read: bytearray

    def depends_on(self, operation: Operation, block_size: int) -> bool:
        """Whether the operation changes anything that was read. If not, all of this holds after it, too."""
        first = operation.address // _PAGE
        last = (operation.address + (len(operation.data) or block_size) - 1) // _PAGE
        return any(self.read[first : last + 1])


@dataclass(frozen=True)
class Case:
    """A cut that leaves a flash which no other cut of this life left.

    Attributes:
        facts: What is there; None: littlefs cannot read it.
        wrong: Why no device may be left so; empty when all is well.
        mounted: Whether littlefs read this very flash; else it reads nothing of what the cut touched.
        cells: A look at the flash; it changes when the next case is asked for.
    """

    cut: Cut
    facts: Facts | None
    wrong: tuple[str, ...]
    mounted: bool
    cells: bytearray


class Judge:
    """Judges the cuts of one life.

    Args:
        medium: What the cells are.
        life: Says which releases may run.
        again: Whether it is lived after a cut: then a person begins to speak again.
    """

    def __init__(self, medium: Medium, life: Life, again: bool = False) -> None:
        self._medium = medium
        self._life = life
        self._again = again
        self.phases: dict[str, int] = {}  # flash operations of each, filled by `cases`

    def look(self, cells: bytearray | bytes) -> Look:
        """Read a flash.

        Raises:
            HeirloomError: littlefs cannot.
        """
        read = bytearray(len(cells) // _PAGE + 1)

        def watch(start: int, size: int) -> None:
            start += self._medium.base
            for page in range(start // _PAGE, (start + size - 1) // _PAGE + 1):
                read[page] = 1

        model = self._medium.board
        content, others = lfs.survey(model.flash, self._medium.filesystem(cells), (facts.HOME, facts.DATA), watch)
        seen = facts.read(content, others)
        if self._medium.whole:
            found = firmware.look(bytes(cells), model.chip, facts.read_state(content.get(facts.STATE)))
            watch(found.reach[0] - self._medium.base, found.reach[1] - found.reach[0])
            seen = seen.on(found)
        return Look(seen, content, read)

    def _look_twice(self, cells: bytearray) -> Look:
        """An exception that strikes while littlefs asks for bytes (a signal, a timeout) looks like a bad flash."""
        try:
            return self.look(cells)
        except HeirloomError:
            return self.look(cells)

    def wrong(self, seen: Facts, before: Facts) -> tuple[str, ...]:
        """Why no cut may leave a device so, one flash operation after it was `before`."""
        life = self._life
        adopting = life.adopts
        found = [*seen.wrong, *seen.follows(before, forgets=adopting and before.owed)]
        found += () if adopting else seen.strange
        if adopting and not seen.owed and (seen.secret == life.secret) != (seen.marks["trusted root"] == ADOPTED):
            found.append("half of the device belongs to who adopted it")
        if seen.runs not in (life.old, life.serves, life.ends):
            found.append(f"{seen.runs} would run, which is neither the old release nor the new one")
        if before.runs and not seen.runs:
            found.append(f"{before.runs} could run, and now nothing can")
        if seen.migrated > 1:
            found.append(f"the settings were migrated {seen.migrated} times")
        if seen.migrated and life.migrates and (seen.trial or seen.runs != life.ends):
            found.append(
                f"{seen.runs}, which is not confirmed or came before, sees the settings that {life.ends} migrated"
            )
        if heard := self._heard(seen.owner, before.owner):
            found.append(f"the owner's switch for updates {heard}")
        return tuple(found)

    def _heard(self, now: str, before: str) -> str:
        """What is wrong with what the owner is taken to have said, or ""."""
        words = self._life.words
        if not words:
            return "" if now == before else f"went from {before} to {now}, by itself"
        if now not in words:
            return f"is {now}"
        said_again = self._again and now in words[1:2]
        if not said_again and before in words and words.index(now) < words.index(before):
            return f"went from {before} back to {now}"
        return ""

    def cases(self, start: bytes, operations: list[Operation], chosen: Iterable[Cut]) -> Iterator[Case]:
        """Every chosen cut that leaves a flash of its own, in order.

        Args:
            start: The flash before the first operation.
            operations: The life.
            chosen: Cuts in the order of operations.

        Raises:
            HeirloomError: littlefs cannot read `start`.
        """
        block = self._medium.block_size
        cells = bytearray(start)
        base = self.look(cells)
        waiting = iter(chosen)
        cut = next(waiting, None)
        pending, since = base.content, 0
        verdict: tuple[bool, tuple[str, ...]] = (True, self.wrong(base.facts, base.facts))
        fresh = True  # this boundary's flash is another than the one before
        for at in range(len(operations) + 1):
            operation = operations[at] if at < len(operations) else None
            torn: set[bytes] = set()
            if operation is not None:
                torn = {_reach(cells, operation, block), operation.data or b"\xff" * block}
            while cut is not None and cut.at == at:
                if cut.kind == "before":
                    if fresh:
                        yield Case(cut, base.facts, verdict[1], verdict[0], cells)
                elif operation is not None:
                    undone = cuts.tear(cells, operation, cut, block)
                    reached = _reach(cells, operation, block)
                    if reached not in torn:
                        torn.add(reached)
                        yield self._torn(cells, operation, cut, base)
                    cells[operation.address : operation.address + len(undone)] = undone
                cut = next(waiting, None)
            if operation is None:
                break
            fresh = _reach(cells, operation, block) != (operation.data or b"\xff" * block)
            mounted = fresh and base.depends_on(operation, block)
            cuts.apply(cells, operation, block)
            verdict = (False, ())
            if beside := self._medium.outside(operation.address):
                self.phases[beside] = self.phases.get(beside, 0) + 1
                since += 1
            if mounted:
                after = self.look(cells)
                verdict = (True, self.wrong(after.facts, base.facts))
                phase = self._phase(pending, after.content)
                if phase:
                    self.phases[phase] = self.phases.get(phase, 0) + at + 1 - since
                    pending, since = after.content, at + 1
                base = after

    def _phase(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
        found = steps.phase(before, after)
        # Until it has started as a device, all that happens is the host's doing.
        return "provision" if found and self._life.provisions and facts.STATE not in after else found

    def _torn(self, cells: bytearray, operation: Operation, cut: Cut, base: Look) -> Case:
        if not base.depends_on(operation, self._medium.block_size):
            return Case(cut, base.facts, (), False, cells)
        try:
            seen = self._look_twice(cells).facts
        except HeirloomError as exc:
            return Case(cut, None, (exc.message,), True, cells)
        return Case(cut, seen, self.wrong(seen, base.facts), True, cells)


def _reach(cells: bytearray, operation: Operation, block_size: int) -> bytes:
    return bytes(cells[operation.address : operation.address + (len(operation.data) or block_size)])


def flash_at(start: bytes, operations: list[Operation], cut: Cut, block_size: int) -> bytes:
    """The flash that a cut leaves."""
    cells = bytearray(start)
    for operation in operations[: cut.at]:
        cuts.apply(cells, operation, block_size)
    if cut.at < len(operations):
        cuts.tear(cells, operations[cut.at], cut, block_size)
    return bytes(cells)
