"""Google's and Azure's own client libraries under securesystemslib's signers, up to the call that leaves the machine.

There is no server here that speaks their APIs, so what their clients are asked is held against what was asked for, and
answered with a key of this test. Not tested: their credentials at work, and that the services answer like this.
"""

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from keys_roles import hold, name_keys
from signing_product import BOARD, Product, Program

from heirloom.cli import extras
from heirloom.signing.keys import signer_of
from heirloom.signing.metadata import utc_now

RELEASES = f"releases-{BOARD}"
NAME = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3"
GOOGLE = f"gcpkms:{NAME}"
AZURE = "azurekms://shelf.vault.azure.net/keys/release/0123456789abcdef0123456789abcdef"


def need(extra: str) -> None:
    if missing := extras.missing(extra):
        pytest.skip(f"no {missing[0]}: pip install 'heirloom-ota[{extra}]'")


@pytest.fixture
def private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def google(private: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Google's client with nobody's credentials; what it would send is kept, and answered here."""
    need("gcp")
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import kms

    asked: list[Any] = []
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def get_public_key(_client: object, request: Any) -> Any:
        asked.append(kms.GetPublicKeyRequest(request))
        algorithm = kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm.EC_SIGN_P256_SHA256
        return kms.PublicKey(algorithm=algorithm, pem=pem.decode(), public_key=kms.ChecksummedData(data=pem))

    def asymmetric_sign(_client: object, request: Any) -> Any:
        asked.append(found := kms.AsymmetricSignRequest(request))
        signature = private.sign(found.digest.sha256, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return kms.AsymmetricSignResponse(signature=signature)

    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (AnonymousCredentials(), "p"))
    monkeypatch.setattr(kms.KeyManagementServiceClient, "get_public_key", get_public_key)
    monkeypatch.setattr(kms.KeyManagementServiceClient, "asymmetric_sign", asymmetric_sign)
    return asked


@pytest.fixture
def azure(private: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Azure's clients; what they would send is kept, and answered here."""
    need("azure")
    from azure.keyvault.keys import JsonWebKey, KeyClient, KeyVaultKey
    from azure.keyvault.keys.crypto import CryptographyClient, SignResult

    asked: list[Any] = []
    numbers = private.public_key().public_numbers()

    def get_key(client: Any, name: str) -> Any:
        asked.append((client.vault_url, name))
        jwk = JsonWebKey(kty="EC", crv="P-256", x=numbers.x.to_bytes(32, "big"), y=numbers.y.to_bytes(32, "big"))
        jwk.kid = AZURE.replace("azurekms:", "https:")
        return KeyVaultKey(jwk.kid, jwk=vars(jwk))

    def sign(client: Any, algorithm: Any, digest: bytes) -> Any:
        asked.append((client.key_id, str(algorithm.value)))
        r, s = utils.decode_dss_signature(private.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))))
        return SignResult(client.key_id, algorithm, r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    monkeypatch.setattr(KeyClient, "get_key", get_key)
    monkeypatch.setattr(CryptographyClient, "sign", sign)
    return asked


def releases_with(product: Product, heirloom: Program, uri: str) -> None:
    """Import the key, give it the releases role, and release with it."""
    ran = heirloom("key", "import", uri, "--name", "cloud", "--json")
    assert not ran.err, ran.err
    hold(product, RELEASES, [signer_of(product.project, "cloud")])
    name_keys(product, RELEASES, [uri])
    product.build("1.0.0")
    ran = heirloom("release", "sign", "1.0.0", "--board", BOARD)
    assert (ran.code, ran.err) == (0, "")
    product.publish(BOARD, "1.0.0")
    product.repository.check(utc_now())


def test_what_google_would_be_asked(product: Product, heirloom: Program, google: list[Any]) -> None:
    releases_with(product, heirloom, GOOGLE)
    assert {request.name for request in google} == {NAME}
    assert {type(request).__name__ for request in google} == {"GetPublicKeyRequest", "AsymmetricSignRequest"}
    assert all(len(request.digest.sha256) == 32 for request in google if hasattr(request, "digest"))


def test_what_azure_would_be_asked(product: Product, heirloom: Program, azure: list[Any]) -> None:
    releases_with(product, heirloom, AZURE)
    assert azure[0] == ("https://shelf.vault.azure.net", "release")
    assert set(azure[1:]) == {(AZURE.replace("azurekms:", "https:"), "ES256")}


def test_without_google_credentials_it_says_so(
    product: Product, heirloom: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    need("gcp")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    ran = heirloom("key", "import", GOOGLE, "--name", "cloud")
    assert ran.code == 1
    assert f"cannot use the key {GOOGLE}: " in ran.err
    assert "absent.json was not found" in ran.err
    assert "workload identity" in ran.err
    assert len(ran.err.strip().splitlines()) <= 2


@pytest.mark.parametrize("refusal", ["PermissionDenied", "NotFound"])
def test_what_google_refuses_is_one_line(
    product: Product, heirloom: Program, google: list[Any], monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    from google.api_core import exceptions
    from google.cloud import kms

    def refuse(*_: object) -> None:
        raise getattr(exceptions, refusal)("no such thing for you\n[details]")

    monkeypatch.setattr(kms.KeyManagementServiceClient, "get_public_key", refuse)
    ran = heirloom("key", "import", GOOGLE, "--name", "cloud")
    assert ran.code == 1
    assert "no such thing for you" in ran.err
    assert "details" not in ran.err


def test_what_azure_refuses_is_one_line(
    product: Product, heirloom: Program, azure: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.keyvault.keys import KeyClient

    def refuse(*_: object) -> None:
        raise ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token.\nAttempted: ...")

    monkeypatch.setattr(KeyClient, "get_key", refuse)
    ran = heirloom("key", "import", AZURE, "--name", "cloud")
    assert ran.code == 1
    assert "DefaultAzureCredential failed to retrieve a token." in ran.err
    assert "Attempted" not in ran.err
    assert "az login" in ran.err
