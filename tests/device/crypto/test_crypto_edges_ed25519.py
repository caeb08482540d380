"""Edges of Ed25519 where verifiers differ. Each forgery is shown to be one: some other verifier would take it."""

from collections.abc import Iterator

from crypto_cases import Case, Judge, openssl_verdict, with_and_without_table
from crypto_points import ED_BASE, ED_D, ED_L, ED_P, ed_add, ed_challenge, ed_encode, ed_order_8, ed_times
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MESSAGE = b"update"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SIGNATURE = KEY.sign(MESSAGE)
SECRET = 0x1234567890ABCDEF1234567890ABCDEF  # of keys made by hand
TORSION = [ed_times(i, ed_order_8()) for i in range(8)]  # the first is the neutral point


def refused(name: str, key: bytes = PUBLIC, signature: bytes = SIGNATURE, message: bytes = MESSAGE) -> Case:
    return Case("ed25519", key.hex(), signature, message, False, name)


def small_order_encodings() -> Iterator[tuple[str, bytes]]:
    """Every way to write a point of small order, right or wrong."""
    for i, (x, y) in enumerate(TORSION):
        yield f"{i} T", ed_encode((x, y))
        if y + ED_P < 1 << 255:
            yield f"{i} T, y + p", ed_encode((x, y + ED_P))
        if x == 0:
            yield f"{i} T, minus zero", ed_encode((1, y))
            if y + ED_P < 1 << 255:
                yield f"{i} T, y + p, minus zero", ed_encode((1, y + ED_P))


def test_what_is_right(judge: Judge) -> None:
    messages = [b"", b"\0", MESSAGE, bytes(1000)]
    cases = [Case("ed25519", PUBLIC.hex(), KEY.sign(message), message, True, "right") for message in messages]
    assert judge(with_and_without_table(cases)) == 8


def test_s_out_of_range(judge: Judge) -> None:
    """RFC 8032, 5.1.7, 1: else each signature would have others beside it."""
    s = int.from_bytes(SIGNATURE[32:], "little")
    values = [s + ED_L, s + 8 * ED_L, ED_L, ED_L + 1, (1 << 253) - 1, 1 << 253, s | 1 << 255, (1 << 256) - 1]
    cases = [refused(f"s = {v:x}", signature=SIGNATURE[:32] + v.to_bytes(32, "little")) for v in values]
    # These two are on the edge and merely wrong.
    cases += [refused(f"s = {v:x}", signature=SIGNATURE[:32] + v.to_bytes(32, "little")) for v in (0, ED_L - 1)]
    assert judge(with_and_without_table(cases)) == 20


def test_wrong_lengths(judge: Judge) -> None:
    cases = [refused(f"key of {n}", key=(PUBLIC * 2)[:n]) for n in (0, 31, 33, 64)]
    cases += [refused(f"signature of {n}", signature=(SIGNATURE * 2)[:n]) for n in (0, 32, 63, 65, 128)]
    assert judge(with_and_without_table(cases)) == 18


def test_a_bit_changed_anywhere(judge: Judge) -> None:
    def flip(data: bytes, bit: int) -> bytes:
        return bytes(byte ^ (1 << bit % 8 if i == bit // 8 else 0) for i, byte in enumerate(data))

    cases = [refused(f"bit {bit} of the signature", signature=flip(SIGNATURE, bit)) for bit in range(0, 512, 19)]
    cases += [refused(f"bit {bit} of the signature", signature=flip(SIGNATURE, bit)) for bit in (255, 508, 511)]
    cases += [refused(f"bit {bit} of the message", message=flip(MESSAGE, bit)) for bit in range(0, 48, 7)]
    cases += [refused(f"bit {bit} of the key", key=flip(PUBLIC, bit)) for bit in (0, 1, 100, 254, 255)]
    assert judge(with_and_without_table(cases)) > 80


def test_key_of_small_order(judge: Judge) -> None:
    """With R = [s]B any message verifies as soon as the challenge is a multiple of the key's order."""
    sums = [(s, ed_encode(ed_times(s, ED_BASE))) for s in range(1, 100)]
    cases = []
    for name, key in small_order_encodings():
        multiples = [(s, r) for s, r in sums if ed_challenge(r, key, MESSAGE) % 8 == 0]
        forgeries = [refused(f"key {name}", key, r + s.to_bytes(32, "little")) for s, r in multiples[:3]]
        assert forgeries
        if "zero" not in name and "+ p" not in name:
            assert all(map(openssl_verdict, forgeries))
        cases += forgeries
    assert judge(with_and_without_table(cases)) >= 2 * 3 * 12


def test_r_of_small_order(judge: Judge) -> None:
    """A signer can make such signatures, with R neutral or with a key of mixed order; OpenSSL takes them."""
    forgeries = []
    for torsion in TORSION:
        key = ed_encode(ed_add(ed_times(SECRET, ED_BASE), torsion))
        for counter in range(40):
            message = b"%d" % counter
            for r in {ed_encode(point) for point in TORSION}:
                k = ed_challenge(r, key, message)
                case = refused(f"R {r.hex()}", key, r + (k * SECRET % ED_L).to_bytes(32, "little"), message)
                if openssl_verdict(case):
                    forgeries.append(case)
    assert len({case.signature[:32] for case in forgeries}) == 8
    assert judge(with_and_without_table(forgeries[::10])) > 30


def test_key_of_mixed_order_as_openssl(judge: Judge) -> None:
    """The exact [k]A counts, also for an even k: no multiple of L may slip in. Each verdict occurs."""
    key_point = ed_add(ed_times(SECRET, ED_BASE), TORSION[1])
    key = ed_encode(key_point)
    cases = []
    for nonce in range(1, 61):
        r = ed_encode(ed_times(nonce, ED_BASE))
        k = ed_challenge(r, key, MESSAGE)
        signature = r + ((nonce + k * SECRET) % ED_L).to_bytes(32, "little")
        case = Case("ed25519", key.hex(), signature, MESSAGE, k % 8 == 0, f"k = {k % 8} modulo 8")
        assert openssl_verdict(case) == case.expected
        cases.append(case)
    # With a multiple of the torsion point in R, other challenges verify; so k mod 8 takes every value.
    for nonce in range(1, 25):
        for torsion in TORSION:
            r = ed_encode(ed_add(ed_times(nonce, ED_BASE), torsion))
            k = ed_challenge(r, key, MESSAGE)
            signature = r + ((nonce + k * SECRET) % ED_L).to_bytes(32, "little")
            case = Case("ed25519", key.hex(), signature, MESSAGE, False, f"k = {k % 8} modulo 8, R with torsion")
            if openssl_verdict(case):
                cases.append(Case("ed25519", key.hex(), signature, MESSAGE, True, case.name))
    assert {case.name[4] for case in cases if case.expected} == set("01234567")
    assert judge(with_and_without_table(cases)) > 120


def test_key_that_is_no_point(judge: Judge) -> None:
    """RFC 8032, 5.1.3: y that no x belongs to; y not below p."""
    no_point = next(y for y in range(2, 50) if not on_curve(y))
    small = [y for y in range(2, 19) if on_curve(y)]
    assert small
    keys = [(f"no point with y = {no_point}", no_point), ("2^255 - 1", (1 << 255) - 1)]
    keys += [(f"{y} + p", y + ED_P) for y in small]
    cases = [refused(name, (y | sign << 255).to_bytes(32, "little")) for name, y in keys for sign in (0, 1)]
    assert judge(with_and_without_table(cases)) == 4 * len(keys)


def test_r_not_canonical(judge: Judge) -> None:
    """R neutral, written as y = p + 1 or with the sign of minus zero: refused by every verifier that compares bytes."""
    key = ed_encode(ed_times(SECRET, ED_BASE))
    cases = []
    for r in (ed_encode((0, ED_P + 1)), ed_encode((1, 1)), ed_encode((1, ED_P + 1))):
        s = ed_challenge(r, key, MESSAGE) * SECRET % ED_L
        cases.append(refused("R not canonical", key, r + s.to_bytes(32, "little")))
    assert judge(with_and_without_table(cases)) == 6


def on_curve(y: int) -> bool:
    square = (y * y - 1) * pow(ED_D * y * y + 1, -1, ED_P) % ED_P
    return pow(square, (ED_P - 1) // 2, ED_P) in (0, 1)
