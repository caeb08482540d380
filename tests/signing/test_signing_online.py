"""The online keys sign only what a client would take, and leave out nothing."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Key, Signature, Signer
from signing_product import BOARD, OTHER, PASSPHRASE, Product
from test_signing_founding import client
from tuf.api.metadata import Metadata, TargetFile, Targets

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import channels, endorse, online, release, roles, verify
from heirloom.signing.metadata import (
    SIGNED_AT,
    describe,
    file_name,
    first_role,
    next_role,
    sign,
    time_text,
    to_bytes,
    utc_now,
)
from heirloom.signing.repository import Repository

RELEASES, CHANNELS = roles.board_roles(BOARD)


def sealed(product: Product, role: str, metadata: Metadata[Targets], *by: str) -> dict[str, bytes]:
    """The file of a role, signed by the keys of the role, or by those of other ones."""
    metadata.signatures.clear()
    for name in by or (role,):
        sign(metadata, product.signers(name)[name])
    return {file_name(role, metadata.signed.version): to_bytes(metadata)}


def following(product: Product, role: str) -> Metadata[Targets]:
    return next_role(product.repository.role(role), role, utc_now())


def refresh(product: Product, changed: dict[str, bytes]) -> dict[str, bytes]:
    return online.refresh(product.repository, changed, product.signers(), utc_now())


def listed(board: str, version: str, sequence: int = 1, epoch: int = 0, content: bytes = b"manifest") -> TargetFile:
    target = TargetFile.from_data(f"releases/{board}/{version}.cbor", content, ["sha256"])
    target.unrecognized_fields["custom"] = {"version": version, "epoch": epoch, "sequence": sequence}
    return target


def test_a_release_reaches_python_tufs_client(product: Product, tmp_path: Path) -> None:
    root = (product.project.repository / "metadata" / "1.root.json").read_bytes()
    built = product.release("1.0.0")
    updater = client(product.project.root, tmp_path / "client", root)
    for path in (f"releases/{BOARD}/1.0.0.cbor", f"channels/{BOARD}/stable"):
        info = updater.get_targetinfo(path)
        assert info is not None
        assert Path(updater.download_target(info)).read_bytes() == built.manifest_bytes
    assert info.custom == {"release": f"releases/{BOARD}/1.0.0.cbor"}
    product.change(2)
    built = product.release("1.1.0")
    info = client(product.project.root, tmp_path / "client", root).get_targetinfo(f"channels/{BOARD}/stable")
    assert info is not None
    assert info.hashes["sha256"] == built.sha256


def test_versions_go_up_by_one_and_roles_stay(product: Product) -> None:
    product.release("1.0.0")
    meta = product.repository.snapshot().signed.meta
    assert {name: file.version for name, file in meta.items()} == {
        "targets.json": 1,
        f"{RELEASES}.json": 2,
        f"{CHANNELS}.json": 2,
        f"releases-{OTHER}.json": 1,
        f"channels-{OTHER}.json": 1,
    }
    assert product.repository.snapshot().signed.version == product.repository.timestamp().signed.version == 2


def test_a_next_version_starts_unsigned_and_leaves_the_current_one_alone(product: Product) -> None:
    before = product.repository.role(RELEASES)
    bytes_before = to_bytes(before)
    after = next_role(before, RELEASES, utc_now())
    assert after.signatures == {}
    assert after.signed.version == 2
    assert to_bytes(before) == bytes_before


def test_without_changes_only_the_timestamp_is_new(product: Product) -> None:
    files = refresh(product, {})
    assert list(files) == ["timestamp.json"]
    product.write(files)
    assert product.repository.timestamp().signed.version == 2
    product.repository.check(utc_now())


def test_a_role_from_the_future_is_refused(product: Product) -> None:
    """A thief of its keys, or a wrong clock: devices would believe the date."""
    for hours, refused in ((23, False), (25, True)):
        releases = following(product, RELEASES)
        releases.signed.unrecognized_fields[SIGNED_AT] = time_text(utc_now() + timedelta(hours=hours))
        changed = sealed(product, RELEASES, releases)
        if refused:
            with pytest.raises(HeirloomError, match="in the future"):
                refresh(product, changed)
        else:
            refresh(product, changed)


def test_a_snapshot_past_half_of_its_life_is_renewed(product: Product) -> None:
    later = utc_now() + timedelta(days=8)
    files = online.refresh(product.repository, {}, product.signers(), later)
    assert sorted(files) == ["2.snapshot.json", "timestamp.json"]
    product.write(files)
    assert product.repository.snapshot().signed.expires == later + timedelta(days=14)


def test_a_repository_whose_online_roles_expired_can_be_renewed(product: Product) -> None:
    later = utc_now() + timedelta(days=100)
    with pytest.raises(HeirloomError, match="timestamp expired") as caught:
        product.repository.check(later)
    assert "heirloom renew" in caught.value.advice
    changed = {}
    for board in (BOARD, OTHER):
        role = roles.channels_role(board)
        renewed = channels.renewed(product.repository, board, product.signers(role)[role], later)
        changed[file_name(role, 2)] = renewed
    product.write(online.refresh(product.repository, changed, product.signers(), later))
    product.repository.check(later)


def test_nothing_is_signed_over_an_expired_root_or_targets(product: Product) -> None:
    for days, role in ((366, "targets"), (731, "root")):
        with pytest.raises(HeirloomError, match=f"{role} expired") as caught:
            online.refresh(product.repository, {}, product.signers(), utc_now() + timedelta(days=days))
        assert f"holders of {role}" in caught.value.advice


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (("timestamp",), "0 valid signatures of the 1"),
        ((CHANNELS,), "0 valid signatures of the 1"),
        ((f"releases-{OTHER}",), "0 valid signatures of the 1"),
    ],
)
def test_a_role_signed_by_other_keys_is_refused(product: Product, by: tuple[str, ...], message: str) -> None:
    with pytest.raises(HeirloomError, match=message):
        refresh(product, sealed(product, RELEASES, following(product, RELEASES), *by))


class Untouched(Signer):
    """An online key that must not be used."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    @classmethod
    def from_priv_key_uri(cls, *_: object) -> "Untouched":  # type: ignore[override]
        raise NotImplementedError

    @property
    def public_key(self) -> Key:
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        raise AssertionError("signed something that should have been refused")


@pytest.mark.parametrize("by", ["timestamp", f"releases-{OTHER}"])
def test_what_is_refused_was_never_signed(product: Product, by: str) -> None:
    signers = {role: [Untouched(signer) for signer in group] for role, group in product.signers().items()}
    changed = sealed(product, RELEASES, following(product, RELEASES), by)
    with pytest.raises(HeirloomError, match="0 valid signatures"):
        online.refresh(product.repository, changed, signers, utc_now())


def test_targets_needs_two_of_its_three_keys(product: Product) -> None:
    metadata = following(product, "targets")
    signers = product.signers("targets")["targets"]
    sign(metadata, signers[:1])
    name = file_name("targets", 2)
    with pytest.raises(HeirloomError, match="1 valid signatures of the 2") as caught:
        refresh(product, {name: to_bytes(metadata)})
    assert "1 more of its 3" in caught.value.advice
    sign(metadata, signers[1:2])
    product.write(refresh(product, {name: to_bytes(metadata)}))
    assert product.repository.targets().signed.version == 2


def test_an_altered_role_is_refused(product: Product) -> None:
    ((name, data),) = sealed(product, RELEASES, following(product, RELEASES)).items()
    document = json.loads(data)
    document["signed"]["expires"] = "2036-01-01T00:00:00Z"
    with pytest.raises(HeirloomError, match="0 valid signatures"):
        refresh(product, {name: json.dumps(document).encode()})


def test_versions_that_do_not_follow_are_refused(product: Product) -> None:
    same = product.repository.role(RELEASES)
    with pytest.raises(HeirloomError, match=f"2.{RELEASES}.json would"):
        refresh(product, {file_name(RELEASES, 1): to_bytes(same)})
    far = following(product, RELEASES)
    far.signed.version = 3
    with pytest.raises(HeirloomError, match=f"2.{RELEASES}.json would"):
        refresh(product, sealed(product, RELEASES, far))
    with pytest.raises(HeirloomError, match="says that it is version 3"):
        refresh(product, {file_name(RELEASES, 2): to_bytes(far)})


def test_an_expired_role_is_refused(product: Product) -> None:
    metadata = following(product, RELEASES)
    metadata.signed.expires = utc_now() - timedelta(seconds=1)
    with pytest.raises(HeirloomError, match=f"{RELEASES} expired"):
        refresh(product, sealed(product, RELEASES, metadata))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2.snapshot.json", "is made here"),
        ("timestamp.json", "not a metadata file of a role"),
        ("../2.targets.json", "not a metadata file of a role"),
        ("02.targets.json", "not a metadata file of a role"),
        ("1.releases-NOBODY.json", "nobody delegates"),
    ],
)
def test_files_that_nobody_asked_for_are_refused(product: Product, name: str, message: str) -> None:
    with pytest.raises(HeirloomError, match=message):
        refresh(product, {name: to_bytes(first_role(RELEASES, utc_now()))})


def test_what_is_not_metadata_is_named(product: Product) -> None:
    with pytest.raises(HeirloomError, match=rf"2\.{RELEASES}\.json is not TUF metadata"):
        refresh(product, {file_name(RELEASES, 2): b"{"})
    with pytest.raises(HeirloomError, match="is of type root"):
        refresh(product, {file_name(RELEASES, 2): to_bytes(product.repository.root())})


def _outside(metadata: Metadata[Targets]) -> None:
    metadata.signed.targets["x"] = listed(OTHER, "1.0.0")
    metadata.signed.targets = {f"releases/{OTHER}/1.0.0.cbor": listed(OTHER, "1.0.0")}


def _nested(metadata: Metadata[Targets]) -> None:
    path = f"releases/{BOARD}/a/b.cbor"
    metadata.signed.targets[path] = TargetFile.from_data(path, b"x", ["sha256"])


def _without_custom(metadata: Metadata[Targets]) -> None:
    target = listed(BOARD, "1.0.0")
    target.unrecognized_fields.clear()
    metadata.signed.targets[target.path] = target


def _misnamed(metadata: Metadata[Targets]) -> None:
    target = listed(BOARD, "1.0.0")
    target.unrecognized_fields["custom"]["version"] = "2.0.0"
    metadata.signed.targets[target.path] = target


def _twice_the_same_order(metadata: Metadata[Targets]) -> None:
    for version in ("1.0.0", "1.1.0"):
        target = listed(BOARD, version)
        metadata.signed.targets[target.path] = target


def _future_epoch(metadata: Metadata[Targets]) -> None:
    target = listed(BOARD, "1.0.0", epoch=1)
    metadata.signed.targets[target.path] = target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_outside, "may only list"),
        (_nested, "may only list"),
        (_without_custom, "lacks version"),
        (_misnamed, "says that it is version '2.0.0'"),
        (_twice_the_same_order, "same epoch and sequence"),
        (_future_epoch, "in epoch 1, but targets states 0"),
    ],
)
def test_releases_that_break_the_rules_are_refused(
    product: Product, change: Callable[[Metadata[Targets]], None], message: str
) -> None:
    metadata = following(product, RELEASES)
    change(metadata)
    with pytest.raises(HeirloomError, match=message):
        refresh(product, sealed(product, RELEASES, metadata))


def test_a_published_release_never_changes_and_never_leaves_its_channel(product: Product) -> None:
    product.release("1.0.0")
    metadata = following(product, RELEASES)
    path = f"releases/{BOARD}/1.0.0.cbor"
    metadata.signed.targets[path] = listed(BOARD, "1.0.0", content=b"other")
    with pytest.raises(HeirloomError, match="changes the published release"):
        refresh(product, sealed(product, RELEASES, metadata))
    del metadata.signed.targets[path]
    with pytest.raises(HeirloomError, match="which the releases role does not list"):
        refresh(product, sealed(product, RELEASES, metadata))


def test_a_channel_points_only_to_what_the_offline_keys_signed(product: Product) -> None:
    product.release("1.0.0")
    metadata = following(product, CHANNELS)
    path = f"channels/{BOARD}/stable"
    target = TargetFile.from_data(path, b"evil", ["sha256"])
    target.unrecognized_fields["custom"] = {"release": f"releases/{BOARD}/1.0.0.cbor"}
    metadata.signed.targets[path] = target
    with pytest.raises(HeirloomError, match="another length or hash"):
        refresh(product, sealed(product, CHANNELS, metadata))
    target.unrecognized_fields["custom"] = {"release": f"releases/{BOARD}/6.6.6.cbor"}
    with pytest.raises(HeirloomError, match="does not list"):
        refresh(product, sealed(product, CHANNELS, metadata))


def test_pointing_needs_a_listed_release_a_good_name_and_the_right_key(product: Product) -> None:
    product.release("1.0.0")
    signers = product.signers(CHANNELS)[CHANNELS]
    point = channels.point
    with pytest.raises(HeirloomError, match=r"no release 2\.0\.0"):
        point(product.repository, BOARD, "stable", "2.0.0", signers, utc_now())
    with pytest.raises(UsageError, match="no name for a channel"):
        point(product.repository, BOARD, "../stable", "1.0.0", signers, utc_now())
    with pytest.raises(HeirloomError, match="0 valid signatures"):
        point(product.repository, BOARD, "stable", "1.0.0", product.signers("timestamp")["timestamp"], utc_now())
    data = point(product.repository, BOARD, "beta", "1.0.0", signers, utc_now())
    product.write(refresh(product, {file_name(CHANNELS, 3): data}))
    assert product.repository.channels(BOARD) == {"beta": "1.0.0", "stable": "1.0.0"}


def test_a_role_never_leaves_the_snapshot_though_its_board_does(product: Product) -> None:
    metadata = following(product, "targets")
    assert metadata.signed.delegations is not None
    assert metadata.signed.delegations.roles is not None
    for role in roles.board_roles(OTHER):
        del metadata.signed.delegations.roles[role]
    product.write(refresh(product, sealed(product, "targets", metadata)))
    assert product.repository.boards() == [BOARD]
    assert f"releases-{OTHER}.json" in product.repository.snapshot().signed.meta


def test_a_new_board_comes_with_its_roles(product: Product) -> None:
    metadata = following(product, "targets")
    delegations = metadata.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    for kind in ("releases", "channels"):
        template = delegations.roles[f"{kind}-{BOARD}"].to_dict()
        template |= {"name": f"{kind}-NEW", "paths": [f"{kind}/NEW/*"]}
        delegations.roles[f"{kind}-NEW"] = type(delegations.roles[RELEASES]).from_dict(template)
    changed = sealed(product, "targets", metadata)
    with pytest.raises(HeirloomError, match=r"no 1\.releases-NEW\.json"):
        refresh(product, changed)
    for kind in ("releases", "channels"):
        changed |= sealed(product, f"{kind}-NEW", first_role(f"{kind}-NEW", utc_now()), f"{kind}-{BOARD}")
    product.write(refresh(product, changed))
    assert product.repository.boards() == [BOARD, OTHER, "NEW"]


def test_a_snapshot_over_16_kib_is_refused(product: Product) -> None:
    metadata = product.repository.snapshot()
    for number in range(200):
        metadata.signed.meta[f"releases-BOARD_{number}.json"] = describe(1, b"x")
    metadata.signatures.clear()
    sign(metadata, product.signers("snapshot")["snapshot"])
    product.write({"1.snapshot.json": to_bytes(metadata)})
    timestamp = product.repository_timestamp_for(to_bytes(metadata))
    product.write({"timestamp.json": timestamp})
    with pytest.raises(HeirloomError, match="at most 16384 are allowed"):
        refresh(product, sealed(product, RELEASES, following(product, RELEASES)))


def test_a_new_root_is_followed_and_a_wrong_one_is_not(product: Product) -> None:
    root = next_role(product.repository.root(), "root", utc_now())
    new = product.store.create("timestamp-2", PASSPHRASE)
    root.signed.revoke_key(product.store.public("timestamp").keyid, "timestamp")
    root.signed.add_key(new, "timestamp")
    signers = product.signers("root")["root"]
    sign(root, signers[:1])
    with pytest.raises(HeirloomError, match="1 valid signatures of the 2"):
        refresh(product, {"2.root.json": to_bytes(root)})
    sign(root, signers[1:])
    changed = {"2.root.json": to_bytes(root)}
    with pytest.raises(HeirloomError, match=r"timestamp\.json carries 0 valid signatures"):
        refresh(product, changed)
    with pytest.raises(HeirloomError, match="does not follow version 1"):
        refresh(product, {"3.root.json": to_bytes(root)})
    product.project.signing["timestamp"] = ["heirloom:timestamp-2"]
    files = refresh(product, changed)
    assert sorted(files) == ["2.root.json", "timestamp.json"], "the snapshot can stay"
    product.write(files)
    product.repository.check(utc_now())
    assert product.repository.root().signed.version == 2


def test_a_root_that_changes_the_snapshot_key_renews_the_snapshot(product: Product) -> None:
    root = next_role(product.repository.root(), "root", utc_now())
    root.signed.revoke_key(product.store.public("snapshot").keyid, "snapshot")
    root.signed.add_key(product.store.create("snapshot-2", PASSPHRASE), "snapshot")
    sign(root, product.signers("root")["root"])
    product.project.signing["snapshot"] = ["heirloom:snapshot-2"]
    files = refresh(product, {"2.root.json": to_bytes(root)})
    assert sorted(files) == ["2.root.json", "2.snapshot.json", "timestamp.json"]
    product.write(files)
    product.repository.check(utc_now())


@pytest.mark.parametrize(
    "name", ["1.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", f"2.{RELEASES}.json"]
)
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_repository_is_not_signed_over(product: Product, name: str, damage: str) -> None:
    product.release("1.0.0")
    file = product.project.repository / "metadata" / name
    data = bytearray(file.read_bytes())
    position = data.index(b'"expires":"20') + len(b'"expires":"20')
    data[position] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data)
    with pytest.raises(HeirloomError) as caught:
        refresh(product, {})
    assert name in str(caught.value) or "no repository" in str(caught.value)


def test_a_repository_with_another_root_of_trust_is_not_signed_for(product: Product, tmp_path: Path) -> None:
    """Whoever can replace the repository must not get an entry of theirs signed by the releases key."""
    first = product.store.anchor()
    assert first == (product.project.repository / "metadata" / "1.root.json").read_bytes()
    built = product.build("1.0.0")
    forged = next_role(product.repository.root(), "root", utc_now())
    forged.signed.version = 1
    thief = product.store.create("thief", PASSPHRASE)
    for role in roles.TOP_LEVEL:
        forged.signed.roles[role].threshold = 1
        forged.signed.add_key(thief, role)
    product.project.signing["root"] = ["heirloom:thief"]
    sign(forged, product.signers("root")["root"])
    product.write({"1.root.json": to_bytes(forged)})
    assert Repository(product.project.repository).trusted, "it is consistent in itself"
    targets = following(product, "targets")
    targets.signed.version = 1
    product.project.signing["targets"] = ["heirloom:thief"]
    targets.signatures.clear()
    sign(targets, product.signers("targets")["targets"])
    snapshot = product.repository.snapshot()
    snapshot.signed.meta["targets.json"] = describe(1, to_bytes(targets))
    snapshot.signatures.clear()
    product.project.signing["snapshot"] = product.project.signing["timestamp"] = ["heirloom:thief"]
    sign(snapshot, product.signers("snapshot")["snapshot"])
    product.write({"1.targets.json": to_bytes(targets), "1.snapshot.json": to_bytes(snapshot)})
    product.write({"timestamp.json": product.repository_timestamp_for(to_bytes(snapshot))})
    Repository(product.project.repository).check(utc_now())
    with pytest.raises(HeirloomError, match="valid signatures"):
        endorse.sign(product.project, built)
    assert release.pending(product.project, product.repository, BOARD) is None


def test_roots_are_followed_from_the_anchor_only_so_far(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MAX_ROOT_ROTATIONS", 1)
    current = product.repository.root()
    for _ in range(2):
        current = next_role(current, "root", utc_now())
        sign(current, product.signers("root")["root"])
        product.write({file_name("root", current.signed.version): to_bytes(current)})
    with pytest.raises(HeirloomError, match="more than 1 root files"):
        product.repository.check(utc_now())
