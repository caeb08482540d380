"""Beyond what littlefs promises: cells that were being changed when the power failed read differently each time.

littlefs, like every file system, takes what it reads twice to be the same. A sector that is not, until it is erased
again, can pass a check at one reading and fail it at the next. So losses are possible here; they are counted apart from
those of the sweep, and each is explained.
"""

import random
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from heirloom.cli.errors import HeirloomError
from heirloom.hil.powercut import cuts, record
from heirloom.hil.powercut.campaign import Plan, prepare
from heirloom.hil.powercut.cuts import Cut
from heirloom.hil.powercut.judge import Judge
from heirloom.hil.powercut.lives import Life
from heirloom.hil.powercut.scene import Scene, named
from heirloom.hil.powercut.sweep import case_name
from heirloom.hil.sim.page import Operation

_READINGS = 4  # on the host, before a device is started


@dataclass(frozen=True)
class Unstable:
    """A flash of which some bits read as they like.

    Attributes:
        start: Address of the first of them.
        mask: Which, from there.
    """

    case: str
    cells: bytes
    start: int
    mask: bytes
    seed: int
    operation: Operation


@dataclass
class Findings:
    """What came of unstable cells.

    Attributes:
        cuts: Cases.
        read: Of these, those where littlefs reads the unstable cells at all.
        wavering: Of these, those that littlefs read in more than one way, on the host.
        starts: Devices started, from all that were read.
        losses: Name of the case to what happened and why.
    """

    seed: int
    cuts: int = 0
    read: int = 0
    wavering: int = 0
    starts: int = 0
    losses: dict[str, str] = field(default_factory=dict)


class _Wavering:
    """Bytes of which some bits change with each look; enough of a `bytes` for littlefs to read."""

    def __init__(self, found: Unstable, seed: int) -> None:
        self._found = found
        self._coin = random.Random(seed)  # noqa: S311 - a case that comes again, no secret

    def __len__(self) -> int:
        return len(self._found.cells)

    def __getitem__(self, piece: slice) -> bytes:
        start, data = self._found.start, bytearray(self._found.cells[piece])
        first = max(start, piece.start)
        for at in range(first, min(start + len(self._found.mask), piece.start + len(data))):
            data[at - piece.start] ^= self._found.mask[at - start] & self._coin.getrandbits(8)
        return bytes(data)


def sweep(plan: Plan, number: int, folder: Path, progress: Callable[[str], object]) -> Findings:
    """Cut so many operations of each life, with unstable cells.

    Args:
        plan: Says lives, seed and jobs.
        number: Of cuts in each life.
        folder: Of a sweep with this plan, or empty.
        progress: Told what is being done.
    """
    findings = Findings(plan.seed)
    # Of a file system only, and of what a device does alone.
    lives = [life for life in named(plan.lives) if not life.boots and not life.provisions]
    with prepare(plan, folder, lives, progress) as made:
        for life in lives:
            sweep_life(made, life, folder, number, plan, findings)
            progress(f"{life.name}: {findings.cuts} cuts, {findings.starts} starts, {len(findings.losses)} losses")
    return findings


def sweep_life(made: Scene, life: Life, folder: Path, number: int, plan: Plan, findings: Findings) -> None:
    """One life of `sweep`, with a product that is being served; adds to the findings."""
    start, operations = record.load(folder / "records" / f"{life.name}.z")
    waiting = [
        found for found in cases(made, life, start, operations, number, plan.seed) if _read(made, life, found, findings)
    ]
    with ThreadPoolExecutor(2 * plan.jobs) as pool:
        verdicts = pool.map(partial(_start, made, life, folder), waiting)
        for found, lost in zip(waiting, verdicts, strict=True):
            findings.starts += 1
            if lost:
                findings.losses[found.case] = lost


def cases(
    made: Scene, life: Life, start: bytes, operations: Sequence[Operation], number: int, seed: int
) -> list[Unstable]:
    """Cuts of a life, spread over its operations, each with the bits that were being changed unstable."""
    coin = random.Random(seed)  # noqa: S311 - as above
    wanted = sorted(coin.choices(range(len(operations)), k=number))
    cells, done, found = bytearray(start), 0, []
    for at in wanted:
        for operation in operations[done:at]:
            cuts.apply(cells, operation, made.medium(life).block_size)
        done = at
        operation = operations[at]
        end = operation.address + (len(operation.data) or made.medium(life).block_size)
        cut = Cut(at, "bits", coin.getrandbits(31))
        before = cuts.tear(cells, operation, cut, made.medium(life).block_size)
        after = operation.data or b"\xff" * made.medium(life).block_size
        mask = bytes(old ^ new for old, new in zip(before, after, strict=True))
        if any(mask):
            found.append(Unstable(case_name(life, [cut]), bytes(cells), operation.address, mask, cut.detail, operation))
        cells[operation.address : end] = before
    return found


def _read(made: Scene, life: Life, found: Unstable, findings: Findings) -> bool:
    """Whether littlefs reads unstable cells; counts in how many ways."""
    findings.cuts += 1
    judge = made.judge(life)
    answers: set[bytes] = set()
    touched = False
    for reading in range(_READINGS):
        answer, touches = _look(judge, found, found.seed + reading, made.medium(life).block_size)
        answers.add(answer)
        touched = touched or touches
    findings.read += touched
    findings.wavering += len(answers) > 1
    return touched


def _look(judge: Judge, found: Unstable, seed: int, block_size: int) -> tuple[bytes, bool]:
    try:
        look = judge.look(cast("bytes", _Wavering(found, seed)))
    except HeirloomError:
        return b"unreadable", True
    return look.facts.digest, look.depends_on(found.operation, block_size)


def _start(made: Scene, life: Life, folder: Path, found: Unstable) -> str:
    """Start a device with such a flash. Returns "" or why it is lost."""
    place = folder / f"device-{secrets.token_hex(6)}"
    try:
        with made.device(place, life, found.cells) as device:
            device.make_unstable(found.start, found.mask, found.seed)
            reached = record.goes_its_way(made, life, device)
            device.power_off()
            console = device.console()
    except HeirloomError as exc:
        return _explained(found, f"{exc.message}\n{exc.advice or ''}", made.medium(life).block_size)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return "" if reached else _explained(found, console, made.medium(life).block_size)


def _explained(found: Unstable, console: str, block_size: int) -> str:
    what = f"a program of {len(found.operation.data)} bytes" if found.operation.data else "an erase"
    block = found.start // block_size
    place = "a superblock" if block < 2 else f"block {block}, which littlefs reads"
    return (
        f"{what} in {place}, was cut; {sum(byte.bit_count() for byte in found.mask)} bits there read as they like until"
        f" the block is erased. littlefs takes two readings to be the same. Its console ends\n{console[-2000:]}"
    )
