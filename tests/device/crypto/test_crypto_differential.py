"""Thousands of signatures, right and broken, judged by us on MicroPython and by OpenSSL: the verdicts are the same.

Source and bytecode get different ones.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

from crypto_cases import Case, Judge, openssl_verdict
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Sign = Callable[[bytes], bytes]


def change(random: Random, data: bytes) -> bytes:
    """Damage some bytes: a bit, a byte removed, added, exchanged, two swapped, the end cut off."""
    if not data:
        return b"\0"
    at = random.randrange(len(data))
    byte = bytes([random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])])
    other = random.randrange(len(data))
    swapped = bytearray(data)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    return random.choice(
        [
            data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[:at] + byte + data[at:],
            data[:at] + byte + data[at + 1 :],
            bytes(swapped),
            data[:at],
            data + byte,
        ]
    )


def cases_of(random: Random, kind: str, key: str, sign: Sign, count: int, *, table: bool) -> list[Case]:
    """A third right, the others with something changed in signature, message or key."""
    cases = []
    for i in range(count):
        message = random.randbytes(random.choice([0, 1, 32, 64, 111, 112, 127, 128, 129, 400]))
        case = Case(kind, key, sign(message), message, True, f"{i}", table)
        if i % 3 == 1:
            case = replace(case, signature=change(random, case.signature))
        elif i % 12 == 2:
            case = replace(case, message=change(random, message))
        elif i % 12 == 5 and kind != "rsa":
            case = replace(case, key=change(random, bytes.fromhex(key)).hex())
        elif i % 3 == 2:
            case = replace(case, signature=change(random, change(random, case.signature)))
        cases.append(replace(case, expected=openssl_verdict(case)))
    return cases


def agree(judge: Judge, cases: list[Case]) -> None:
    right = sum(case.expected for case in cases)
    assert len(cases) // 4 < right < len(cases) // 2
    print(f"{judge(cases)} signatures of kind {cases[0].kind}, {right} of them right: every verdict is OpenSSL's")


def ed25519_cases(random: Random, keys: int, count: int, *, table: bool) -> list[Case]:
    cases = []
    for _ in range(keys):
        private = Ed25519PrivateKey.from_private_bytes(random.randbytes(32))
        public = private.public_key().public_bytes_raw().hex()
        cases += cases_of(random, "ed25519", public, private.sign, count, table=table)
    return cases


def p256_cases(random: Random, keys: int, count: int, *, table: bool) -> list[Case]:
    cases = []
    for _ in range(keys):
        private = ec.derive_private_key(random.getrandbits(255) + 1, ec.SECP256R1())
        public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()

        def sign(message: bytes, private: ec.EllipticCurvePrivateKey = private) -> bytes:
            return private.sign(message, ec.ECDSA(hashes.SHA256()))

        cases += cases_of(random, "p256", public, sign, count, table=table)
    return cases


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def rsa_cases(random: Random, bits: int, count: int) -> list[Case]:
    private = rsa_key(bits)
    numbers = private.public_key().public_numbers()

    def sign(message: bytes) -> bytes:
        salt = random.choice([0, 1, 20, 32, 64, padding.PSS.MAX_LENGTH])
        return private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())

    return cases_of(random, "rsa", f"{numbers.n:x}:{numbers.e:x}", sign, count, table=False)


def test_ed25519(judge: Judge, flavour: str) -> None:
    random = Random(f"ed25519 {flavour}")
    agree(judge, ed25519_cases(random, 4, 150, table=True) + ed25519_cases(random, 60, 3, table=False))


def test_p256(judge: Judge, flavour: str) -> None:
    random = Random(f"p256 {flavour}")
    agree(judge, p256_cases(random, 4, 150, table=True) + p256_cases(random, 60, 3, table=False))


def test_rsa(judge: Judge, flavour: str) -> None:
    random = Random(f"rsa {flavour}")
    agree(judge, [case for bits in (2048, 2048, 3072, 4096) for case in rsa_cases(random, bits, 75)])
