"""What making a table takes on either curve; see comb.py. Not loaded for a verification with a table."""

from heirloom.device.comb import inverse


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
