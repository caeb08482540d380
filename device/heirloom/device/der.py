"""Public keys in SubjectPublicKeyInfo, as PEM or DER (RFC 5280, 4.1; RFC 7468; X.690 for DER).

Only what Heirloom verifies: Ed25519 (RFC 8410), P-256 uncompressed (RFC 5480), RSA (RFC 8017, A.1).
Every key has one encoding here, and any other is refused.
"""

import binascii

from heirloom.device.asn1 import SEQUENCE, two_integers, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Material = Union[bytes, tuple[int, int]]

_BIT_STRING = 0x03

_PEM_HEAD = "-----BEGIN PUBLIC KEY-----"
_PEM_FOOT = "-----END PUBLIC KEY-----"

# What stands before the key proper: sequence, algorithm, bit string without unused bits.
_ED25519 = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
_P256 = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"
_RSA = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"  # the algorithm alone


def public_key(encoded: "Union[str, bytes]") -> "tuple[str, Material]":
    """Read a public key.

    Args:
        encoded: PEM as str or bytes, or DER.

    Returns:
        ("ed25519", 32 bytes), ("p256", 65 bytes, not checked to be on the curve) or ("rsa", (n, e)).

    Raises:
        ValueError: it is anything else, or not in the one right form.
    """
    if isinstance(encoded, str):
        encoded = _from_pem(encoded)
    elif encoded[:5] == b"-----":
        encoded = _from_pem(_ascii(encoded))
    if len(encoded) == 44 and encoded[:12] == _ED25519:
        return "ed25519", bytes(encoded[12:])
    if len(encoded) == 91 and encoded[:27] == _P256:
        return "p256", bytes(encoded[26:])
    return "rsa", _rsa(encoded)


def ed25519_from_hex(text: str) -> bytes:
    """Read an Ed25519 key as TUF has it: 64 hexadecimal digits. Raises ValueError for anything else."""
    if len(text) != 64:
        raise ValueError("an ed25519 key has 64 hexadecimal digits")
    for character in text:
        if character not in "0123456789abcdefABCDEF":
            raise ValueError("not hexadecimal")
    return binascii.unhexlify(text)


def _rsa(data: bytes) -> "tuple[int, int]":
    end = len(data)
    start = whole(data, 0, end, SEQUENCE)
    if data[start : start + len(_RSA)] != _RSA:
        raise ValueError("not a public key of a known kind")
    start = whole(data, start + len(_RSA), end, _BIT_STRING)
    if start == end or data[start]:
        raise ValueError("DER: unused bits")
    return two_integers(data, start + 1, end)


def _ascii(data: bytes) -> str:
    for byte in data:
        if byte > 127:
            raise ValueError("PEM: not ASCII")
    return str(data, "ascii")


def _from_pem(text: str) -> bytes:
    """RFC 7468: head, base64 in lines, foot; nothing around it but white space at the end."""
    lines = text.rstrip().replace("\r\n", "\n").split("\n")
    if len(lines) < 3 or lines[0] != _PEM_HEAD or lines[-1] != _PEM_FOOT:
        raise ValueError("PEM: not a public key")
    body = "".join(lines[1:-1])
    try:
        data = binascii.a2b_base64(body)
        again = binascii.b2a_base64(data)
    except ValueError as error:  # binascii.Error is one
        raise ValueError("PEM: not base64") from error
    # Encoders agree on one form only; what decoders let pass, they do not agree on.
    if str(again, "ascii").rstrip() != body:
        raise ValueError("PEM: not canonical base64")
    return data
