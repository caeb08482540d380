"""Kinds of keys: those that devices verify, and making new ones."""

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Key, SSlibKey

from heirloom.cli.errors import HeirloomError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

ED25519, ECDSA, RSA = "ed25519", "ecdsa", "rsa"
KINDS = (ED25519, ECDSA, RSA)

# What the client on a device verifies (DESIGN 5), and nothing else.
SCHEMES = ("ed25519", "ecdsa-sha2-nistp256", "rsassa-pss-sha256")
_RSA_BITS = 3072
_RSA_MIN_BITS, _RSA_MAX_BITS = 2048, 4096


def new_private(kind: str) -> "PrivateKeyTypes":
    """A new private key of one of KINDS; UsageError for another kind."""
    if kind == ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if kind == ECDSA:
        return ec.generate_private_key(ec.SECP256R1())
    if kind == RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    raise UsageError(f"{kind!r} is no kind of key", f"known kinds: {', '.join(KINDS)}")


def usable(public: Key, what: str) -> SSlibKey:
    """`public`, if devices verify its signatures.

    Args:
        public: A public key.
        what: Names it in the error, as in "awskms:alias/release".

    Raises:
        HeirloomError: They do not.
    """
    if not isinstance(public, SSlibKey) or public.scheme not in SCHEMES:
        raise HeirloomError(
            f"{what} is a key for {public.scheme}, which devices do not verify", f"they verify {', '.join(SCHEMES)}"
        )
    if public.keytype == RSA and not _RSA_MIN_BITS <= (bits := _rsa_bits(public)) <= _RSA_MAX_BITS:
        raise HeirloomError(
            f"{what} is an RSA key of {bits} bits, which devices do not verify",
            f"{_RSA_MIN_BITS} to {_RSA_MAX_BITS} bits are good",
        )
    return public


def _rsa_bits(public: SSlibKey) -> int:
    key = load_pem_public_key(public.keyval["public"].encode())
    return key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
