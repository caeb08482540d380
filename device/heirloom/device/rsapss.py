"""RSASSA-PSS signature verification with SHA-256 and MGF1-SHA-256 (RFC 8017, 8.1.2 and 9.1.2).

Keys of 2048 to 4096 bits. The length of the salt is recovered from the signature and may be anything that
fits, as verifiers of TUF metadata do it.
"""

import hashlib

_HASH = 32  # bytes of SHA-256


def verify(n: int, e: int, signature: bytes, digest: bytes) -> bool:
    """Say whether the signature is the key's on the message with this SHA-256 digest.

    Args:
        n: the modulus.
        e: the public exponent. FIPS 186-5, 5.4 wants it odd and above 2^16; old keys have 3.
            Above 2^32 nobody has one, and each bit of it costs time.
        signature: as many bytes as the modulus.
        digest: 32 bytes.
    """
    bits = _bit_length(n, len(signature))
    if not (2048 <= bits <= 4096 and n & 1 and 3 <= e < 1 << 32 and e & 1 and len(digest) == _HASH):
        return False
    s = int.from_bytes(signature, "big")
    if s >= n:
        return False
    m = _power(s, e, n, bits)
    if m >> (bits - 1):  # EM has one bit less than the modulus (8.1.2, 2c), the others are zero (9.1.2, 6)
        return False
    return _padding_holds(m.to_bytes(bits + 6 >> 3, "big"), bits - 1, digest)


def _power(base: int, exponent: int, modulus: int, bits: int) -> int:
    """pow() by squaring, sped up: what is above 1.5 and then 1.25 times the bits is folded first, by multiplications.

    A multiplication takes half the time of a division that leaves as much.
    """
    folds = []
    for part in (1, 2):
        cut = bits + (bits >> part)
        folds.append((cut, (1 << cut) - 1, (1 << cut) % modulus))
    result = base
    bit = 1
    while bit << 1 <= exponent:
        bit <<= 1
    while bit > 1:
        bit >>= 1
        for factor in (result, base) if exponent & bit else (result,):
            result *= factor
            for cut, low, fold in folds:
                result = (result & low) + (result >> cut) * fold
            result %= modulus
    return result


def _bit_length(n: int, length: int) -> int:
    """How many bits n has, or 0 when they do not fill `length` bytes. (MicroPython has no int.bit_length.)"""
    top = n >> 8 * (length - 1) if length else 0
    if not 0 < top < 256:
        return 0
    bits = 8 * (length - 1)
    while top:
        top >>= 1
        bits += 1
    return bits


def _padding_holds(encoded: bytes, bits: int, digest: bytes) -> bool:
    """EMSA-PSS-VERIFY (RFC 8017, 9.1.2), the steps by their numbers; EM has `bits` bits."""
    if encoded[-1] != 0xBC:  # 4
        return False
    split = len(encoded) - _HASH - 1
    db = int.from_bytes(encoded[:split], "big")  # 5
    hashed = encoded[split:-1]
    db ^= int.from_bytes(_mgf1(hashed, split), "big")  # 7, 8
    db &= (1 << bits - 8 * (_HASH + 1)) - 1  # 9
    salt = db.to_bytes(split, "big").lstrip(b"\x00")  # 10; 11: after a byte of value one
    if salt[:1] != b"\x01":
        return False
    check = hashlib.sha256(bytes(8))  # 12, 13
    check.update(digest)
    check.update(salt[1:])
    return bool(check.digest() == hashed)  # 14


def _mgf1(seed: bytes, length: int) -> bytes:
    """The mask generation function (RFC 8017, B.2.1)."""
    mask = bytearray()
    counter = 0
    while len(mask) < length:
        block = hashlib.sha256(seed)
        block.update(counter.to_bytes(4, "big"))
        mask.extend(block.digest())
        counter += 1
    return bytes(mask[:length])
