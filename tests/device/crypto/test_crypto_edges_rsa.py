"""Edges of RSASSA-PSS: whatever the padding may hide. Signed without padding checks, so a case is wrong in one way."""

import hashlib
import math
from contextlib import suppress
from copy import copy
from functools import cache
from random import Random

import pytest
from crypto_cases import Case, Judge, openssl_verdict

from heirloom.device import rsapss

MESSAGE = b"update"
DIGEST = hashlib.sha256(MESSAGE).digest()


SMALL = math.prod(range(3, 3000, 2))


def prime(bits: int, random: Random) -> int:
    """A prime, 3 modulo 4, with its four highest bits set; surely enough for tests (Fermat's test to three bases)."""
    while True:
        candidate = random.getrandbits(bits) | 0xF << bits - 4 | 3
        fit = math.gcd(candidate, SMALL) == 1 and candidate % 65537 != 1
        if fit and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 65537)):
            return candidate


class Signer:
    """Signs what it is given, padded right or wrong. Its modulus has many primes: they are found quickly."""

    def __init__(self, bits: int) -> None:
        random = Random(bits)
        last = bits - 512 * (bits // 512 - 1)
        self.set_primes([*(prime(512, random) for _ in range(bits // 512 - 1)), prime(last, random)])

    def set_primes(self, primes: list[int]) -> None:
        self.primes, self.n, self.e = primes, math.prod(primes), 65537
        self.bits = self.n.bit_length()

    def root(self, value: int) -> int:
        """The e-th root modulo n, by the Chinese remainder theorem; ValueError when e has no inverse."""
        result = 0
        for p in self.primes:
            rest = self.n // p
            result += pow(value, pow(self.e, -1, p - 1), p) * rest * pow(rest, -1, p)
        return result % self.n

    def with_exponent(self, e: int) -> "Signer":
        other = copy(self)
        other.e = e
        return other

    def case(self, name: str, encoded: bytes | int, expected: bool = False, n: int = 0, e: int = 0) -> Case:
        """The encoded message signed; as an integer it is the signature itself."""
        length = (self.bits + 7) // 8
        value = encoded if isinstance(encoded, int) else self.root(int.from_bytes(encoded, "big"))
        key = f"{n or self.n:x}:{e or self.e:x}"
        return Case("rsa", key, value.to_bytes(length, "big"), MESSAGE, expected, name)

    def encode(
        self,
        salt: bytes,
        *,
        trailer: int = 0xBC,
        one: int = 1,
        dirty: int = -1,
        top: int = 0,
        check: bytes = bytes(8),
        digest: bytes = DIGEST,
    ) -> bytes:
        """EMSA-PSS (RFC 8017, 9.1.1). dirty: which byte of the zeros is not; top: is or-ed to the first byte."""
        bits = self.bits - 1
        length = (bits + 7) // 8
        hashed = hashlib.sha256(check + digest + salt).digest()
        block = bytearray(length - len(salt) - 34) + bytes([one]) + salt
        if dirty >= 0:
            block[dirty] = 0x80
        mask = b"".join(hashlib.sha256(hashed + i.to_bytes(4, "big")).digest() for i in range(17))
        masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
        masked[0] &= 0xFF >> (8 * length - bits)
        masked[0] |= top
        return bytes(masked) + hashed + bytes([trailer])


@cache
def signer_of(bits: int) -> Signer:
    return Signer(bits)


@pytest.fixture
def signer() -> Signer:
    return signer_of(2048)


def test_salts_of_all_lengths(judge: Judge, signer: Signer) -> None:
    """From none to all that fits."""
    cases = [
        signer.case(f"salt of {n}", signer.encode(bytes(range(n))), True) for n in (0, 1, 20, 31, 32, 33, 64, 221, 222)
    ]
    cases += [signer.case(f"salt of {n} zeros", signer.encode(bytes(n)), True) for n in (1, 32, 222)]
    cases += [signer.case(f"salt of {n} ones", signer.encode(b"\1" * n), True) for n in (1, 32, 222)]
    assert all(map(openssl_verdict, cases))
    assert judge(cases) == 15


def test_padding_that_is_wrong(judge: Judge, signer: Signer) -> None:
    """RFC 8017, 9.1.2: steps 4, 6, 10 and 14."""
    salt = bytes(range(32))
    # The byte of the one is missing altogether: zeros to the end.
    nothing = signer.encode(b"", one=0)
    cases = [
        *(signer.case(f"trailer {t:02x}", signer.encode(salt, trailer=t)) for t in (0, 0xBB, 0xBD, 0xCC, 0x3C)),
        *(signer.case(f"{one} and not one", signer.encode(salt, one=one)) for one in (2, 3, 0x81, 0xFF)),
        *(signer.case(f"byte {i} of the zeros is not", signer.encode(salt, dirty=i)) for i in (1, 2, 100, 188, 189)),
        signer.case("no one at all", nothing),
        signer.case("the eight zero bytes are not", signer.encode(salt, check=bytes(7) + b"\1")),
        signer.case("zeros hashed are too few", signer.encode(salt, check=bytes(7))),
        signer.case("of another message", signer.encode(salt)[:-2] + b"\0\xbc"),
    ]
    assert not any(map(openssl_verdict, cases))
    assert judge(cases) == len(cases)


def test_leftmost_bit(judge: Judge, signer: Signer) -> None:
    """The encoded message has a bit less than the modulus (9.1.2, 6): found with a salt that leaves it below n."""
    encoded = next(
        encoded
        for encoded in (signer.encode(i.to_bytes(8, "big"), top=0x80) for i in range(999))
        if int.from_bytes(encoded, "big") < signer.n
    )
    cases = [
        signer.case("leftmost bit set", encoded),
        signer.case("and not", bytes([encoded[0] & 0x7F]) + encoded[1:], True),
    ]
    assert [openssl_verdict(case) for case in cases] == [False, True]
    assert judge(cases) == 2


def test_signatures_out_of_range(judge: Judge, signer: Signer) -> None:
    """RFC 8017, 8.1.2, 1 and 5.2.2, 1."""
    right = signer.case("right", signer.encode(bytes(32)), True)
    s = int.from_bytes(right.signature, "big")
    while s + signer.n >= 1 << 2048:  # find one where s + n fits
        right = signer.case("right", signer.encode(hashlib.sha256(right.signature).digest()), True)
        s = int.from_bytes(right.signature, "big")
    cases = [
        right,
        signer.case("s + n", s + signer.n),
        signer.case("n", signer.n),
        signer.case("0", 0),
        signer.case("1", 1),
        signer.case("n - 1", signer.n - 1),
        signer.case("n - s", signer.n - s),
    ]
    while right.signature[0]:  # find one that begins with zero: even so all bytes must be there
        right = signer.case("right", signer.encode(hashlib.sha256(right.signature).digest()), True)
    cases += [right, Case("rsa", right.key, right.signature[1:], MESSAGE, False, "without its zero byte")]
    for name, signature in {"short": right.signature[1:], "long": b"\0" + right.signature, "empty": b""}.items():
        cases.append(Case("rsa", right.key, signature, MESSAGE, False, name))
    assert judge(cases) == 12


def test_exponents(judge: Judge, signer: Signer) -> None:
    """Odd, from 3 to below 2^32."""
    right = signer.encode(bytes(32))
    cases = []
    for e in (3, 5, 17, 257, 65537, 0x80000001, 0xFFFFFFFB, 0xFFFFFFFD, 0xFFFFFFFF):
        with suppress(ValueError):
            cases.append(signer.with_exponent(e).case(f"e = {e}", right, True))
    assert len(cases) > 3
    for e in range((1 << 32) + 1, (1 << 32) + 99, 2):
        with suppress(ValueError):
            cases.append(signer.with_exponent(e).case(f"e = {e}", right))
    cases.append(signer.case("e = 1", int.from_bytes(right, "big"), e=1))
    cases += [signer.case(f"e = {e}", right, e=e) for e in (65536, 65539, 2, 4)]
    assert judge(cases) == len(cases)


def test_even_exponent(judge: Judge, signer: Signer) -> None:
    """e = 4, with a salt that leaves a square: the arithmetic works (Rabin's signatures, twice), but it is not RSA."""
    for i in range(999):
        value = int.from_bytes(signer.encode(i.to_bytes(8, "big")), "big")
        if all(pow(value, (p - 1) // 2, p) == 1 for p in signer.primes):
            break
    root = 0
    for p in signer.primes:
        rest = signer.n // p
        root += pow(value, ((p + 1) // 4) ** 2, p) * rest * pow(rest, -1, p)
    root %= signer.n
    assert pow(root, 4, signer.n) == value
    assert judge([signer.case("e = 4", root, e=4)]) == 1


def test_digest_of_another_length(signer: Signer) -> None:
    for digest, expected in ((DIGEST, True), (DIGEST[:31], False), (DIGEST + b"\0", False), (b"", False)):
        signature = signer.case("", signer.encode(bytes(32), digest=digest)).signature
        assert rsapss.verify(signer.n, signer.e, signature, digest) is expected


def test_moduli(judge: Judge, signer: Signer) -> None:
    """2048 to 4096 bits, any of them; odd."""
    right = signer.encode(bytes(32))
    even = copy(signer)
    even.set_primes([*signer.primes, 2])  # the arithmetic would work
    cases = [even.case("even", even.encode(bytes(32))), signer.case("another", right, n=signer.n + 2)]
    for bits, expected in (
        (1024, False),
        (2047, False),
        (2049, True),
        (2056, True),
        (2057, True),
        (4096, True),
        (4097, False),
    ):
        other = signer_of(bits)
        assert other.n.bit_length() == bits
        cases.append(other.case(f"{bits} bits", other.encode(bytes(32)), expected))
        cases.append(other.case(f"{bits} bits, longest salt", other.encode(bytes((bits + 6) // 8 - 34)), expected))
    cases += [Case("rsa", "0:3", b"", MESSAGE, False, "no modulus"), Case("rsa", "1:3", b"\0", MESSAGE, False, "1")]
    assert judge(cases) == len(cases)
