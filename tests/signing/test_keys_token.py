"""Keys on PKCS#11 tokens, with SoftHSM: a real token in software."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from keys_roles import hold, name_keys
from signing_product import BOARD, Product, Program
from tuf.api.metadata import Metadata

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import endorse
from heirloom.signing.backends import token as token_module
from heirloom.signing.keys import public_of, role_signers, signer_of
from heirloom.signing.metadata import utc_now
from heirloom.signing.passphrases import Passphrases

NewToken = Callable[[], str]
RELEASES = f"releases-{BOARD}"
PIN = "135790"  # of every token that the fixture makes


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIRLOOM_PIN", PIN)


def uri_of(label: str, number: int | str = "") -> str:
    return f"hsm:{number}?label={label.replace(' ', '+')}"


def test_a_key_made_on_a_token_signs_a_release_that_clients_accept(
    product: Product, heirloom: Program, new_token: NewToken, pin: None
) -> None:
    label = new_token()
    ran = heirloom("key", "new", "anna", "--uri", uri_of(label), "--json")
    assert (ran.code, ran.err) == (0, "")
    made = json.loads(ran.out)
    assert (made["uri"], made["scheme"]) == (uri_of(label, 1), "ecdsa-sha2-nistp256")
    hold(product, RELEASES, [signer_of(product.project, "anna", Passphrases())])
    name_keys(product, RELEASES, ["heirloom:anna"])
    product.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD).code == 0
    product.publish(BOARD, "1.0.0")
    product.repository.check(utc_now())
    assert product.repository.channels(BOARD) == {"stable": "1.0.0"}
    assert not list(product.store.directory.glob("anna.pem"))


def test_the_private_half_never_leaves_the_token(product: Product, new_token: NewToken, pin: None) -> None:
    import pkcs11
    from pkcs11 import Attribute, ObjectClass

    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 7), Passphrases())
    with pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label=label).open(user_pin=PIN) as session:
        (private,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        assert private[Attribute.EXTRACTABLE] is False
        assert private[Attribute.SENSITIVE] is True
        assert private[Attribute.ID] == b"\x07"
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            private[Attribute.VALUE]


def test_keys_on_a_token_are_never_overwritten(
    product: Product, heirloom: Program, new_token: NewToken, pin: None
) -> None:
    label = new_token()
    assert heirloom("key", "new", "anna", "--uri", uri_of(label, 1)).code == 0
    before = public_of(product.project, "anna")
    ran = heirloom("key", "new", "berta", "--uri", uri_of(label, 1))
    assert ran.code == 1
    assert "there is a key with ID 1 on the token" in ran.err
    ran = heirloom("key", "new", "berta", "--uri", uri_of(label), "--json")
    assert json.loads(ran.out)["uri"] == uri_of(label, 2)
    assert public_of(product.project, uri_of(label, 1)) == before != public_of(product.project, "berta")


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_other_kinds_of_keys_are_not_made_on_tokens(product: Product, heirloom: Program, kind: str) -> None:
    ran = heirloom("key", "new", "anna", "--uri", "hsm:1", "--type", kind)
    assert ran.code == 2
    assert "tokens sign with P-256" in ran.err
    assert heirloom("key", "new", "anna", "--uri", "awskms:alias/x").code == 2


def test_a_key_that_the_tokens_own_program_made_is_imported(
    product: Product, heirloom: Program, new_token: NewToken, pin: None
) -> None:
    label = new_token()
    product.store.create_on_token("maker", uri_of(label, 2), Passphrases())
    (product.store.directory / "maker.pub.json").unlink()
    ran = heirloom("key", "import", uri_of(label, 2), "--name", "anna", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["type"] == "ecdsa"
    assert heirloom("key", "test", "anna").code == 0
    ran = heirloom("key", "import", uri_of(label, 3), "--name", "berta")
    assert ran.code == 1
    assert "could not find ECDSA key" in ran.err


def test_a_p384_key_is_refused_because_devices_do_not_verify_it(
    product: Product, heirloom: Program, new_token: NewToken, pin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs11.util import ec

    label, original = new_token(), ec.encode_named_curve_parameters
    with monkeypatch.context() as patch:
        patch.setattr(ec, "encode_named_curve_parameters", lambda _: original("secp384r1"))
        with pytest.raises(HeirloomError, match="devices do not verify"):
            product.store.create_on_token("anna", uri_of(label, 1), Passphrases())
    assert "anna" not in product.store.names()
    ran = heirloom("key", "import", uri_of(label, 1), "--name", "anna")
    assert (ran.code, "ecdsa-sha2-nistp384, which devices do not verify" in ran.err) == (1, True)


def test_an_absent_token_is_named(product: Product, heirloom: Program, new_token: NewToken, pin: None) -> None:
    new_token()
    ran = heirloom("key", "import", uri_of("nobody"), "--name", "anna")
    assert ran.code == 1
    assert "no token labelled nobody is plugged in" in ran.err
    name_keys(product, RELEASES, [uri_of("nobody", 2)])
    with pytest.raises(HeirloomError, match=r"no key of the role .* is here: no token labelled nobody is plugged in"):
        role_signers(product.project, RELEASES)
    ran = heirloom("doctor")
    assert f"no key here for {RELEASES}" in ran.out


def test_several_tokens_need_a_label(product: Product, heirloom: Program, new_token: NewToken, pin: None) -> None:
    first, second = new_token(), new_token()
    ran = heirloom("key", "import", "hsm:2", "--name", "anna")
    assert ran.code == 1
    assert "several tokens are plugged in" in ran.err
    assert first in ran.err
    assert second in ran.err


@pytest.mark.parametrize(
    ("module", "message"),
    [(None, "PYKCS11LIB does not name"), ("/nowhere.so", "the PKCS#11 module /nowhere.so does not load")],
)
def test_a_module_that_is_not_there_is_named(
    product: Product,
    heirloom: Program,
    new_token: NewToken,
    module: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYKCS11LIB") if module is None else monkeypatch.setenv("PYKCS11LIB", module)
    ran = heirloom("key", "import", "hsm:2", "--name", "anna")
    assert ran.code == 1
    assert message in ran.err
    assert "libykcs11" in ran.err


def flags_of(label: str) -> Any:
    import pkcs11

    return pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label=label).flags


def test_a_wrong_pin_costs_one_try_and_says_what_the_token_tells(
    product: Product, heirloom: Program, new_token: NewToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs11 import TokenFlag

    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    product.store.create_on_token("second", uri_of(label, 2), lambda _: PIN)
    tries = count_logins(monkeypatch)
    monkeypatch.setenv("HEIRLOOM_PIN", "000000")
    ran = heirloom("key", "test", "anna", "second")
    assert ran.code == 1
    assert f"wrong PIN for token {label}: fewer tries are left" in ran.err
    assert "000000" not in ran.err
    assert tries == ["000000"]
    assert TokenFlag.USER_PIN_COUNT_LOW in flags_of(label)
    monkeypatch.setenv("HEIRLOOM_PIN", PIN)
    assert heirloom("key", "test", "anna", "second").code == 0
    assert TokenFlag.USER_PIN_COUNT_LOW not in flags_of(label)


def count_logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The PINs that reach the token from now on."""
    tries: list[str] = []
    asked = token_module._Pin.__call__

    def counting(self: Any, secret: str) -> str:
        given = asked(self, secret)
        tries.append(given)
        return given

    monkeypatch.setattr(token_module._Pin, "__call__", counting)
    return tries


def test_a_refused_pin_is_not_tried_again_by_a_program_that_goes_on(
    product: Product, new_token: NewToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that renews its timestamp every hour must not lock the token."""
    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    monkeypatch.setenv("HEIRLOOM_PIN", "000000")
    tries, passphrases = count_logins(monkeypatch), Passphrases()
    with pytest.raises(HeirloomError, match="wrong PIN"):
        signer_of(product.project, "anna", passphrases).sign(b"payload")
    for _ in range(3):
        with pytest.raises(HeirloomError, match="was refused, and is not tried again"):
            signer_of(product.project, "anna", passphrases).sign(b"payload")
    assert tries == ["000000"]


def test_any_other_source_of_pins_is_asked_once_by_a_signer(product: Product, new_token: NewToken) -> None:
    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    asked: list[str] = []
    signer = product.store.signer("heirloom:anna", lambda what: (asked.append(what), "000000")[1])
    for message in ("wrong PIN", "is not tried again"):
        with pytest.raises(HeirloomError, match=message):
            signer.sign(b"payload")
    assert asked == [f"PIN of token {label}"]


@dataclass
class FakeToken:
    label: str
    flags: Any


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"wrong PIN for token Anna$"),
        (["USER_PIN_COUNT_LOW"], "fewer tries are left"),
        (["USER_PIN_COUNT_LOW", "USER_PIN_FINAL_TRY"], "one try is left"),
        (["USER_PIN_COUNT_LOW", "USER_PIN_LOCKED"], "it has locked itself"),
    ],
)
def test_every_flag_of_a_token_has_its_sentence(new_token: NewToken, names: list[str], message: str) -> None:
    """SoftHSM never locks; YubiKeys and cards do."""
    from pkcs11 import TokenFlag

    flags = TokenFlag(0)
    for name in names:
        flags |= TokenFlag[name]
    error = token_module._wrong_pin(FakeToken("Anna", flags))
    with pytest.raises(HeirloomError, match=message):
        raise error
    assert error.advice


def test_a_locked_token_is_asked_nothing(
    product: Product, new_token: NewToken, pin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs11 import TokenFlag

    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    signer = signer_of(product.project, "anna", Passphrases())
    monkeypatch.setattr(token_module, "_find", lambda _: FakeToken(label, TokenFlag.USER_PIN_LOCKED))
    with pytest.raises(HeirloomError, match="is locked") as caught:
        signer.sign(b"payload")
    assert "PUK" in caught.value.advice


def test_only_a_person_tries_the_last_pin(new_token: NewToken, pin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="locks itself at the next wrong PIN"):
        Passphrases().pin("Anna", last_try=True)
    monkeypatch.delenv("HEIRLOOM_PIN")
    prompts: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: (prompts.append(prompt), PIN)[1])
    assert Passphrases().pin("Anna", last_try=True) == PIN
    assert "LAST TRY" in prompts[0]


def test_a_given_pin_is_never_tried_on_a_second_token(
    product: Product, heirloom: Program, new_token: NewToken, secret_fd: Callable[[str], int]
) -> None:
    from pkcs11 import TokenFlag

    labels = [new_token(), new_token()]
    for number, label in enumerate(labels, 1):
        product.store.create_on_token(f"holder-{number}", uri_of(label, 1), lambda _: PIN)
    ran = heirloom("key", "test", "holder-1", "holder-2", "--pin-fd", secret_fd(PIN))
    assert ran.code == 2
    assert f"the PIN that was given is that of token {labels[0]}" in ran.err
    assert TokenFlag.USER_PIN_COUNT_LOW not in flags_of(labels[1])


def test_without_a_terminal_nobody_is_asked_for_a_pin(product: Product, heirloom: Program, new_token: NewToken) -> None:
    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    ran = heirloom("key", "test", "anna")
    assert ran.code == 2
    assert f"nobody to ask for the PIN of token {label}" in ran.err
    assert "--pin-fd" in ran.err
    assert "HEIRLOOM_PIN" in ran.err


def test_a_pin_is_read_once_for_several_signatures(
    product: Product, new_token: NewToken, secret_fd: Callable[[str], int]
) -> None:
    label = new_token()
    product.store.create_on_token("anna", uri_of(label, 1), lambda _: PIN)
    hold(product, RELEASES, [signer_of(product.project, "anna", Passphrases(pin_fd=secret_fd(PIN)))])
    name_keys(product, RELEASES, [uri_of(label, 1)])
    passphrases = Passphrases(pin_fd=secret_fd(PIN))
    for version in ("1.0.0", "1.1.0"):
        product.change(len(version) + int(version[2]))
        built = product.build(version)
        assert endorse.sign(product.project, built, passphrases=passphrases).signatures == 1


def test_another_key_on_the_token_is_told(product: Product, heirloom: Program, new_token: NewToken, pin: None) -> None:
    label = new_token()
    for number, name in enumerate(["anna", "berta"], 1):
        product.store.create_on_token(name, uri_of(label, number), lambda _: PIN)
    folder = product.store.directory
    swapped = (folder / "anna.pub.json").read_text().replace("hsm:1", "hsm:2")
    (folder / "berta.pub.json").unlink()
    (folder / "anna.pub.json").write_text(swapped)
    ran = heirloom("key", "test", "anna")
    assert ran.code == 1
    assert f"the key behind {uri_of(label, 2)} is not" in ran.err


def test_the_environment_of_this_process_is_untouched(new_token: NewToken) -> None:
    assert "HEIRLOOM_PIN" not in os.environ


def test_pin_fd_opens_a_token_in_every_command_that_signs(
    product: Product, heirloom: Program, new_token: NewToken, secret_fd: Callable[[str], int], tmp_path: Path
) -> None:
    """A ceremony brings tokens into root and for the online keys; then they publish, renew and point channels."""
    label = new_token()
    for number, name in enumerate(("anna", "online"), 1):
        product.store.create_on_token(name, uri_of(label, number), lambda _: PIN)

    def ran(*argv: object, pin: str = PIN) -> Any:
        return heirloom(*argv, "--pin-fd", secret_fd(pin))

    online = ["snapshot", "timestamp", f"channels-{BOARD}"]
    wishes = [*("--add-key=root=anna",), *(f"--replace-key={role}=online" for role in online)]
    assert heirloom("ceremony", "start", *wishes).code == 0
    unasked = heirloom("ceremony", "sign", "--yes")
    assert (unasked.code, "--pin-fd" in unasked.err) == (2, True)
    for words in (
        ("ceremony", "sign", "--yes"),
        ("ceremony", "finish"),
    ):
        done = ran(*words)
        assert done.code == 0, done.err
    anna = product.store.public("anna").keyid
    assert anna in Metadata.from_file(str(product.project.repository / "metadata/2.root.json")).signatures
    product.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD).code == 0
    assert heirloom("renew").code == 2
    for words in (
        ("release", "publish", "1.0.0", "--board", BOARD),
        ("channel", "set", "stable", "1.0.0"),
        ("renew", "--all"),
        ("export", str(tmp_path / "out"), "--lasting"),
    ):
        done = ran(*words)
        assert done.code == 0, (words, done.err)
    wrong = ran("renew", pin="000000")
    assert wrong.code == 1
    assert f"wrong PIN for token {label}: fewer tries are left, but more than one" in wrong.err
    assert heirloom("serve", "--help").out.count("--pin-fd") == 1
    product.repository.check(utc_now())
