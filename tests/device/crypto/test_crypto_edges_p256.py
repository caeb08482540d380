"""Edges of ECDSA on P-256: numbers out of range, DER that is not DER, keys that are none, points that meet."""

import hashlib
from dataclasses import replace

import pytest
from crypto_cases import Case, Judge, openssl_verdict, with_and_without_table
from crypto_points import P_BASE, P_N, P_P, p_add, p_encode, p_times
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

MESSAGE = b"update"
DIGEST = hashlib.sha256(MESSAGE).digest()
SECRET = 0x1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF


def sign(secret: int, digest: bytes, nonce: int) -> tuple[int, int]:
    point = p_times(nonce, P_BASE)
    assert point is not None
    r = point[0] % P_N
    return r, pow(nonce, -1, P_N) * (int.from_bytes(digest, "big") + r * secret) % P_N


KEY = p_encode(p_times(SECRET, P_BASE))
R, S = sign(SECRET, DIGEST, 987654321)


def case(name: str, signature: bytes, expected: bool = False, key: bytes = KEY) -> Case:
    return Case("p256", key.hex(), signature, MESSAGE, expected, name)


def as_openssl(key: bytes, signature: bytes, digest: bytes, name: str) -> Case:
    found = Case("p256-digest", key.hex(), signature, digest, True, name)
    return replace(found, expected=openssl_verdict(found))


def integer(value: int, pad: int = 0) -> bytes:
    body = bytes(pad) + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return b"\x02" + bytes([len(body)]) + body


def sequence(body: bytes, head: bytes = b"\x30") -> bytes:
    return head + bytes([len(body)]) + body


def test_numbers_out_of_range(judge: Judge) -> None:
    """FIPS 186-5, 6.4.2, 1."""
    cases = [case("right", encode_dss_signature(R, S), True), case("its twin", encode_dss_signature(R, P_N - S), True)]
    for bad in (0, P_N, P_N + 1, R + P_N, 1 << 256, (1 << 256) - 1, 1 << 600):
        cases.append(case(f"r = {bad:x}", encode_dss_signature(bad, S)))
        cases.append(case(f"s = {bad:x}", encode_dss_signature(R, bad)))
        cases.append(case(f"both {bad:x}", encode_dss_signature(bad, bad)))
    cases.append(case("s + n", encode_dss_signature(R, S + P_N)))
    cases.append(case("s - n", sequence(integer(R) + integer(S - P_N))))
    cases.append(case("r - n", sequence(integer(R - P_N) + integer(S))))
    for good in (1, 2, P_N - 1):
        cases.append(case(f"r = {good:x}", encode_dss_signature(good, S)))
        cases.append(case(f"s = {good:x}", encode_dss_signature(R, good)))
    assert judge(with_and_without_table(cases)) == 2 * len(cases)


def test_der_that_is_not_der(judge: Judge) -> None:
    """X.690, 10.1 and 8.3.2: one encoding for each signature."""
    body = integer(R) + integer(S)
    wrong = {
        "empty": b"",
        "a lone tag": b"\x30",
        "empty sequence": b"\x30\x00",
        "one integer": sequence(integer(R)),
        "three integers": sequence(body + integer(1)),
        "trailing byte": sequence(body) + b"\0",
        "trailing byte inside": sequence(body + b"\0"),
        "cut": sequence(body)[:-1],
        "r with a zero before": sequence(integer(R, 1) + integer(S)),
        "s with a zero before": sequence(integer(R) + integer(S, 1)),
        "both with zeros before": sequence(integer(R, 3) + integer(S, 3)),
        "length in two bytes": b"\x30\x81" + bytes([len(body)]) + body,
        "length in three bytes": b"\x30\x82\x00" + bytes([len(body)]) + body,
        "length in nine bytes": b"\x30\x88" + bytes(7) + bytes([len(body)]) + body,
        "length of r in two bytes": sequence(b"\x02\x81" + integer(R)[1:] + integer(S)),
        "length of s in two bytes": sequence(integer(R) + b"\x02\x81" + integer(S)[1:]),
        "indefinite length": b"\x30\x80" + body + b"\0\0",
        "reserved length": b"\x30\xff" + body,
        "set": sequence(body, b"\x31"),
        "primitive sequence": sequence(body, b"\x10"),
        "r as bit string": sequence(b"\x03" + body[1:]),
        "s as enumerated": sequence(integer(R) + b"\x0a" + integer(S)[1:]),
        "r empty": sequence(b"\x02\x00" + integer(S)),
        "s empty": sequence(integer(R) + b"\x02\x00"),
        "r of all the rest": sequence(b"\x02" + bytes([len(body) - 2]) + body[2:]),
        "s longer than the rest": sequence(integer(R) + b"\x02\x7f" + integer(S)[2:]),
        "raw": R.to_bytes(32, "big") + S.to_bytes(32, "big"),
    }
    for name, signature in wrong.items():
        assert not openssl_verdict(case(name, signature)), name
    assert judge(case(name, signature) for name, signature in wrong.items()) == len(wrong)


def test_r_without_its_zero_byte(judge: Judge) -> None:
    """A number whose first bit is set, written without the zero before it, is negative."""
    nonce = next(n for n in range(1, 99) if sign(SECRET, DIGEST, n)[0] >> 255)
    r, s = sign(SECRET, DIGEST, nonce)
    signature = sequence(b"\x02\x20" + r.to_bytes(32, "big") + integer(s))
    assert judge([case("right", encode_dss_signature(r, s), True), case("negative", signature)]) == 2


def test_keys_that_are_none(judge: Judge) -> None:
    """SEC 1, 2.3.4 and 3.2.2.1."""
    x, y = KEY[1:33], KEY[33:]
    signature = encode_dss_signature(R, S)
    y_plus_p = int.from_bytes(y, "big") + P_P
    keys = {
        "empty": b"",
        "infinity": b"\0",
        "infinity in full length": bytes(65),
        "compressed": bytes([2 + y[-1] % 2]) + x,
        "hybrid": bytes([6 + y[-1] % 2]) + x + y,
        "without its first byte": x + y,
        "one byte more": KEY + b"\0",
        "one byte less": KEY[:-1],
        "another y": b"\x04" + x + bytes(31) + b"\1",
        "twice x": b"\x04" + x + x,
        "y + p": b"\x04" + x + (y_plus_p % (1 << 256)).to_bytes(32, "big"),
        "x = p": b"\x04" + P_P.to_bytes(32, "big") + y,
        "all ones": b"\x04" + b"\xff" * 64,
        "another key": p_encode(p_times(SECRET + 1, P_BASE)),
    }
    cases = [case(name, signature, False, key) for name, key in keys.items()]
    assert judge(with_and_without_table(cases)) == 2 * len(keys)


def test_key_coordinates_not_below_p(judge: Judge) -> None:
    """x = 5 is on the curve, and so would be x = 5 + p, which fits 32 bytes too."""
    y = pow(5**3 - 15 + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B, (P_P + 1) // 4, P_P)
    right = b"\x04" + (5).to_bytes(32, "big") + y.to_bytes(32, "big")
    wrong = b"\x04" + (5 + P_P).to_bytes(32, "big") + y.to_bytes(32, "big")
    # Without its secret: r from s u1 + s u2 chosen freely, and the digest that fits.
    a, b = 1234567, 7654321
    total = p_add(p_times(a, P_BASE), p_times(b, (5, y)))
    assert total is not None
    r = total[0] % P_N
    s = r * pow(b, -1, P_N) % P_N
    digest = (a * s % P_N).to_bytes(32, "big")
    signature = encode_dss_signature(r, s)
    cases = [
        Case("p256-digest", right.hex(), signature, digest, True, "x = 5"),
        Case("p256-digest", wrong.hex(), signature, digest, False, "x = 5 + p"),
    ]
    assert judge(with_and_without_table(cases)) == 4


@pytest.mark.parametrize("secret", [1, 2, P_N - 1, (1 << 44) + 1, P_N - (1 << 220)])
def test_points_that_meet(judge: Judge, secret: int) -> None:
    """Keys that are small multiples of the base point: in the sum, equal and opposite points are added."""
    key = p_encode(p_times(secret, P_BASE))
    cases = []
    for digest in (DIGEST, bytes(32), bytes(31) + b"\1", b"\xff" * 32, P_N.to_bytes(32, "big")):
        for nonce in (1, 2, 1 << 44, P_N - 1):
            r, s = sign(secret, digest, nonce)
            values = (s or 1, s + 1)  # s = 0 is no signature: the sum is infinite
            cases += [as_openssl(key, encode_dss_signature(r, v), digest, f"nonce {nonce}") for v in values]
    # u1 = u2 (the digest is r), and u1 = -u2.
    for nonce in (5, 6, 7):
        point = p_times(nonce, P_BASE)
        assert point is not None
        for digest in (point[0].to_bytes(32, "big"), (P_N - point[0] % P_N).to_bytes(32, "big")):
            r, s = sign(secret, digest, nonce)
            values = (s or 1, 77)
            cases += [as_openssl(key, encode_dss_signature(r, v), digest, "u1 = +-u2") for v in values]
    assert any(case.expected for case in cases)
    assert judge(with_and_without_table(cases)) == 2 * len(cases)


def test_digests_of_another_length(judge: Judge) -> None:
    signature = encode_dss_signature(R, S)
    digests = (b"", DIGEST[:31], DIGEST + b"\0", b"\0" + DIGEST)
    cases = [Case("p256-digest", KEY.hex(), signature, d, False, f"{len(d)} bytes") for d in digests]
    assert judge(with_and_without_table(cases)) == 8
