"""Metadata verified as a client would: every rule, against somebody who holds the online keys, or old ones."""

from collections.abc import Callable

import pytest
from signing_product import BOARD, NOW, OTHER, PASSPHRASE, Product
from tuf.api.metadata import Metadata, Root

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles, verify
from heirloom.signing.metadata import (
    AnyMetadata,
    describe,
    file_name,
    first_snapshot,
    first_timestamp,
    meta_name,
    next_role,
    sign,
    to_bytes,
    utc_now,
)

RELEASES = roles.releases_role(BOARD)
Files = dict[str, bytes]


def current(product: Product) -> Files:
    """The files that a client would read now."""
    folder = product.project.repository / "metadata"
    return {file.name: file.read_bytes() for file in folder.glob("*.json") if file.name != "root.json"}


def check(files: Files) -> verify.Trusted:
    return verify.as_client(files.get, utc_now())


def reseal(product: Product, files: Files, **versions: int) -> None:
    """Put a snapshot and a timestamp over `files`, with the true online keys."""
    meta = {}
    for role in [*verify.delegated_roles(product.repository.targets()), "targets"]:
        version = versions.get(role.partition("-")[0], 1)
        meta[meta_name(role)] = describe(version, files[file_name(role, version)])
    snapshot = first_snapshot(meta, utc_now())
    sign(snapshot, product.signers("snapshot")["snapshot"])
    files["1.snapshot.json"] = to_bytes(snapshot)
    timestamp = first_timestamp(describe(1, files["1.snapshot.json"]), utc_now())
    sign(timestamp, product.signers("timestamp")["timestamp"])
    files["timestamp.json"] = to_bytes(timestamp)


def signed(product: Product, metadata: AnyMetadata, *names: str) -> bytes:
    metadata.signatures.clear()
    for name in names:
        sign(metadata, [product.store.signer(f"heirloom:{name}", lambda _: PASSPHRASE)])
    return to_bytes(metadata)


def test_what_stands_is_accepted(product: Product) -> None:
    trusted = check(current(product))
    assert trusted.root.signed.version == 1
    assert list(trusted.delegated) == [role for board in (BOARD, OTHER) for role in roles.board_roles(board)]
    with pytest.raises(HeirloomError, match="no role releases-NOBODY"):
        trusted.role("releases-NOBODY")


def test_stolen_online_keys_bring_in_no_role_of_their_own(product: Product) -> None:
    files = current(product)
    reseal(product, files)
    check(files)
    forged = product.repository.role(RELEASES)
    files[f"1.{RELEASES}.json"] = signed(product, forged, "snapshot", "timestamp")
    reseal(product, files)
    with pytest.raises(HeirloomError, match=rf"1\.{RELEASES}\.json carries 0 valid signatures"):
        check(files)


def test_stolen_online_keys_rename_no_old_version(product: Product) -> None:
    files = current(product)
    files[f"2.{RELEASES}.json"] = files[f"1.{RELEASES}.json"]
    meta_versions = {"releases": 2}
    for role in verify.delegated_roles(product.repository.targets()):
        files.setdefault(file_name(role, 2), files[file_name(role, 1)])
    reseal(product, files, **meta_versions)
    with pytest.raises(HeirloomError, match="is version 1, expected 2"):
        check(files)


def test_a_snapshot_that_the_timestamp_does_not_describe_is_refused(product: Product) -> None:
    files = current(product)
    other = dict(files)
    snapshot = product.repository.snapshot()
    snapshot.signed.unrecognized_fields["x"] = 1
    snapshot.signatures.clear()
    sign(snapshot, product.signers("snapshot")["snapshot"])
    other["1.snapshot.json"] = to_bytes(snapshot)
    with pytest.raises(HeirloomError, match=r"1\.snapshot\.json is not the file that the signed metadata describes"):
        check(other)


def test_a_role_that_the_snapshot_does_not_mention_is_refused(product: Product) -> None:
    files = current(product)
    snapshot = product.repository.snapshot()
    del snapshot.signed.meta[f"{RELEASES}.json"]
    snapshot.signatures.clear()
    sign(snapshot, product.signers("snapshot")["snapshot"])
    files["1.snapshot.json"] = to_bytes(snapshot)
    files["timestamp.json"] = product.repository_timestamp_for(files["1.snapshot.json"])
    with pytest.raises(HeirloomError, match=f"says nothing about {RELEASES}"):
        check(files)


@pytest.mark.parametrize("role", ["snapshot", "targets-1", f"channels-{BOARD}"])
def test_only_its_own_key_signs_the_timestamp(product: Product, role: str) -> None:
    files = current(product)
    timestamp = next_role(product.repository.timestamp(), "timestamp", utc_now())
    files["timestamp.json"] = signed(product, timestamp, role)
    with pytest.raises(HeirloomError, match=r"timestamp\.json carries 0 valid signatures"):
        check(files)


def _rotated(product: Product) -> Metadata[Root]:
    """Root 2, in which nobody of root 1 holds the root any more."""
    root = next_role(product.repository.root(), "root", utc_now())
    for number in (1, 2, 3):
        root.signed.revoke_key(product.store.public(f"root-{number}").keyid, "root")
        root.signed.add_key(product.store.create(f"heir-{number}", PASSPHRASE), "root")
    return root


def test_a_root_passes_on_to_new_holders_when_both_sign(product: Product, quick_keys: None) -> None:
    files = current(product)
    files["2.root.json"] = signed(product, _rotated(product), "root-1", "root-3", "heir-2", "heir-3")
    assert check(files).root.signed.version == 2


@pytest.mark.parametrize(
    ("signers", "message"),
    [
        (("heir-1", "heir-2", "heir-3"), "0 valid signatures of the 2"),
        (("root-1", "heir-1", "heir-2"), "1 valid signatures of the 2"),
        (("root-1", "root-2", "root-3"), "0 valid signatures of the 2"),
        (("root-1", "root-2", "heir-1"), "1 valid signatures of the 2"),
        (("snapshot", "timestamp", "targets-1"), "0 valid signatures of the 2"),
    ],
)
def test_a_root_needs_its_old_and_its_new_holders(
    product: Product, quick_keys: None, signers: tuple[str, ...], message: str
) -> None:
    files = current(product)
    files["2.root.json"] = signed(product, _rotated(product), *signers)
    with pytest.raises(HeirloomError, match=rf"2\.root\.json carries {message}"):
        check(files)


def test_a_root_is_followed_one_by_one(product: Product) -> None:
    files = current(product)
    root = next_role(product.repository.root(), "root", utc_now())
    root.signed.version = 3
    files["2.root.json"] = signed(product, root, "root-1", "root-2")
    with pytest.raises(HeirloomError, match=r"2\.root\.json is version 3, expected 2"):
        check(files)


def test_an_expired_root_in_between_does_not_matter(product: Product) -> None:
    files = current(product)
    second = next_role(product.repository.root(), "root", utc_now())
    second.signed.expires = NOW
    files["2.root.json"] = signed(product, second, "root-1", "root-2")
    with pytest.raises(HeirloomError, match="root expired"):
        check(files)
    third = next_role(second, "root", utc_now())
    files["3.root.json"] = signed(product, third, "root-1", "root-2")
    assert check(files).root.signed.version == 3


def test_an_unsigned_first_root_is_no_beginning(product: Product) -> None:
    files = current(product)
    files["1.root.json"] = signed(product, product.repository.root(), "root-1")
    with pytest.raises(HeirloomError, match=r"1\.root\.json carries 1 valid signatures of the 2"):
        check(files)
    with pytest.raises(HeirloomError, match="the trusted root carries 1 valid"):
        verify.as_client(current(product).get, utc_now(), anchor=files["1.root.json"])


@pytest.mark.parametrize("role", ["root", "targets", RELEASES, "snapshot", "timestamp"])
def test_expiry_counts_to_the_second(product: Product, role: str) -> None:
    files = current(product)
    expires = product.repository.trusted.role(role).signed.expires
    kind = role if role in roles.TOP_LEVEL else "delegated"
    verify.as_client(files.get, expires.replace(year=expires.year - 3), unexpired=frozenset({kind}))
    with pytest.raises(HeirloomError, match=f"{role} expired on {expires:%Y-%m-%d}"):
        verify.as_client(files.get, expires, unexpired=frozenset({kind}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"[]",
        lambda data: data.replace(b"timestamp", b"snapshot"),
    ],
)
def test_what_is_no_timestamp_is_named(product: Product, damage: Callable[[bytes], bytes]) -> None:
    files = current(product)
    files["timestamp.json"] = damage(files["timestamp.json"])
    with pytest.raises(HeirloomError, match=r"^timestamp\.json is "):
        check(files)
