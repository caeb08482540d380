"""The two curves by the book: affine, slow, and sharing nothing with the verifiers. Edge cases are made with it."""

import hashlib

Affine = tuple[int, int]

# edwards25519 (RFC 8032, 5.1)
ED_P = 2**255 - 19
ED_L = 2**252 + 27742317777372353535851937790883648493
ED_D = -121665 * pow(121666, -1, ED_P) % ED_P
ED_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)

# P-256 (SP 800-186, 3.2.1.3)
P_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
P_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def ed_add(a: Affine, b: Affine) -> Affine:
    product = ED_D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, ED_P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, ED_P)
    return x % ED_P, y % ED_P


def ed_times(k: int, point: Affine) -> Affine:
    total = (0, 1)
    while k:
        if k & 1:
            total = ed_add(total, point)
        point = ed_add(point, point)
        k >>= 1
    return total


def ed_encode(point: Affine) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def ed_order_8() -> Affine:
    """One of the four points of order 8, from its well-known y."""
    y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
    square = (y * y - 1) * pow(ED_D * y * y + 1, -1, ED_P) % ED_P
    x = pow(square, (ED_P + 3) // 8, ED_P)
    if x * x % ED_P != square:
        x = x * pow(2, (ED_P - 1) // 4, ED_P) % ED_P
    assert x * x % ED_P == square
    assert ed_times(4, (x, y)) == (0, ED_P - 1)
    return x, y


def ed_challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ED_L


def p_add(a: Affine | None, b: Affine | None) -> Affine | None:
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P_P == 0:
            return None
        slope = 3 * (a[0] * a[0] - 1) * pow(2 * a[1], -1, P_P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P_P)
    x = (slope * slope - a[0] - b[0]) % P_P
    return x, (slope * (a[0] - x) - a[1]) % P_P


def p_times(k: int, point: Affine) -> Affine | None:
    total = None
    power: Affine | None = point
    while k:
        if k & 1:
            total = p_add(total, power)
        power = p_add(power, power)
        k >>= 1
    return total


def p_encode(point: Affine | None) -> bytes:
    assert point is not None
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
