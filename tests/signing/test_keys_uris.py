"""Keys that are no files of ours: found by URI or name, in the environment, and told clearly when they are not here."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from keys_roles import hold, name_keys
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey
from signing_product import BOARD, PASSPHRASE, Product, Program

from heirloom.cli import extras
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import backends, endorse, keyfile
from heirloom.signing.keys import KeyStore, public_of, role_signers, signer_of
from heirloom.signing.kinds import KINDS, new_private
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

RELEASES = f"releases-{BOARD}"


def plain_pem(private: object) -> str:
    return private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()  # type: ignore[attr-defined]


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_key_in_the_environment_signs(
    store: KeyStore, kind: str, encrypted: bool, quick_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = new_private(kind)
    pem = keyfile.seal(private, PASSPHRASE).decode() if encrypted else plain_pem(private)
    monkeypatch.setenv("RELEASE_KEY", pem)
    asked: list[str] = []
    signer = store.signer("env:RELEASE_KEY", lambda name: (asked.append(name), PASSPHRASE)[1])
    signer.public_key.verify_signature(signer.sign(b"payload"), b"payload")
    assert signer.public_key == SSlibKey.from_crypto(private.public_key())
    assert set(asked) == ({"RELEASE_KEY"} if encrypted else set())


def test_line_ends_that_a_ci_system_lost_are_found_again(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE_KEY", plain_pem(ed25519.Ed25519PrivateKey.generate()).strip().replace("\n", "\\n"))
    store.test("env:RELEASE_KEY", Passphrases())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "RELEASE_KEY holds no private key in PEM"),
        (plain_pem(ed25519.Ed25519PrivateKey.generate())[:80], "RELEASE_KEY holds no private key in PEM"),
        ("", "RELEASE_KEY is not set"),
        (plain_pem(ec.generate_private_key(ec.SECP384R1())), "devices do not verify"),
        (plain_pem(rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits, which devices do not verify"),
    ],
    ids=["nonsense", "cut", "empty", "P-384", "RSA-1024"],
)
def test_what_is_no_usable_key_is_named(
    store: KeyStore, content: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEASE_KEY", content)
    with pytest.raises(HeirloomError, match=message) as caught:
        store.signer("env:RELEASE_KEY", Passphrases())
    assert caught.value.advice
    assert content == "" or content[:40] not in caught.value.message


def test_a_wrong_passphrase_for_the_environment_is_one_line(
    store: KeyStore, quick_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEASE_KEY", keyfile.seal(ed25519.Ed25519PrivateKey.generate(), PASSPHRASE).decode())
    with pytest.raises(HeirloomError, match="wrong passphrase for the key in RELEASE_KEY"):
        store.signer("env:RELEASE_KEY", lambda _: "another")
    with pytest.raises(UsageError, match="nobody to ask"):
        store.signer("env:RELEASE_KEY", Passphrases())


@pytest.mark.parametrize(
    "uri",
    [
        "env:",
        "env:A B",
        "hsm:two",
        "hsm:-1",
        "hsm:2?slot=1",
        "gcpkms:projects/p",
        "azurekms://example.org/keys/a/b",
        "azurekms:a",
        "hv:",
        "hv:a/b",
        "hv:a/0",
        "file2:/somewhere",
        "nothing",
        "https://example.org/key",
    ],
)
def test_a_malformed_uri_is_refused_with_an_example(store: KeyStore, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_installed", lambda _: True)
    with pytest.raises(HeirloomError) as caught:
        store.missing(uri)
    assert uri in caught.value.message
    assert ":" in caught.value.advice


@pytest.mark.parametrize("scheme", backends.SCHEMES)
def test_the_example_of_each_kind_is_well_formed(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = backends.backend(f"{scheme}:x")
    assert found.example.startswith(f"{scheme}:")
    assert found.extra in {*extras.EXTRAS, ""}
    if scheme != "awskms":  # which looks for credentials first
        found.unreachable(found.example)


@pytest.mark.parametrize("scheme", [scheme for scheme in backends.SCHEMES if scheme != "env"])
def test_without_its_extra_a_kind_says_what_to_install(
    product: Product, heirloom: Program, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "_installed", lambda _: False)
    found = backends.backend(f"{scheme}:x")
    ran = heirloom("key", "import", found.example, "--name", "other")
    assert ran.code == 1
    assert "which is not installed" in ran.err
    assert f"heirloom-ota[{found.extra}]" in ran.err
    assert len(ran.err.splitlines()) == 2
    name_keys(product, RELEASES, [found.example])
    with pytest.raises(HeirloomError, match=r"is here: .* which is not installed"):
        role_signers(product.project, RELEASES)


def test_an_imported_key_is_known_by_name_and_by_uri(
    product: Product, heirloom: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    monkeypatch.setenv("RELEASE_KEY", plain_pem(private))
    ran = heirloom("key", "import", "env:RELEASE_KEY", "--name", "pipeline", "--ci", "--json")
    assert (ran.code, ran.err) == (0, "")
    public = SSlibKey.from_crypto(private.public_key())
    assert json.loads(ran.out)["keyid"] == public.keyid
    assert public_of(product.project, "pipeline") == public_of(product.project, "env:RELEASE_KEY") == public
    assert signer_of(product.project, "pipeline").public_key == public
    name_keys(product, RELEASES, [f"heirloom:{RELEASES}-1", "heirloom:pipeline"])
    keys = {key["name"]: key for key in json.loads(heirloom("key", "list", "--json").out)["keys"]}
    row = keys["pipeline"]
    assert (row["uri"], row["ci"], row["here"], row["roles"]) == ("env:RELEASE_KEY", True, True, [RELEASES])
    assert keys["root-1"]["ci"] is False
    shown = json.loads(heirloom("key", "show", "env:RELEASE_KEY", "--json").out)
    assert (shown["name"], shown["keyid"], shown["roles"]) == ("pipeline", public.keyid, [RELEASES])
    assert heirloom("key", "test", "pipeline").code == 0
    assert "env:RELEASE_KEY" in heirloom("key", "list").out
    monkeypatch.delenv("RELEASE_KEY")
    assert "not here" in heirloom("key", "list").out
    assert public_of(product.project, "pipeline") == public
    assert heirloom("key", "test", "pipeline").code == 1
    assert [signer.public_key.keyid for signer in role_signers(product.project, RELEASES)] == [
        product.store.public(f"{RELEASES}-1").keyid
    ]


def test_keys_get_one_name_each(product: Product, heirloom: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE_KEY", plain_pem(ed25519.Ed25519PrivateKey.generate()))
    assert heirloom("key", "import", "env:RELEASE_KEY", "--name", "pipeline", "--dry-run").code == 0
    assert "pipeline" not in product.store.names()
    assert heirloom("key", "import", "env:RELEASE_KEY", "--name", "pipeline").code == 0
    for argv, message in [
        (["key", "import", "env:RELEASE_KEY", "--name", "again"], "is known already, as pipeline"),
        (["key", "import", "env:RELEASE_KEY", "--name", "root-1"], "a key root-1 exists"),
        (["key", "import", "env:RELEASE_KEY", "--name", "pipeline"], "a key pipeline exists"),
        (["key", "new", "pipeline"], "a key pipeline exists"),
    ]:
        ran = heirloom(*argv)
        assert ran.code == 1
        assert message in ran.err


def test_import_wants_a_uri_of_another_kind(product: Product, heirloom: Program) -> None:
    for uri in ("heirloom:root-1", "root-1", "file2:/x"):
        ran = heirloom("key", "import", uri, "--name", "x")
        assert ran.code == 2
        assert "awskms:" in ran.err


def test_a_uri_in_the_project_file_needs_no_record(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline has heirloom.toml and the key, and no folder of keys at all."""
    private = ed25519.Ed25519PrivateKey.generate()
    monkeypatch.setenv("RELEASE_KEY", plain_pem(private))
    name_keys(product, RELEASES, ["env:RELEASE_KEY"])
    hold(product, RELEASES, [CryptoSigner(private)])
    monkeypatch.setenv("HEIRLOOM_KEYS", "/nowhere/keys")
    built = product.build("1.0.0")
    assert endorse.sign(product.project, built).signatures == 1


def test_another_key_behind_a_recorded_uri_is_told(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    product.store.record("pipeline", Record(SSlibKey.from_crypto(first.public_key()), "env:RELEASE_KEY"))
    monkeypatch.setenv("RELEASE_KEY", plain_pem(second))
    with pytest.raises(HeirloomError, match="the key behind env:RELEASE_KEY is not") as caught:
        signer_of(product.project, "pipeline")
    assert caught.value.advice


def test_a_key_that_the_role_does_not_have_signs_nothing(
    product: Product, heirloom: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEASE_KEY", plain_pem(ed25519.Ed25519PrivateKey.generate()))
    name_keys(product, RELEASES, ["env:RELEASE_KEY"])
    product.build("1.0.0")
    ran = heirloom("release", "sign", "1.0.0", "--board", BOARD)
    assert ran.code == 1
    assert "is not one of the keys that targets names" in ran.err
    assert not (product.project.state_dir / "signed").exists()


def test_one_key_of_several_can_be_chosen(product: Product) -> None:
    chosen = role_signers(product.project, "root", only=["root-2"])
    assert [signer.public_key.keyid for signer in chosen] == [product.store.public("root-2").keyid]
    with pytest.raises(HeirloomError, match="snapshot is no key of the role root") as caught:
        role_signers(product.project, "root", only=["snapshot"])
    assert "root-1, root-2, root-3" in caught.value.advice


class Refusing(CryptoSigner):
    def sign(self, payload: bytes) -> Signature:
        raise RuntimeError("the service is on fire\nwith a stack trace below")


def test_a_signature_is_verified_where_it_was_made() -> None:
    mine, other = (CryptoSigner.generate_ed25519() for _ in range(2))
    other._public_key = mine.public_key
    checked = backends.CheckedSigner(other, backends.backend("env:A"), "env:A")
    with pytest.raises(HeirloomError, match="the key behind env:A is not"):
        checked.sign(b"payload")


def test_errors_of_a_service_become_one_line() -> None:
    checked = backends.CheckedSigner(Refusing(ed25519.Ed25519PrivateKey.generate()), backends.backend("env:A"), "env:A")
    with pytest.raises(HeirloomError, match=r"cannot use the key env:A: the service is on fire$"):
        checked.sign(b"payload")


def test_a_damaged_record_is_no_key(store: KeyStore) -> None:
    store.directory.mkdir(mode=0o700)
    key = SSlibKey.from_crypto(ed25519.Ed25519PrivateKey.generate().public_key())
    store.record("good", Record(key, "env:A", ci=True))
    file = store.directory / "good.pub.json"
    assert store.known("good") == Record(key, "env:A", ci=True)
    fields = json.loads(file.read_bytes())
    damages: list[Callable[[], object]] = [
        lambda: file.write_bytes(b"{"),
        lambda: file.write_text(json.dumps({**fields, "uri": 3})),
        lambda: file.write_text(json.dumps({**fields, "ci": "yes"})),
        lambda: file.write_text(json.dumps({**fields, "keyval": {}})),
    ]
    for damage in damages:
        damage()
        assert store.names() == []
        with pytest.raises(HeirloomError, match="is no public key"):
            store.known("good")
        with pytest.raises(HeirloomError, match="good"):
            store.signer("heirloom:good", Passphrases())


def test_metadata_never_learns_where_the_private_half_is(store: KeyStore) -> None:
    key = SSlibKey.from_crypto(ed25519.Ed25519PrivateKey.generate().public_key())
    store.record("good", Record(key, "env:A", ci=True))
    assert store.public("good").to_dict() == key.to_dict()


def test_no_pin_or_passphrase_is_an_option(heirloom: Program) -> None:
    for command in (["key", "new", "x"], ["key", "test"], ["key", "import", "hsm:2", "--name", "x"]):
        for option in ("--pin", "--passphrase"):
            assert heirloom(*command, option, "1234").code == 2


def test_every_module_has_its_scheme() -> None:
    assert {path.stem for path in Path(backends.__file__).parent.glob("[!_]*.py")} == set(backends._MODULES.values())
