"""Keys in services: AWS KMS and Vault against local servers that speak their API, Google and Azure by dispatch."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, utils
from keys_roles import hold, name_keys
from securesystemslib.signer import AzureSigner, CryptoSigner, GCPSigner
from signing_product import BOARD, Product, Program

from heirloom.cli import extras
from heirloom.cli.errors import HeirloomError
from heirloom.signing import endorse
from heirloom.signing.keys import role_signers, signer_of
from heirloom.signing.metadata import utc_now
from heirloom.signing.passphrases import Passphrases

RELEASES = f"releases-{BOARD}"


def need(extra: str, *more: str) -> None:
    if missing := [*extras.missing(extra), *(name for name in more if not extras._installed(name))]:
        pytest.skip(f"no {missing[0]}: pip install 'heirloom-ota[{extra}]' and the development tools")


@pytest.fixture(scope="module")
def _moto() -> Iterator[str]:
    need("aws", "moto", "flask", "flask_cors")
    from moto.kms import responses
    from moto.kms import utils as private_keys
    from moto.server import ThreadedMotoServer

    def strict(service: Any, original: Any = responses.KmsResponse.sign) -> Any:
        assert service._get_param("MessageType") == "DIGEST"
        return original(service)

    with pytest.MonkeyPatch.context() as patch:
        # moto hashes a digest once more (its pull request 10202 is not merged); AWS signs it as it is.
        patch.setattr(responses.KmsResponse, "sign", strict)
        patch.setattr(private_keys.ECDSAPrivateKey, "sign", sign_digest)
        patch.setattr(private_keys.RSAPrivateKey, "sign", sign_digest)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


def sign_digest(key: Any, digest: bytes, algorithm: str) -> bytes:
    """What AWS KMS does for SigningAlgorithm `algorithm` and MessageType DIGEST."""
    prehashed = utils.Prehashed(hashes.SHA256())
    if algorithm == "ECDSA_SHA_256":
        return bytes(key.private_key.sign(digest, ec.ECDSA(prehashed)))
    assert algorithm == "RSASSA_PSS_SHA_256"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return bytes(key.private_key.sign(digest, pss, prehashed))


@pytest.fixture
def aws(_moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS by ambient credentials, as a pipeline with a role has them. Gives the address of the service."""
    settings = {
        "AWS_ENDPOINT_URL": _moto,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return _moto


def aws_key(spec: str) -> str:
    import boto3

    made = boto3.client("kms").create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    return f"awskms:{made['KeyMetadata']['Arn']}"


@pytest.mark.parametrize(
    ("spec", "scheme"), [("ECC_NIST_P256", "ecdsa-sha2-nistp256"), ("RSA_2048", "rsassa-pss-sha256")]
)
def test_a_key_in_aws_signs_a_release_that_clients_accept(
    product: Product, heirloom: Program, aws: str, spec: str, scheme: str
) -> None:
    uri = aws_key(spec)
    ran = heirloom("key", "import", uri, "--name", "kms", "--ci", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["scheme"] == scheme
    hold(product, RELEASES, [signer_of(product.project, "kms")])
    name_keys(product, RELEASES, [uri])
    product.build("1.0.0")
    ran = heirloom("release", "sign", "1.0.0", "--board", BOARD)
    assert (ran.code, ran.err) == (0, "")
    product.publish(BOARD, "1.0.0")
    product.repository.check(utc_now())


def test_a_key_in_aws_needs_no_record_here(product: Product, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = aws_key("ECC_NIST_P256")
    name_keys(product, RELEASES, [uri])
    hold(product, RELEASES, role_signers(product.project, RELEASES))
    monkeypatch.setenv("HEIRLOOM_KEYS", "/nowhere/keys")
    assert endorse.sign(product.project, product.build("1.0.0")).signatures == 1


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "RSA_2048-encrypt"])
def test_a_key_in_aws_that_cannot_be_used_is_refused(product: Product, heirloom: Program, aws: str, spec: str) -> None:
    import boto3

    if spec.endswith("-encrypt"):
        made = boto3.client("kms").create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
        uri = f"awskms:{made['KeyMetadata']['KeyId']}"
    else:
        uri = aws_key(spec)
    ran = heirloom("key", "import", uri, "--name", "kms")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert uri in ran.err
    assert "kms" not in product.store.names()


def test_what_aws_says_is_told_in_one_line(
    product: Product, heirloom: Program, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = heirloom("key", "import", "awskms:alias/nobody", "--name", "kms")
    assert ran.code == 1
    assert "AWS KMS has no key alias/nobody" in ran.err
    uri = aws_key("ECC_NIST_P256")
    assert heirloom("key", "import", uri, "--name", "kms").code == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    ran = heirloom("key", "test", "kms")
    assert ran.code == 1
    assert f"cannot use the key {uri}" in ran.err
    assert len(ran.err.splitlines()) == 2
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ran = heirloom("key", "test", "kms")
    assert ran.code == 1
    assert "there are no AWS credentials on this machine" in ran.err


def test_a_key_that_was_replaced_in_aws_is_told(product: Product, heirloom: Program, aws: str) -> None:
    import boto3

    client, alias = boto3.client("kms"), "alias/moves"
    first, second = (aws_key("ECC_NIST_P256").rpartition("/")[2] for _ in range(2))
    client.create_alias(AliasName=alias, TargetKeyId=first)
    assert heirloom("key", "import", f"awskms:{alias}", "--name", "kms").code == 0
    client.update_alias(AliasName=alias, TargetKeyId=second)
    ran = heirloom("key", "test", "kms")
    assert ran.code == 1
    assert f"the key behind awskms:{alias} is not" in ran.err


def test_who_has_no_cloud_signs_with_the_own_key(
    product: Product, aws: str, heirloom: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, own = aws_key("ECC_NIST_P256"), signer_of(product.project, f"{RELEASES}-1")
    hold(product, RELEASES, [own, signer_of(product.project, uri)], threshold=2)
    name_keys(product, RELEASES, [f"heirloom:{RELEASES}-1", uri])
    built = product.build("1.0.0")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    assert endorse.sign(product.project, built).signatures == 1


class Transit(BaseHTTPRequestHandler):
    """Vault's transit engine, as strict as it: token, method, fields, versions."""

    keys: dict[str, list[ed25519.Ed25519PrivateKey]]
    log: list[str]

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._sign)

    do_PUT = do_POST  # noqa: N815 - the name that the server looks for

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, action: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("X-Vault-Token") != "right":
            status, answer = 403, {"errors": ["permission denied"]}
        else:
            status, answer = action(self.path.split("/")[1:], body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _read(self, path: list[str], _body: bytes) -> tuple[int, object]:
        if path[:3] != ["v1", "transit", "keys"] or len(path) != 4 or path[3] not in self.keys:
            return 404, {"errors": []}
        kind = "rsa-2048" if path[3] == "other" else "ed25519"
        versions = {str(n): {"public_key": public(key)} for n, key in enumerate(self.keys[path[3]], 1)}
        return 200, {"data": {"name": path[3], "type": kind, "keys": versions}}

    def _sign(self, path: list[str], body: bytes) -> tuple[int, object]:
        fields = json.loads(body)
        if path[:3] != ["v1", "transit", "sign"] or path[3] not in self.keys:
            return 404, {"errors": ["signing key not found"]}
        versions, number = self.keys[path[3]], fields.get("key_version", 0)
        if not 1 <= number <= len(versions):
            return 400, {"errors": ["requested version for signing is higher than the latest key version"]}
        signature = versions[number - 1].sign(base64.b64decode(fields["input"], validate=True))
        return 200, {"data": {"signature": f"vault:v{number}:{base64.b64encode(signature).decode()}"}}


def public(key: ed25519.Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[ed25519.Ed25519PrivateKey]]]:
    """The keys of a running Vault: "release" has eleven versions, "other" is of a type that cannot be used."""
    need("vault")
    keys = {"release": [ed25519.Ed25519PrivateKey.generate() for _ in range(11)]}
    keys["other"] = [ed25519.Ed25519PrivateKey.generate()]
    handler = type("Handler", (Transit,), {"keys": keys, "log": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("VAULT_TOKEN", "right")
    yield keys
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_in_vault_signs_a_release_that_clients_accept(
    product: Product, heirloom: Program, vault: dict[str, list[ed25519.Ed25519PrivateKey]]
) -> None:
    ran = heirloom("key", "import", "hv:release", "--name", "vault", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["uri"] == "hv:release/11"
    hold(product, RELEASES, [signer_of(product.project, "vault")])
    name_keys(product, RELEASES, ["hv:release/11"])
    product.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD).code == 0
    product.publish(BOARD, "1.0.0")
    product.repository.check(utc_now())


def test_versions_of_a_key_in_vault_are_different_keys(
    product: Product, vault: dict[str, list[ed25519.Ed25519PrivateKey]]
) -> None:
    for number in (2, 10):
        signer = signer_of(product.project, f"hv:release/{number}", Passphrases())
        assert signer.public_key.keyval["public"] == vault["release"][number - 1].public_key().public_bytes_raw().hex()
        signer.sign(b"payload")


def test_what_vault_says_is_told_in_one_line(
    product: Product, heirloom: Program, vault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(uri: str) -> str:
        ran = heirloom("key", "import", uri, "--name", "vault")
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 2
        return ran.err

    assert "cannot use the key hv:nobody" in refused("hv:nobody")
    assert "Vault has no version 12 of release" in refused("hv:release/12")
    assert "of type rsa-2048" in refused("hv:other")
    monkeypatch.setenv("VAULT_TOKEN", "wrong")
    assert "permission denied" in refused("hv:release")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    assert "cannot use the key hv:release" in refused("hv:release")
    monkeypatch.delenv("VAULT_TOKEN")
    assert "there is no VAULT_TOKEN" in refused("hv:release")
    monkeypatch.delenv("VAULT_ADDR")
    assert "VAULT_ADDR does not say where Vault is" in refused("hv:release")


GOOGLE = "gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
AZURE = "azurekms://shelf.vault.azure.net/keys/release/abc123"


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> CryptoSigner:
    """Google's and Azure's signers with one key behind both, in place of the services."""
    key = CryptoSigner.generate_ecdsa()
    calls: list[object] = []
    monkeypatch.setattr(extras, "_installed", lambda _: True)
    google = classmethod(lambda _cls, name: (calls.append(name), (f"gcpkms:{name}", key.public_key))[1])
    azure = classmethod(
        lambda _cls, vault, name: (f"azurekms://{vault}.vault.azure.net/keys/{name}/abc123", key.public_key)
    )
    monkeypatch.setattr(GCPSigner, "import_", google)
    monkeypatch.setattr(AzureSigner, "import_", azure)
    for kind in (GCPSigner, AzureSigner):
        monkeypatch.setattr(kind, "from_priv_key_uri", classmethod(lambda _cls, _uri, _public: key))
    return key


@pytest.mark.parametrize("uri", [GOOGLE, AZURE])
def test_keys_in_google_and_azure_are_found_by_their_uri(
    product: Product, heirloom: Program, clouds: CryptoSigner, uri: str
) -> None:
    ran = heirloom("key", "import", uri, "--name", "cloud", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["uri"] == uri
    assert heirloom("key", "test", "cloud").code == 0
    assert signer_of(product.project, uri).public_key == clouds.public_key


def test_azure_shows_the_newest_version_only(product: Product, heirloom: Program, clouds: CryptoSigner) -> None:
    ran = heirloom("key", "import", AZURE.replace("abc123", "def456"), "--name", "cloud")
    assert ran.code == 1
    assert f"is not the newest version of that key: {AZURE} is" in ran.err
    ran = heirloom("key", "import", AZURE.rpartition("/")[0], "--name", "cloud", "--json")
    assert json.loads(ran.out)["uri"] == AZURE


def test_a_service_that_fails_is_told_in_one_line(
    product: Product, heirloom: Program, clouds: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_cls: object, _name: str) -> None:
        raise RuntimeError("Your default credentials were not found.\nSee the manual")

    monkeypatch.setattr(GCPSigner, "import_", classmethod(down))
    ran = heirloom("key", "import", GOOGLE, "--name", "cloud")
    assert ran.code == 1
    assert ran.err.splitlines()[0].endswith("Your default credentials were not found.")
    assert "workload identity" in ran.err
    with pytest.raises(HeirloomError, match="default credentials"):
        signer_of(product.project, GOOGLE)
