"""What the flash holds when the power fails at, or inside, one operation."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from heirloom.hil.sim.page import Operation

Kind = Literal["before", "prefix", "bits"]

_ERASED = 0xFF


@dataclass(frozen=True)
class Cut:
    """One power cut.

    Attributes:
        at: Number of the operation in its run, from 0. One more than the last: after all of them.
        kind: "before" it (so after the one before); inside it with the first bytes done ("prefix"), or with some of
            its bits ("bits"), of a program or of an erase.
        detail: The number of bytes, or the seed of the bits.
    """

    at: int
    kind: Kind
    detail: int = 0

    def __str__(self) -> str:
        return f"{self.at}:{self.kind}:{self.detail}"

    @classmethod
    def parse(cls, text: str) -> "Cut":
        """The cut that `str` wrote.

        Raises:
            ValueError: It is none.
        """
        at, kind, detail = text.split(":")
        if kind not in get_args(Kind):
            raise ValueError(f"{kind} is no kind of cut")
        return cls(int(at), kind, int(detail))  # type: ignore[arg-type]


def apply(cells: bytearray, operation: Operation, block_size: int) -> None:
    """Let the operation happen, whole."""
    start, after = _reach(operation, block_size)
    cells[start : start + len(after)] = after


def tear(cells: bytearray, operation: Operation, cut: Cut, block_size: int) -> bytes:
    """Let the operation happen as far as the cut allows. Returns what was there, to put it back at its address."""
    start, after = _reach(operation, block_size)
    before = bytes(cells[start : start + len(after)])
    if cut.kind == "prefix":
        cells[start : start + cut.detail] = after[: cut.detail]
    elif cut.kind == "bits":
        cells[start : start + len(after)] = _some_bits(before, after, cut.detail)
    return before


def _reach(operation: Operation, block_size: int) -> tuple[int, bytes]:
    return operation.address, operation.data or bytes([_ERASED]) * block_size


def _some_bits(before: bytes, after: bytes, seed: int) -> bytes:
    """Each bit that changes has changed or not, by a coin that is the same for the same seed."""
    coins = random.Random(seed).randbytes(len(before))  # noqa: S311 - a case that comes again, no secret
    # Programming clears bits, erasing sets them: the same expression for both.
    return bytes(old ^ ((old ^ new) & coin) for old, new, coin in zip(before, after, coins, strict=True))


def choose(operations: Sequence[Operation], number: int, seed: int, block_size: int) -> Iterator[Cut]:
    """So many different cuts of a run, in its order: first one before each operation, then inside them, evenly.

    Args:
        operations: The run.
        number: How many; less than one for each operation: evenly spread.
        seed: For what is at random.
        block_size: Bytes that an erase reaches.
    """
    steps = len(operations) + 1
    if number <= steps:
        yield from (Cut(step * steps // number, "before") for step in range(number))
        return
    coin = random.Random(seed)  # noqa: S311 - as above
    inside, more = divmod(number - steps, max(1, len(operations)))
    lucky = set(coin.sample(range(len(operations)), more))
    for at, operation in enumerate(operations):
        yield Cut(at, "before")
        yield from _inside(at, operation, inside + (at in lucky), coin, block_size)
    yield Cut(len(operations), "before")


def _inside(at: int, operation: Operation, number: int, coin: random.Random, block_size: int) -> list[Cut]:
    """Cuts inside one operation: half of them, at most, after its first bytes, the others in some of its bits."""
    ends = range(1, len(operation.data) or block_size)
    prefixes = coin.sample(ends, min((number + coin.randrange(2)) // 2, len(ends)))
    bits: set[int] = set()
    while len(bits) < number - len(prefixes):
        bits.add(coin.getrandbits(31))
    return [*(Cut(at, "prefix", end) for end in sorted(prefixes)), *(Cut(at, "bits", one) for one in sorted(bits))]
