"""Cases for the signature verifiers, as host tests write them down and crypto_on_board.py reads them."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed


@dataclass(frozen=True)
class Case:
    """kind: "ed25519", "p256", "p256-digest" (the message is the digest) or "rsa" (the key is "n:e", hexadecimal)."""

    kind: str
    key: str
    signature: bytes
    message: bytes
    expected: bool
    name: str
    table: bool = False

    def line(self) -> str:
        return (
            f"{self.kind} {self.table:d} {self.key or '-'} {self.signature.hex() or '-'} {self.message.hex() or '-'}\n"
        )


RunLines = Callable[[Iterable[str]], list[str]]
Judge = Callable[[Iterable[Case]], int]


def with_and_without_table(cases: Iterable[Case]) -> list[Case]:
    """Cases of one key stay together, so that its table is made once."""
    cases = list(cases)
    return list(chain(cases, (replace(case, table=True) for case in cases)))


def openssl_verdict(case: Case) -> bool:
    """What `cryptography` says."""
    try:
        _verify(case)
    except (InvalidSignature, ValueError):
        return False
    return True


def _verify(case: Case) -> None:
    if case.kind == "ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(case.key)).verify(case.signature, case.message)
    elif case.kind == "rsa":
        n, e = (int(number, 16) for number in case.key.split(":"))
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        rsa.RSAPublicNumbers(e, n).public_key().verify(case.signature, case.message, scheme, hashes.SHA256())
    else:
        digest = case.message if case.kind == "p256-digest" else hashlib.sha256(case.message).digest()
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(case.key))
        key.verify(case.signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
