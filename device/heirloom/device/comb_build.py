"""What making a table takes on either curve; see comb.py. Not loaded for a verification with a table."""

from heirloom.device.comb import inverse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Point = TypeVar("Point")  # what a curve's formulas compute with
    Addend = TypeVar("Addend")  # a point prepared for being added


def sums(
    point: "Point",
    nothing: "Point",
    teeth: int,
    spacing: int,
    double: "Callable[[Point], Point]",
    prepare: "Callable[[Point], Addend]",
    negative: "Callable[[Addend], Addend]",
    add: "Callable[[Point, Addend], Point]",
) -> "Iterator[tuple[int, Point]]":
    """Compute the rows of a table: pairs of a row number and a point, each row once, in no useful order.

    The point and the neutral one come in the curve's coordinates, then four of its operations.
    """
    total = nothing
    steps = []  # twice each tooth but the last
    for _ in range(teeth - 1):
        total = add(total, negative(prepare(point)))
        point = double(point)
        steps.append(prepare(point))
        for _ in range(spacing - 1):
            point = double(point)
    total = add(total, prepare(point))
    yield 0, total
    row = 0
    # In the order of a Gray code, each row differs from the one before in the sign of one tooth.
    for i in range(1, 1 << teeth - 1):
        tooth = 0
        while not i >> tooth & 1:
            tooth += 1
        row ^= 1 << tooth
        total = add(total, steps[tooth] if row >> tooth & 1 else negative(steps[tooth]))
        yield row, total


def get(row: bytearray, column: int) -> int:
    """The number in a column of a row: 32 bytes, big-endian."""
    return int.from_bytes(row[32 * column : 32 * column + 32], "big")


def put(row: bytearray, column: int, number: int) -> None:
    """Write a number into a column of a row."""
    row[32 * column : 32 * column + 32] = number.to_bytes(32, "big")


def invert_all(rows: "list[bytearray]", column: int, modulus: int) -> None:
    """Replace the numbers in a column by their inverses, with a single inversion (Montgomery's trick)."""
    products = []
    product = 1
    for row in rows:
        products.append(product)
        product = product * get(row, column) % modulus
    rest = inverse(product, modulus)
    for row in reversed(rows):
        value = get(row, column)
        put(row, column, rest * products.pop() % modulus)
        rest = rest * value % modulus
