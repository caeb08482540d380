"""Keys as files: made once, read by nobody else, opened with the right passphrase only."""

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import Signer
from signing_product import BOARD, PASSPHRASE, Product

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import keyfile
from heirloom.signing.keys import KeyStore, WrongPassphraseError, role_signers
from heirloom.signing.kinds import KINDS
from heirloom.signing.passphrases import Passphrases


@pytest.fixture
def strong_store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


@pytest.fixture
def store(strong_store: KeyStore, quick_keys: None) -> KeyStore:
    return strong_store


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_signs_what_its_public_half_verifies(store: KeyStore, kind: str) -> None:
    public = store.create("root-1", PASSPHRASE, kind)
    signer = store.signer("heirloom:root-1", lambda _: PASSPHRASE)
    assert signer.public_key == public == store.public("root-1")
    public.verify_signature(signer.sign(b"payload"), b"payload")


def test_the_files_are_private_and_the_key_is_encrypted(store: KeyStore) -> None:
    store.create("root-1", PASSPHRASE)
    assert mode(store.directory) == 0o700
    assert mode(store.directory / "root-1.pem") == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (store.directory / "root-1.pem").read_bytes()
    assert sorted(path.name for path in store.directory.iterdir()) == ["root-1.pem", "root-1.pub.json"]
    assert store.names() == ["root-1"]


def test_openssl_reads_the_file(strong_store: KeyStore) -> None:
    strong_store.create("root-1", PASSPHRASE)
    command = [
        "openssl",
        "pkey",
        "-in",
        strong_store.directory / "root-1.pem",
        "-passin",
        f"pass:{PASSPHRASE}",
        "-noout",
    ]
    try:
        result = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `openssl` on PATH")
    assert result.returncode == 0, result.stderr


def test_opening_costs_an_attacker_much_and_a_person_little(strong_store: KeyStore) -> None:
    assert keyfile.SCRYPT_N * keyfile.SCRYPT_R * 128 == 16 << 20
    strong_store.create("root-1", PASSPHRASE)
    begin = time.process_time()
    strong_store.private("root-1", PASSPHRASE)
    # The promise is 150 ms; a busy machine gets some grace. Well above zero, or it would cost an attacker nothing.
    assert 0.01 < time.process_time() - begin < 0.3


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text and text.isprintable()))
def test_only_the_passphrase_opens(passphrase: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "SCRYPT_N", 2)
        pem = keyfile.seal(key, passphrase)
    opened = keyfile.open_sealed(pem, passphrase)
    assert isinstance(opened, ed25519.Ed25519PrivateKey)
    assert opened.private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(ValueError, match="wrong or the key is damaged"):
        keyfile.open_sealed(pem, passphrase + "x")


def test_a_key_is_never_overwritten(store: KeyStore) -> None:
    store.create("root-1", PASSPHRASE)
    before = (store.directory / "root-1.pem").read_bytes()
    with pytest.raises(HeirloomError, match="a key root-1 exists"):
        store.create("root-1", PASSPHRASE)
    with pytest.raises(HeirloomError, match="a key root-1 exists"):
        store._write_once("root-1", b"someone was quicker")
    assert (store.directory / "root-1.pem").read_bytes() == before
    assert len(list(store.directory.iterdir())) == 2


def test_a_half_made_key_does_not_exist_and_can_be_made(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(HeirloomError, match="no space left") as caught:
            store.create("root-1", PASSPHRASE)
    assert "free some space" in caught.value.advice
    assert store.names() == []
    public = store.create("root-1", PASSPHRASE)
    assert store.public("root-1") == public


@pytest.mark.parametrize(("path", "wrong"), [("keys", 0o750), ("keys", 0o705), ("keys/root-1.pem", 0o640)])
def test_keys_that_others_can_read_are_refused(store: KeyStore, path: str, wrong: int) -> None:
    store.create("root-1", PASSPHRASE)
    place = store.directory.parent / path
    place.chmod(wrong)
    with pytest.raises(HeirloomError, match="others can read") as caught:
        store.private("root-1", PASSPHRASE)
    assert f"{place}" in caught.value.message
    assert "chmod" in caught.value.advice


def test_a_wrong_passphrase_is_one_clear_line(store: KeyStore) -> None:
    store.create("root-1", PASSPHRASE)
    with pytest.raises(WrongPassphraseError, match="wrong passphrase for key root-1") as caught:
        store.signer("heirloom:root-1", lambda _: "something else")
    assert "something else" not in str(caught.value) + caught.value.advice


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda store: (store.directory / "root-1.pem").unlink(), "no key root-1"),
        (lambda store: (store.directory / "root-1.pub.json").unlink(), "no key root-1"),
        (lambda store: (store.directory / "root-1.pem").write_bytes(b""), "no encrypted PKCS#8 key"),
        (lambda store: (store.directory / "root-1.pub.json").write_bytes(b"{"), "is no public key"),
        (lambda store: (store.directory / "root-1.pub.json").write_bytes(b"[]"), "is no public key"),
        (lambda store: (store.directory / "root-1.pub.json").write_bytes(b'{"keyid": 3}'), "is no public key"),
    ],
)
def test_damaged_keys_are_named(store: KeyStore, damage: Callable[[KeyStore], None], message: str) -> None:
    store.create("root-1", PASSPHRASE)
    damage(store)
    with pytest.raises(HeirloomError, match=message) as caught:
        store.signer("heirloom:root-1", lambda _: PASSPHRASE)
    assert caught.value.advice


def test_an_unencrypted_key_is_refused(store: KeyStore) -> None:
    from cryptography.hazmat.primitives import serialization as s

    store.create("root-1", PASSPHRASE)
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (store.directory / "root-1.pem").write_bytes(pem)
    with pytest.raises(HeirloomError, match="no encrypted PKCS#8 key"):
        store.signer("heirloom:root-1", lambda _: PASSPHRASE)


def test_halves_of_two_keys_do_not_pass_for_one(store: KeyStore) -> None:
    store.create("root-1", PASSPHRASE)
    store.create("root-2", PASSPHRASE)
    (store.directory / "root-2.pub.json").replace(store.directory / "root-1.pub.json")
    with pytest.raises(HeirloomError, match="not the public half"):
        store.signer("heirloom:root-1", lambda _: PASSPHRASE)


@pytest.mark.parametrize("name", ["", "../root", "a/b", ".hidden", "a b", "x" * 97])
def test_names_that_could_leave_the_folder_are_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.create(name, PASSPHRASE)
    with pytest.raises(UsageError):
        store.signer(f"heirloom:{name}", lambda _: PASSPHRASE)


def test_securesystemslib_opens_the_uri(product: Product) -> None:
    public = product.store.public("snapshot")
    signer = Signer.from_priv_key_uri("heirloom:snapshot", public, lambda _: PASSPHRASE)
    public.verify_signature(signer.sign(b"payload"), b"payload")
    with pytest.raises(ValueError, match="secrets handler"):
        Signer.from_priv_key_uri("heirloom:snapshot", public)


def test_an_unknown_scheme_is_named(product: Product) -> None:
    product.project.signing["snapshot"] = ["file2:/somewhere"]
    with pytest.raises(HeirloomError, match="cannot use the key file2:/somewhere"):
        role_signers(product.project, "snapshot")


def test_a_role_is_signed_with_the_keys_that_are_here(product: Product) -> None:
    (product.store.directory / "root-2.pem").unlink()
    assert [signer.public_key.keyid for signer in role_signers(product.project, "root")] == [
        product.store.public("root-1").keyid,
        product.store.public("root-3").keyid,
    ]


def test_a_role_without_keys_here_says_where_they_should_be(product: Product) -> None:
    (product.store.directory / f"releases-{BOARD}-1.pem").unlink()
    with pytest.raises(HeirloomError, match=f"releases-{BOARD}-1 should be in") as caught:
        role_signers(product.project, f"releases-{BOARD}")
    assert "HEIRLOOM_KEYS" in caught.value.advice
    with pytest.raises(HeirloomError, match="no keys are named"):
        role_signers(product.project, "releases-UNKNOWN")


def test_a_passphrase_is_read_once_from_its_descriptor(store: KeyStore, secret_fd: Callable[[str], int]) -> None:
    for name in ("root-1", "root-2"):
        store.create(name, PASSPHRASE)
    passphrases = Passphrases(secret_fd(PASSPHRASE))
    for name in ("root-1", "root-2"):
        store.test(name, passphrases)


def test_the_descriptor_wins_over_the_environment(
    store: KeyStore, secret_fd: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("root-1", PASSPHRASE)
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", "another one")
    store.test("root-1", Passphrases(secret_fd(PASSPHRASE)))
    with pytest.raises(WrongPassphraseError):
        store.test("root-1", Passphrases())


class Person:
    """Types these secrets at a terminal, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *secrets: str) -> None:
        self.prompts: list[str] = []
        self._secrets = list(secrets)
        monkeypatch.setattr("sys.stdin", self)
        monkeypatch.setattr("getpass.getpass", self._type)

    def isatty(self) -> bool:
        return True

    def _type(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self._secrets.pop(0)


def test_a_person_types_a_shared_passphrase_once(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("root-1", "root-2"):
        store.create(name, PASSPHRASE)
    person = Person(monkeypatch, PASSPHRASE)
    passphrases = Passphrases()
    for name in ("root-1", "root-2", "root-1"):
        store.test(name, passphrases)
    assert person.prompts == ["passphrase of key root-1: "]


def test_a_person_is_asked_again_where_keys_have_different_passphrases(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("root-1", PASSPHRASE)
    store.create("root-2", "quite another one")
    person = Person(monkeypatch, PASSPHRASE, "quite another one")
    passphrases = Passphrases()
    for name in ("root-1", "root-2"):
        store.test(name, passphrases)
    assert person.prompts == ["passphrase of key root-1: ", "passphrase of key root-2: "]


def test_a_person_who_errs_is_not_asked_for_ever(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("root-1", PASSPHRASE)
    person = Person(monkeypatch, "wrong", PASSPHRASE)
    with pytest.raises(WrongPassphraseError):
        store.test("root-1", Passphrases())
    assert len(person.prompts) == 1


def test_a_new_passphrase_is_typed_twice_and_not_short(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch, PASSPHRASE, PASSPHRASE)
    assert Passphrases().create("key root-1") == PASSPHRASE
    assert len(person.prompts) == 2
    Person(monkeypatch, PASSPHRASE, PASSPHRASE + "x")
    with pytest.raises(UsageError, match="differ"):
        Passphrases().create("key root-1")
    Person(monkeypatch, "short", "short")
    with pytest.raises(UsageError, match="too short"):
        Passphrases().create("key root-1")
