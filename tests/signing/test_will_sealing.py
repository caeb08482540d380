"""Seal, shares and envelope: any k of n open, fewer get nothing, and what is damaged, foreign or mixed is named."""

import itertools
import json
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shamir_mnemonic
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from securesystemslib.signer import CryptoSigner
from signing_product import Product

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import write_atomic
from heirloom.signing import roles
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.will import opening, sealed, shares, standing, state, writing

TRUSTEES = ["ada", "ben", "cyd", "dee"]


@pytest.fixture(scope="module")
def successors() -> dict[str, CryptoSigner]:
    return {name: CryptoSigner.generate_ed25519() for name in ("eva", "fay", "gus")}


@pytest.fixture
def testament(successors: dict[str, CryptoSigner]) -> writing.Testament:
    return writing.Testament({name: signer.public_key for name, signer in successors.items()}, 2, TRUSTEES, 3)


@pytest.fixture
def write(product: Product, testament: writing.Testament, tmp_path: Path) -> Callable[..., writing.Written]:
    def writer(**changes: Any) -> writing.Written:
        folder = tmp_path / f"shares{len(list(tmp_path.iterdir()))}"
        signers = changes.pop("signers", None) or role_signers(product.project, roles.ROOT)
        draft = changes.pop("draft", None)
        wanted = replace(testament, **changes)
        return writing.write(product.project, product.repository, wanted, signers, folder, utc_now(), draft)

    return writer


def unseal(product: Product, written: writing.Written, chosen: list[shares.Share]) -> bytes:
    assert written.will is not None
    judged = standing.judge(product.project, product.repository, written.will)
    return to_bytes(opening.unseal(product.project, product.repository, sealed.read(written.will), judged, chosen))


def publish_root(product: Product) -> None:
    """An ordinary next root of the maker."""
    repository = product.repository
    root = next_role(repository.root(), roles.ROOT, utc_now())
    sign(root, role_signers(product.project, roles.ROOT))
    name = file_name(roles.ROOT, root.signed.version)
    write_atomic(product.project.repository / "metadata" / name, to_bytes(root))


def test_every_subset_of_trustees_below_the_threshold_gets_nothing_and_every_other_opens(
    product: Product, write: Callable[..., writing.Written]
) -> None:
    written = write()
    held = [shares.read(path) for path in written.shares]
    assert written.will is not None
    will = sealed.read(written.will)
    for size in range(len(held) + 1):
        for subset in itertools.combinations(held, size):
            if size >= will.header.needed:
                assert b'"version":2' in unseal(product, written, list(subset))
                continue
            with pytest.raises(HeirloomError, match=f"{size} of the 3 shares"):
                unseal(product, written, list(subset))
            # Not by ignoring our rules either: SLIP-39 itself gives no key for them.
            with pytest.raises(shamir_mnemonic.MnemonicError):
                shamir_mnemonic.combine_mnemonics([share.words for share in subset])


def test_a_threshold_that_somebody_edits_in_the_shares_opens_nothing(
    product: Product, write: Callable[..., writing.Written]
) -> None:
    """Two of three shares, re-encoded as two of two: SLIP-39's digest refuses, or another key comes out."""
    written = write()
    assert written.will is not None
    will = sealed.read(written.will)
    for subset in itertools.combinations(written.shares, 2):
        forged = []
        for path in subset:
            share = shamir_mnemonic.Share.from_mnemonic(shares.read(path).words)
            forged.append(replace(share, member_threshold=2).mnemonic())
        try:
            key = shamir_mnemonic.combine_mnemonics(forged)
        except shamir_mnemonic.MnemonicError:
            continue
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(will.nonce, will.content, will.header.bound())


def test_the_root_inside_hands_every_role_to_the_successors(
    product: Product, write: Callable[..., writing.Written], successors: dict[str, CryptoSigner]
) -> None:
    written = write()
    root = json.loads(unseal(product, written, [shares.read(path) for path in written.shares[1:]]))["signed"]
    keyids = sorted(signer.public_key.keyid for signer in successors.values())
    assert sorted(root["keys"]) == keyids
    for role in roles.TOP_LEVEL:
        assert sorted(root["roles"][role]["keyids"]) == keyids
        assert root["roles"][role]["threshold"] == 2
    before = product.repository.root().signed
    assert root["version"] == before.version + 1
    assert not set(before.keys) & set(keyids)


def test_neither_the_envelope_nor_a_share_has_the_root_in_the_clear(write: Callable[..., writing.Written]) -> None:
    written = write()
    assert written.will is not None
    assert b"signatures" not in written.will.read_bytes()
    for path in written.shares:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("field", ["product", "version", "format", "threshold", "successors", "root"])
def test_the_seal_binds_the_envelope(write: Callable[..., writing.Written], field: str) -> None:
    written = write()
    assert written.will is not None
    document = json.loads(written.will.read_bytes())
    will = sealed.read(written.will)
    key = shares.join([shares.read(path) for path in written.shares], will.header.identifier, 3)
    will.open(key)
    changed = {str: "x", int: 7, dict: {}}[type(document[field])]
    with pytest.raises(HeirloomError, match="the will was changed"):
        replace(will, header=replace(will.header, **{field: changed})).open(key)


def test_a_will_with_any_bit_changed_does_not_open(write: Callable[..., writing.Written]) -> None:
    written = write()
    assert written.will is not None
    will = sealed.read(written.will)
    key = shares.join([shares.read(path) for path in written.shares], will.header.identifier, 3)
    for position in range(0, len(will.content), 97):
        content = bytearray(will.content)
        content[position] ^= 1
        with pytest.raises(HeirloomError, match="the will was changed"):
            replace(will, content=bytes(content)).open(key)


def test_a_damaged_share_is_refused_without_telling_its_words(write: Callable[..., writing.Written]) -> None:
    path = write().shares[0]
    words = shares.read(path).words.split()
    swapped = [*words[:7], words[8], words[7], *words[9:]]
    for text, reason in (
        (" ".join(swapped), "checksum is wrong"),
        (" ".join([*words[:5], "heirloom", *words[6:]]), "word 6 is no word"),
        (" ".join(words[:-1]), "checksum is wrong"),
        ("", "holds no share"),
    ):
        path.write_text(text)
        with pytest.raises(HeirloomError, match=reason) as caught:
            shares.read(path)
        said = f"{caught.value.message} {caught.value.advice} {caught.value.__cause__}".replace(str(path), "")
        # Some are words of the messages themselves.
        secret = set(words) - set(re.findall(r"\w+", Path(shares.__file__).read_text()))
        assert not secret & set(re.findall(r"\w+", said))


def test_shares_of_two_wills_do_not_mix(product: Product, write: Callable[..., writing.Written]) -> None:
    first = write()
    assert first.will is not None
    old = [shares.read(path) for path in first.shares]
    first.will.unlink()
    second = write()
    new = [shares.read(path) for path in second.shares]
    with pytest.raises(HeirloomError, match="a share of another will"):
        unseal(product, second, [old[0], *new[1:]])
    with pytest.raises(HeirloomError, match="are the same share"):
        unseal(product, second, [new[0], new[1], new[0]])
    unseal(product, second, new[:3])


def test_a_share_forged_to_fit_is_refused(product: Product, write: Callable[..., writing.Written]) -> None:
    """Identifier, threshold and checksum are right, the content is not."""
    written = write()
    held = [shares.read(path) for path in written.shares]
    share = shamir_mnemonic.Share.from_mnemonic(held[0].words)
    forged = replace(share, value=bytes(len(share.value))).mnemonic()
    with pytest.raises(HeirloomError, match="do not fit together"):
        unseal(product, written, [shares.parse(forged, "forged"), *held[1:3]])


def test_a_void_will_is_refused_with_the_reason(product: Product, write: Callable[..., writing.Written]) -> None:
    written = write()
    assert state(product.project).live is not None
    assert not state(product.project).attention
    publish_root(product)
    found = state(product.project)
    assert found.live is None
    assert "no will follows root 2: root 2 was published after it was written" in found.attention
    with pytest.raises(HeirloomError, match="this will is void: root 2 was published after"):
        unseal(product, written, [shares.read(path) for path in written.shares])
    write()
    assert not state(product.project).attention


def test_check_counts_the_devices_that_a_void_will_still_reaches(
    product: Product, write: Callable[..., writing.Written], tmp_path: Path
) -> None:
    write()
    publish_root(product)
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"devices": [{"root": 1}, {"metadata": {"root": 2}}, {"metadata": {"root": 1}}]}))
    (will,) = state(product.project, inventory=inventory).wills
    assert will.devices == (2, 3)
    assert state(product.project).wills[0].devices is None
    for wrong in ("{}", "[1]", '[{"root": "1"}]', "no"):
        inventory.write_text(wrong)
        with pytest.raises(HeirloomError, match="inventory"):
            state(product.project, inventory=inventory)


def test_a_will_of_another_product_or_another_chain_is_foreign(
    product: Product, write: Callable[..., writing.Written]
) -> None:
    written = write()
    assert written.will is not None
    will = sealed.read(written.will)
    for changes, reason in (
        ({"product": "other"}, "the will of the product other"),
        ({"version": 4}, "this repository ends with 1"),
        ({"follows": "0" * 64}, "another root 1"),
    ):
        write_atomic(written.will, replace(will, header=replace(will.header, **changes)).to_bytes())  # type: ignore[arg-type]
        judged = standing.judge(product.project, product.repository, written.will)
        assert (judged.state, reason in judged.reason) == (standing.FOREIGN, True)
        with pytest.raises(HeirloomError, match="not one for this repository"):
            unseal(product, written, [shares.read(path) for path in written.shares])


def test_holders_in_two_places_sign_one_after_the_other(
    product: Product, write: Callable[..., writing.Written], tmp_path: Path
) -> None:
    first, second, _ = role_signers(product.project, roles.ROOT)
    draft = tmp_path / "draft.json"
    with pytest.raises(HeirloomError, match="1 of the 2 signatures"):
        write(signers=[first])
    waiting = write(signers=[first], draft=draft)
    assert (waiting.will, waiting.signatures, waiting.shares) == (None, 1, [])
    assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    again = write(signers=[first], draft=draft)
    assert again.signatures == 1
    with pytest.raises(HeirloomError, match="other successors, another threshold"):
        write(signers=[second], draft=draft, threshold=3)
    done = write(signers=[second], draft=draft)
    assert done.will is not None
    assert done.signatures == 2
    assert not draft.exists()
    unseal(product, done, [shares.read(path) for path in done.shares[:3]])


def test_wills_that_would_not_do_are_refused(
    product: Product, write: Callable[..., writing.Written], successors: dict[str, CryptoSigner]
) -> None:
    keys = {name: signer.public_key for name, signer in successors.items()}
    own = role_signers(product.project, roles.ROOT)[0].public_key
    for changes, reason in (
        ({"needed": 1}, "1 of 4 trustees"),
        ({"needed": 5}, "5 of 4 trustees"),
        ({"trustees": ["ada", "ada"], "needed": 2}, "two trustees have the same name"),
        ({"trustees": ["../ada", "ben"], "needed": 2}, "is no name"),
        ({"threshold": 4}, "4 of 3 successors"),
        ({"successors": {}, "threshold": 0}, "0 of 0 successors"),
        ({"successors": {"eva": keys["eva"], "fay": keys["eva"]}}, "the key of fay is one of eva"),
        ({"successors": {"eva": own}, "threshold": 1}, "one of today's holders"),
        ({"signers": [successors["eva"]]}, "none of the keys here"),
    ):
        with pytest.raises((HeirloomError, UsageError), match=reason):
            write(**changes)
        assert not (product.project.root / "will").exists()
    write()
    with pytest.raises(HeirloomError, match="follows the root of today"):
        write()


def test_shares_never_lie_in_the_project_or_in_git(product: Product, tmp_path: Path) -> None:
    (tmp_path / "tree/.git").mkdir(parents=True)
    for folder in (product.project.root / "shares", tmp_path / "tree/shares", tmp_path / "tree/deep/shares"):
        with pytest.raises(HeirloomError, match="must not lie in"):
            writing.check_shares_folder(product.project, folder)
    with pytest.raises(HeirloomError, match="exists already"):
        writing.check_shares_folder(product.project, tmp_path)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"format": "heirloom-will-1"}', b"\xff", b"[" * 100_000])
def test_what_is_no_will_is_said_to_be_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "2.will.json"
    path.write_bytes(damage)
    with pytest.raises(HeirloomError, match="is no will"):
        sealed.read(path)


def test_the_commands_write_and_check(
    product: Product, heirloom: Callable[..., Any], successors: dict[str, CryptoSigner], tmp_path: Path
) -> None:
    words = []
    for name, signer in successors.items():
        file = tmp_path / f"{name}.pub.json"
        file.write_text(json.dumps({"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}))
        words += ["--successor", f"{name}={file}"]
    for name in TRUSTEES:
        words += ["--trustee", name]
    words += ["--needed", 3, "--shares", tmp_path / "stick"]
    assert heirloom("will", "check").code == 3
    assert heirloom("will", "write", *words).code == 2  # nobody to ask
    ran = heirloom("will", "write", *words, "--yes")
    assert ran.code == 0, ran.err
    held = sorted((tmp_path / "stick").iterdir())
    assert [path.name for path in held] == [f"{name}.share.txt" for name in TRUSTEES]
    for path in held:
        phrase = " ".join(shares.read(path).words.split()[4:7])
        assert phrase not in ran.out + ran.err
    ran = heirloom("will", "check", "--share", held[0], "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["live"]["header"]["trustees"] == TRUSTEES
    publish_root(product)
    ran = heirloom("will", "check")
    assert ran.code == 3
    assert "is unknown: name an --inventory" in ran.out
    assert heirloom("will", "check", "--share", held[0]).code == 1


def test_a_private_key_is_no_successor(product: Product, heirloom: Callable[..., Any], tmp_path: Path) -> None:
    pem = product.project.keys_dir() / "root-1.pem"
    people = ["--successor", f"eva={pem}", "--trustee", "a", "--trustee", "b", "--needed", 2]
    ran = heirloom("will", "write", *people, "--shares", tmp_path / "s")
    assert ran.code == 1
    assert "is a private key" in ran.err
