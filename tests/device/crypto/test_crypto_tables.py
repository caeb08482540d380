"""Comb tables: right for every key, of no use for another, and harmless when damaged."""

from collections.abc import Callable
from random import Random
from types import ModuleType

import pytest
from crypto_points import (
    ED_BASE,
    ED_L,
    P_BASE,
    P_N,
    ed_add,
    ed_challenge,
    ed_encode,
    ed_times,
    p_add,
    p_encode,
    p_times,
)
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heirloom.device import comb, comb_ed25519, comb_p256, ed25519, p256

DIGEST = bytes(range(32))


def table_of(module: ModuleType, key: bytes) -> bytes:
    rows: list[bytes] = []
    module.make_table(key, rows.append)
    table = b"".join(rows)
    assert len(table) == module.ROW_LENGTH * (module.KEY_ROW + 1)
    return table


class Table(comb.MemoryTable):
    """Remembers which rows were read: a signature does not need every one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.used: set[int] = set()

    def row(self, index: int, buffer: bytearray | memoryview) -> None:
        self.used.add(index)
        super().row(index, buffer)


def in_memory(table: bytes) -> Table:
    return Table(table)


def as_table(table: "bytes | Table") -> Table:
    return table if isinstance(table, Table) else Table(table)


Pair = tuple[bytes, Callable[["bytes | Table"], bool]]


def ed25519_pair(seed: int) -> Pair:
    """A key, and whether its signature verifies with a table; with a Table of one's own, which rows that read."""
    private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
    public, signature = private.public_key().public_bytes_raw(), private.sign(DIGEST)
    return public, lambda table: ed25519.verify(public, signature, lambda u: u(DIGEST), as_table(table))


def p256_pair(seed: int) -> Pair:
    private = ec.derive_private_key(seed, ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    signature = private.sign(DIGEST, ec.ECDSA(Prehashed(SHA256())))
    return public, lambda table: p256.verify(public, signature, DIGEST, as_table(table))


CURVES = pytest.mark.parametrize(
    ("module", "pair"), [(ed25519, ed25519_pair), (p256, p256_pair)], ids=["ed25519", "p256"]
)
Pairs = Callable[[int], Pair]


def test_tables_of_the_base_points() -> None:
    assert table_of(ed25519, ed_encode(ED_BASE)).startswith(comb_ed25519.BASE)
    assert table_of(p256, p_encode(P_BASE)).startswith(comb_p256.BASE)
    assert len(comb_ed25519.BASE) == ed25519.ROW_LENGTH * 16
    assert len(comb_p256.BASE) == p256.ROW_LENGTH * 32


def test_rows_by_the_book() -> None:
    """Each row of an Ed25519 table is the sum of teeth that its number says."""
    key = ed_times(123456789, ED_BASE)
    table = table_of(ed25519, ed_encode(key))
    teeth = [ed_times(1 << 51 * i, key) for i in range(5)]
    for row in range(16):
        total = teeth[4]
        for i in range(4):
            x, y = teeth[i]
            total = ed_add(total, (x, y) if row >> i & 1 else (-x, y))
        here = table[96 * row : 96 * row + 96]
        p = 2**255 - 19
        assert int.from_bytes(here[:32], "little") == (total[1] + total[0]) % p
        assert int.from_bytes(here[32:64], "little") == (total[1] - total[0]) % p


def test_rows_by_the_book_p256() -> None:
    key = p_times(123456789, P_BASE)
    assert key is not None
    table = table_of(p256, p_encode(key))
    teeth = [p_times(1 << 44 * i, key) for i in range(6)]
    for row in (0, 1, 7, 21, 30, 31):
        total = teeth[5]
        for i in range(5):
            tooth = teeth[i]
            assert tooth is not None
            total = p_add(total, tooth if row >> i & 1 else (tooth[0], -tooth[1]))
        assert table[64 * row : 64 * row + 64] == p_encode(total)[1:]


@CURVES
def test_table_of_another_key(module: ModuleType, pair: Pairs) -> None:
    key, verifies = pair(1001)
    other, _ = pair(1002)
    assert verifies(table_of(module, key))
    assert not verifies(table_of(module, other))


def test_table_of_the_signer() -> None:
    """Whoever holds another key signs as if this one were theirs; with the other key's table it would verify."""
    secret, nonce = 123456789, 987654321
    public, _ = ed25519_pair(1001)
    other, r = ed_encode(ed_times(secret, ED_BASE)), ed_encode(ed_times(nonce, ED_BASE))
    s = (nonce + ed_challenge(r, public, DIGEST) * secret) % ED_L
    table = in_memory(table_of(ed25519, other))
    assert not ed25519.verify(public, r + s.to_bytes(32, "little"), lambda u: u(DIGEST), table)


def test_table_of_the_signer_p256() -> None:
    public, _ = p256_pair(1001)
    private = ec.derive_private_key(1002, ec.SECP256R1())
    signature = private.sign(DIGEST, ec.ECDSA(Prehashed(SHA256())))
    other, _ = p256_pair(1002)
    table = in_memory(table_of(p256, other))
    assert p256.verify(other, signature, DIGEST, table)
    assert not p256.verify(public, signature, DIGEST, table)


@CURVES
def test_damaged_tables(module: ModuleType, pair: Pairs) -> None:
    """A wrong row gives a wrong verdict, never an exception; whoever keeps tables hashes them."""
    key, verifies = pair(1001)
    table = table_of(module, key)
    whole = in_memory(table)
    assert verifies(whole)
    assert len(whole.used) > module.KEY_ROW // 2
    random = Random(5)
    for _ in range(60):
        damaged = bytearray(table)
        start = random.randrange(len(table) - module.ROW_LENGTH)
        damaged[start : start + 64] = random.choice([bytes(64), b"\xff" * 64, random.randbytes(64), damaged[:64]])
        changed = {at // module.ROW_LENGTH for at in range(start, start + 64) if damaged[at] != table[at]}
        assert verifies(bytes(damaged)) == (not changed & whole.used), (start, changed)
    assert not verifies(bytes(len(table)))


@pytest.mark.parametrize("key", [bytes(31), b"\xff" * 32, b"\x02" + bytes(31), bytes(33)])
def test_no_table_of_what_is_no_ed25519_key(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a"):
        ed25519.make_table(key, bytes)


@pytest.mark.parametrize(
    "key", [b"", bytes(65), b"\x04" + bytes(64), b"\x02" + bytes(32), p_encode((P_BASE[0], P_BASE[1] + 1))]
)
def test_no_table_of_what_is_no_p256_key(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a"):
        p256.make_table(key, bytes)


@pytest.mark.parametrize(("teeth", "spacing", "limit"), [(5, 51, 2 * ED_L), (6, 44, 2 * P_N)])
def test_columns(teeth: int, spacing: int, limit: int) -> None:
    """The columns stand for the scalar that they were made from, and its negative for the negative."""
    random = Random(6)
    top = 1 << teeth - 1
    for scalar in [1, 3, limit - 1, (1 << teeth * spacing) - 1, *(random.randrange(limit) | 1 for _ in range(50))]:
        for negate, sign in ((False, 1), (True, -1)):
            total = 0
            for digit in comb.columns(scalar, teeth, spacing, negate):
                row = sum((1 if digit >> i & 1 else -1) << spacing * i for i in range(teeth - 1))
                row += 1 << spacing * (teeth - 1)
                total = 2 * total + (row if digit & top else -row)
            assert total == sign * scalar


def test_inverse() -> None:
    random = Random(7)
    for modulus in (2**255 - 19, P_N):
        for value in [1, 2, modulus - 1, modulus + 5, *(random.randrange(1, modulus) for _ in range(50))]:
            assert comb.inverse(value, modulus) * value % modulus == 1
