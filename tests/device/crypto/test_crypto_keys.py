"""Public keys: what is read is right, and every key has one form."""

from base64 import b64encode
from contextlib import suppress
from itertools import chain
from random import Random

import pytest
from crypto_cases import RunLines
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from heirloom.device import der

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
P256 = ec.derive_private_key(12345678901234567890, ec.SECP256R1()).public_key()
RSA = rsa.RSAPublicNumbers(65537, (1 << 2048) - 12345).public_key()
KEYS = [ED25519, P256, RSA, rsa.RSAPublicNumbers(3, (1 << 3071) + 12345).public_key()]
SPKI = PublicFormat.SubjectPublicKeyInfo


def in_der(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, SPKI)  # type: ignore[attr-defined, no-any-return]


def in_pem(key: object) -> bytes:
    return key.public_bytes(Encoding.PEM, SPKI)  # type: ignore[attr-defined, no-any-return]


def answer_for(key: object) -> str:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519 " + key.public_bytes_raw().hex()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "p256 " + key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()
    assert isinstance(key, rsa.RSAPublicKey)
    return f"rsa {key.public_numbers().n:x}:{key.public_numbers().e:x}"


def test_keys_are_read(run_lines: RunLines) -> None:
    lines = []
    for key in KEYS:
        pem = in_pem(key)
        with_returns = pem.replace(b"\n", b"\r\n")
        lines += [f"key {data.hex()}\n" for data in (in_der(key), pem, pem.strip(), with_returns, pem + b"\n")]
        lines.append(f"pem {pem.hex()}\n")
    assert run_lines(lines) == [answer_for(key) for key in KEYS for _ in range(6)]


def other_keys() -> list[bytes]:
    """Right keys of kinds that we do not verify."""
    p384 = ec.derive_private_key(99, ec.SECP384R1()).public_key()
    k256 = ec.derive_private_key(99, ec.SECP256K1()).public_key()
    keys = [p384, k256, ed448.Ed448PrivateKey.generate().public_key(), x25519.X25519PrivateKey.generate().public_key()]
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + P256.public_bytes(
        Encoding.X962, PublicFormat.CompressedPoint
    )
    assert load_der_public_key(compressed) == P256
    return [*map(in_der, keys), compressed, RSA.public_bytes(Encoding.DER, PublicFormat.PKCS1)]


def test_other_keys_are_refused(run_lines: RunLines) -> None:
    lines = [f"key {data.hex()}\n" for data in other_keys()]
    assert run_lines(lines) == ["refused"] * len(lines)


def pem_of(body: str, head: str = "PUBLIC KEY", foot: str = "PUBLIC KEY") -> str:
    return f"-----BEGIN {head}-----\n{body}\n-----END {foot}-----\n"


def test_pem_that_is_not(run_lines: RunLines) -> None:
    """RFC 7468, without what it lets parsers let pass."""
    data = in_der(ED25519)
    body = b64encode(data).decode()
    wrong = [
        pem_of(body, "RSA PUBLIC KEY", "RSA PUBLIC KEY"),
        pem_of(body, "CERTIFICATE", "CERTIFICATE"),
        pem_of(body, "PUBLIC KEY", "PRIVATE KEY"),
        pem_of(body, "PRIVATE KEY", "PUBLIC KEY"),
        "text before\n" + pem_of(body),
        pem_of(body) + "text after\n",
        pem_of(body) * 2,
        pem_of(body + "===="),
        pem_of(body[:-1]),
        pem_of(body[:-4]),
        pem_of(body + "AAAA"),
        pem_of("Comment: no\n\n" + body),
        pem_of(body[:10] + " " + body[10:]),
        pem_of(body[:10] + "!" + body[10:]),
        pem_of(body[:10] + "-" + body[11:]),
        pem_of(""),
        pem_of("äöü"),
        "-----BEGIN PUBLIC KEY-----",
        "-----",
        "",
    ]
    # Bits that base64 does not use, set.
    loose = b64encode(data + b"\0").decode()
    wrong.append(pem_of(loose[:-3] + "B" + loose[-2:]))
    lines = chain.from_iterable((f"key {t.encode().hex() or '-'}\n", f"pem {t.encode().hex() or '-'}\n") for t in wrong)
    assert run_lines(lines) == ["refused"] * 2 * len(wrong)


def tagged(tag: int, body: bytes) -> bytes:
    length = len(body)
    size = bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")
    return bytes([tag]) + (b"\x81" + bytes([length]) if 128 <= length < 256 else size) + body


def written(answer: str) -> bytes:
    """An answer as SubjectPublicKeyInfo, by the book."""
    kind, material = answer.split()
    if kind == "rsa":
        integers = [
            tagged(2, n.to_bytes(n.bit_length() // 8 + 1, "big")) for n in (int(x, 16) for x in material.split(":"))
        ]
        algorithm, key = bytes.fromhex("06092a864886f70d0101010500"), tagged(0x30, b"".join(integers))
    else:
        algorithm = bytes.fromhex("06032b6570" if kind == "ed25519" else "06072a8648ce3d020106082a8648ce3d030107")
        key = bytes.fromhex(material)
    return tagged(0x30, tagged(0x30, algorithm) + tagged(3, b"\0" + key))


@pytest.mark.parametrize("key", KEYS[:3], ids=["ed25519", "p256", "rsa"])
def test_changed_keys_have_one_form(run_lines: RunLines, key: object) -> None:
    """Change, remove or add a byte anywhere: it is refused, or it is another key written in the one right way."""
    data = in_der(key)
    random = Random(7)
    places = range(len(data)) if len(data) < 100 else [*range(40), *range(len(data) - 12, len(data))]
    changed = {data[:i] + bytes([data[i] ^ 1 << random.randrange(8)]) + data[i + 1 :] for i in places for _ in range(3)}
    changed |= {data[:i] + data[i + 1 :] for i in places}
    changed |= {data[:i] + bytes([random.randrange(256)]) + data[i:] for i in places}
    changed |= {data[:i] for i in places} | {data + b"\0", data + data}
    cases = sorted(changed - {data})
    accepted = 0
    for case, answer in zip(cases, run_lines(f"key {c.hex() or '-'}\n" for c in cases), strict=True):
        if answer == "refused":
            continue
        accepted += 1
        assert written(answer) == case
        # Numbers that are no key are the verifier's to refuse: here only the form counts.
        with suppress(ValueError):
            assert in_der(load_der_public_key(case)) == case
    assert accepted > 10  # in the key itself any bit may be another
    assert accepted < len(cases) / 2


@pytest.mark.parametrize(
    "text", ["", "00" * 31, "00" * 33, "0" * 63, "g" * 64, "+" + "0" * 63, " " * 64, "00 " * 21 + "0", "٣" * 64]
)
def test_hex_that_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        der.ed25519_from_hex(text)


def test_hex() -> None:
    assert der.ed25519_from_hex("00112233445566778899aabbCCDDEEFF" * 2) == bytes.fromhex(
        "00112233445566778899aabbccddeeff" * 2
    )
