"""Attacks, one story each, on a device that runs MicroPython: a legitimate update, the attack, resistance with the
right code, and the next legitimate update works.

The attacks of the TUF specification (1.5.2) and of Uptane's threat model, and advisories on other clients. Slow
retrieval is the fetcher's to notice; what it must do about it stands in protocols.py.
"""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf_repository import NOW, Device, Repository, unix

PATH = "releases/X/1.cbor"
FIND = ("refresh", ["find", PATH])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with a release in a delegated role, and one legitimate update behind it."""
    made = Repository(tmp_path / "repository")
    made.delegate("releases-X", ["releases/X/*"])
    made.delegate("channels-X", ["channels/X/*"])
    made.add_target("releases-X", PATH)
    made.publish("releases-X", "channels-X", "targets")
    return made


@pytest.fixture
def device(new_device: Callable[[Repository], Device], repository: Repository) -> Device:
    made = new_device(repository)
    assert made.refresh(["find", PATH])["result"]["role"] == "releases-X"
    return made


def next_update_works(device: Device, repository: Repository) -> None:
    repository.add_target("releases-X", "releases/X/2.cbor")
    repository.publish("releases-X", "channels-X", "targets")
    assert device.refresh(["find", "releases/X/2.cbor"])["result"] is not None


class Restored:
    """The mirror as it was, after an attack on its files."""

    def __init__(self, repository: Repository) -> None:
        self.folder = repository.folder
        self.saved = repository.folder.with_name("saved")

    def __enter__(self) -> None:
        shutil.copytree(self.folder, self.saved)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)
        self.saved.rename(self.folder)


ROLES = ["root", "timestamp", "snapshot", "targets", "releases-X"]


def publish_all(repository: Repository) -> None:
    repository.rotate_root("targets")
    repository.publish("releases-X", "channels-X", "targets")


@pytest.mark.parametrize("role", ROLES)
def test_arbitrary_software_by_a_stranger(device: Device, repository: Repository, role: str) -> None:
    """The attacker publishes a role of the right form, signed by keys of its own."""
    publish_all(repository)
    with Restored(repository):
        strangers: list[Any] = [CryptoSigner.generate_ed25519()]
        honest, repository.signers[role] = repository.signers[role], strangers
        data = repository.sign(role)
        repository.put(role, data)
        repository.signers[role] = honest
        if role in ("targets", "releases-X"):  # the thief of the online keys vouches for it
            meta = repository.describe(data, repository.md[role].signed.version)
            repository.md["snapshot"].signed.meta[f"{role}.json"] = meta
            repository.publish()
        elif role == "snapshot":
            meta = repository.describe(data, repository.md[role].signed.version)
            repository.md["timestamp"].signed.snapshot_meta = meta
            repository.md["timestamp"].signed.version += 1
            repository.put("timestamp", repository.sign("timestamp"))
        device.resists("E_KEYS", f"{role} is signed by 0 of the 1 keys", steps=FIND)
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ROLES)
def test_one_changed_byte(device: Device, repository: Repository, role: str) -> None:
    publish_all(repository)
    with Restored(repository):
        path = repository.folder / repository.file_name(role)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"expires":"20', b'"expires":"21', 1))
        device.resists("E_HASH" if role in ROLES[2:] else "E_KEYS", role, steps=FIND)
    next_update_works(device, repository)


def test_too_few_signatures(device: Device, repository: Repository) -> None:
    repository.rotate("targets", add=3, threshold=2)
    repository.rotate_root()
    repository.publish("targets")
    device.refresh()
    honest = repository.signers["targets"]
    with Restored(repository):
        repository.signers["targets"] = honest[:1]
        repository.publish("targets")
        device.resists("E_THRESHOLD", "targets is signed by 1 of the 2 keys", "TUF 5.6.3")
    repository.signers["targets"] = honest[1:]
    repository.publish("targets")
    next_update_works(device, repository)


def test_a_root_that_the_old_keys_did_not_sign(device: Device, repository: Repository) -> None:
    with Restored(repository):
        fork = repository.fork(repository.folder.with_name("fork"))
        fork.rotate("root")
        fork.root.version += 1
        repository.put("root", b"")  # no such file
        (repository.folder / "2.root.json").write_bytes(fork.sign("root"))
        device.resists("E_KEYS", "root is signed by 0", "TUF 5.3.4")
    next_update_works(device, repository)


def test_a_root_that_its_own_keys_did_not_sign(device: Device, repository: Repository) -> None:
    with Restored(repository):
        fork = repository.fork(repository.folder.with_name("fork"))
        old = fork.signers["root"]
        fork.rotate("root")
        fork.root.version += 1
        fork.signers["root"] = old
        (repository.folder / "2.root.json").write_bytes(fork.sign("root"))
        device.resists("E_KEYS", "root is signed by 0", "TUF 5.3.4")
    next_update_works(device, repository)


@pytest.mark.parametrize("version", [1, 3])
def test_a_root_of_another_version_than_the_next(device: Device, repository: Repository, version: int) -> None:
    with Restored(repository):
        fork = repository.fork(repository.folder.with_name("fork"))
        fork.root.version = version
        (repository.folder / "2.root.json").write_bytes(fork.sign("root"))
        device.resists("E_ROLLBACK", f"published as version 2 is version {version}", "TUF 5.3.5")
    next_update_works(device, repository)


def test_rollback_of_the_timestamp(device: Device, repository: Repository) -> None:
    old = (repository.folder / "timestamp.json").read_bytes()
    repository.publish("targets")
    device.refresh()
    new = (repository.folder / "timestamp.json").read_bytes()
    (repository.folder / "timestamp.json").write_bytes(old)
    device.resists("E_ROLLBACK", "timestamp is version 2, this device has seen 3", "TUF 5.4.3.1")
    (repository.folder / "timestamp.json").write_bytes(new)
    next_update_works(device, repository)


def test_rollback_of_the_snapshot_by_a_thief_of_the_timestamp_key(device: Device, repository: Repository) -> None:
    old = repository.describe((repository.folder / "2.snapshot.json").read_bytes(), 2)
    repository.publish("targets")
    device.refresh()
    with Restored(repository):
        timestamp = repository.md["timestamp"].signed
        honest, timestamp.snapshot_meta = timestamp.snapshot_meta, old
        timestamp.version += 1
        repository.put("timestamp", repository.sign("timestamp"))
        device.resists("E_ROLLBACK", "snapshot in the timestamp is version 2", "has seen 3", "TUF 5.4.3.2")
        timestamp.snapshot_meta = honest
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ["targets", "releases-X", "channels-X"])
def test_rollback_of_a_role_by_a_thief_of_the_online_keys(device: Device, repository: Repository, role: str) -> None:
    """CVE-2022-29173: other clients did not check."""
    version = repository.md[role].signed.version
    old = repository.describe((repository.folder / repository.file_name(role)).read_bytes(), version)
    repository.publish(role)
    device.refresh()
    snapshot = repository.md["snapshot"].signed
    with Restored(repository):
        honest, snapshot.meta[f"{role}.json"] = snapshot.meta[f"{role}.json"], old
        repository.publish()
        device.resists("E_ROLLBACK", f"{role}.json in the snapshot is version {version}", "TUF 5.5.5")
        snapshot.meta[f"{role}.json"] = honest
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ["releases-X", "channels-X"])
def test_a_role_that_disappears_from_the_snapshot(device: Device, repository: Repository, role: str) -> None:
    snapshot = repository.md["snapshot"].signed
    with Restored(repository):
        meta = snapshot.meta.pop(f"{role}.json")
        repository.publish()
        device.resists("E_ROLLBACK", f"snapshot no longer lists {role}.json", "TUF 5.5.5")
        snapshot.meta[f"{role}.json"] = meta
    next_update_works(device, repository)


@pytest.mark.parametrize("days", [31, 60])
def test_indefinite_freeze(device: Device, repository: Repository, days: int) -> None:
    device.now = unix(NOW + timedelta(days=days))
    device.resists("E_STALE", "timestamp has expired on 2026-07-01T00:00:00Z", "TUF 5.4.4")
    for role in (*ROLES[1:], "channels-X"):
        repository.md[role].signed.expires = NOW + timedelta(days=100)
    next_update_works(device, repository)


@pytest.mark.parametrize(
    ("role", "section"), [("root", "5.3.10"), ("snapshot", "5.5.6"), ("targets", "5.6.5"), ("releases-X", "5.6.5")]
)
def test_each_role_expires(device: Device, repository: Repository, role: str, section: str) -> None:
    expires, repository.md[role].signed.expires = repository.md[role].signed.expires, NOW
    repository.rotate_root()
    repository.publish("releases-X", "targets")
    device.resists("E_STALE", f"{role} has expired", f"TUF {section}", steps=FIND)
    repository.md[role].signed.expires = expires
    repository.rotate_root()
    next_update_works(device, repository)


def test_mix_and_match_of_snapshot_and_targets(tmp_path: Path, new_device: Callable[[Repository], Device]) -> None:
    """The snapshot gives no hashes here, so the version in the role itself is what counts."""
    repository = Repository(tmp_path / "plain", hashes=False)
    repository.delegate("releases-X", ["releases/X/*"])
    repository.add_target("releases-X", PATH)
    repository.delegate("channels-X", ["channels/X/*"])
    repository.publish("releases-X", "channels-X", "targets")
    device = new_device(repository)
    device.refresh(["find", PATH])
    old = {role: (repository.folder / repository.file_name(role)).read_bytes() for role in ROLES[2:]}
    repository.publish("releases-X", "channels-X", "targets")
    for role in ROLES[2:]:
        path = repository.folder / repository.file_name(role)
        good = path.read_bytes()
        path.write_bytes(old[role])
        device.resists("E_MIX", f"{role} is version {repository.md[role].signed.version - 1}, the ", steps=FIND)
        path.write_bytes(good)
    next_update_works(device, repository)


def test_a_delegated_role_that_the_snapshot_never_listed(device: Device, repository: Repository) -> None:
    repository.delegate("hidden", ["hidden/*"])
    repository.publish("hidden", "targets")
    with Restored(repository):
        meta = repository.md["snapshot"].signed.meta.pop("hidden.json")
        repository.publish()
        device.resists("E_MIX", "hidden", "snapshot does not list it", steps=("refresh", ["find", "hidden/1"]))
        repository.md["snapshot"].signed.meta["hidden.json"] = meta
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ROLES)
def test_endless_data(device: Device, repository: Repository, role: str) -> None:
    publish_all(repository)
    with Restored(repository):
        path = repository.folder / repository.file_name(role)
        path.write_bytes(path.read_bytes() + b" " * 40_000)
        limits = {"root_max_length": 20_000, "timestamp_max_length": 20_000}
        device.resists("E_LENGTH", f"{role} is longer than the", steps=FIND, config=limits)
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ROLES[2:])
def test_a_file_cut_short(device: Device, repository: Repository, role: str) -> None:
    publish_all(repository)
    with Restored(repository):
        path = repository.folder / repository.file_name(role)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        device.resists("E_FORMAT", role, steps=FIND)
        short = whole[: whole.index(b'"sig":"') + 7] + whole[whole.index(b'"sig":"') + 9 :]
        path.write_bytes(short)
        device.resists("E_LENGTH", f"{role} has {len(short)} bytes, not {len(whole)}", steps=FIND)
    next_update_works(device, repository)


def test_a_malicious_mirror_that_answers_nothing(device: Device, repository: Repository) -> None:
    (repository.folder / "down").touch()
    device.resists("E_NETWORK")
    (repository.folder / "down").unlink()
    hidden = repository.folder / "hidden"
    (repository.folder / "timestamp.json").rename(hidden)
    device.resists("E_NOT_FOUND", "timestamp")
    hidden.rename(repository.folder / "timestamp.json")
    next_update_works(device, repository)


def test_fast_forward_by_a_thief_of_the_online_keys_is_undone_by_new_keys(
    device: Device, repository: Repository
) -> None:
    fork = repository.fork(repository.folder.with_name("fork"))
    for role in ("timestamp", "snapshot"):
        fork.md[role].signed.version = 2**31
    for meta in fork.md["snapshot"].signed.meta.values():
        meta.version += 1000
    fork.publish(bump=False)
    for name in ("timestamp.json", f"{2**31}.snapshot.json"):
        shutil.copy(fork.folder / name, repository.folder / name)
    assert device.run("refresh")["code"] == "E_NOT_FOUND"  # no targets of such versions; but the damage is done
    assert device.versions()["timestamp"] == 2**31
    repository.publish("targets")
    device.resists("E_ROLLBACK")
    repository.rotate_root("timestamp", "snapshot")
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_recovery_survives_a_power_cut_between_its_steps(device: Device, repository: Repository, role: str) -> None:
    """Whatever the cut leaves behind, old high versions do not come back (TUF 5.3.11)."""
    repository.md["timestamp"].signed.version = 1000
    repository.publish()
    device.refresh()
    stale = {name: (device.store / f"{name}.json").read_bytes() for name in ("timestamp", "snapshot")}
    repository.rotate_root(role)
    repository.md["timestamp"].signed.version = 5
    repository.publish("targets")
    device.refresh()
    # As if the files had not been removed: they are signed by keys that the root no longer names.
    (device.store / f"{role}.json").write_bytes(stale[role])
    device.refresh()
    next_update_works(device, repository)


def test_a_stolen_releases_key_alone_installs_nothing(device: Device, repository: Repository) -> None:
    """Wrong software (TUF) and control of the vehicle (Uptane) need more than one key."""
    fork = repository.fork(repository.folder.with_name("fork"))
    fork.add_target("releases-X", "releases/X/666.cbor")
    fork.md["releases-X"].signed.version += 1
    with Restored(repository):
        data = fork.sign("releases-X")
        (repository.folder / fork.file_name("releases-X")).write_bytes(data)
        (repository.folder / repository.file_name("releases-X")).write_bytes(data)
        answer = device.run("refresh", ["find", "releases/X/666.cbor"])
        assert answer["code"] is None
        assert answer["result"] is None
    next_update_works(device, repository)


def test_a_role_speaks_for_its_own_paths_only(device: Device, repository: Repository) -> None:
    repository.add_target("channels-X", "releases/X/666.cbor")
    repository.add_target("releases-X", "channels/X/stable")
    repository.publish("channels-X", "releases-X")
    assert device.refresh(["find", "releases/X/666.cbor"])["result"] is None
    assert device.refresh(["find", "channels/X/stable"])["result"] is None
    next_update_works(device, repository)


def test_a_terminating_delegation_ends_the_search(device: Device, repository: Repository) -> None:
    repository.delegate("late", ["releases/*/*"])
    repository.add_target("late", "releases/X/666.cbor")
    repository.publish("late", "targets")
    assert device.refresh(["find", "releases/X/666.cbor"])["result"] is None
    repository.md["targets"].signed.delegations.roles["releases-X"].terminating = False
    repository.publish("targets")
    assert device.refresh(["find", "releases/X/666.cbor"])["result"]["role"] == "late"
    next_update_works(device, repository)


def test_a_terminating_delegation_ends_the_search_of_those_above_it_too(device: Device, repository: Repository) -> None:
    repository.delegate("first", ["shared/*"], terminating=False)
    repository.delegate("inner", ["shared/*"], by="first")
    repository.delegate("late", ["shared/*"])
    repository.add_target("late", "shared/666.cbor")
    repository.publish("first", "inner", "late", "targets")
    assert device.refresh(["find", "shared/666.cbor"])["result"] is None
    repository.md["first"].signed.delegations.roles["inner"].terminating = False
    repository.publish("first")
    assert device.refresh(["find", "shared/666.cbor"])["result"]["role"] == "late"
    next_update_works(device, repository)


def test_delegations_are_asked_in_their_order(device: Device, repository: Repository) -> None:
    """CVE-2024-47534: another client lost the order of the roles."""
    names = ["zebra", "alpha", "mike", "bravo"]
    for name in names:
        repository.delegate(name, ["shared/*"], terminating=False)
        repository.add_target(name, "shared/file", name.encode())
    repository.publish(*names, "targets")
    for name in names:
        assert device.refresh(["find", "shared/file"])["result"]["role"] == name
        del repository.md[name].signed.targets["shared/file"]
        repository.publish(name)
    next_update_works(device, repository)


@pytest.mark.parametrize("threshold", [0, -1, True, "1", 1.0, None])
@pytest.mark.parametrize("where", ["root", "delegation"])
def test_a_threshold_below_one(device: Device, repository: Repository, threshold: object, where: str) -> None:
    """A go-tuf advisory of 2026: with a threshold of 0, anything is signed well enough."""
    with Restored(repository):
        if where == "root":
            repository.rotate_root()

            def change(document: Any) -> None:
                document["signed"]["roles"]["timestamp"]["threshold"] = threshold

            repository.change("root", change, sign=not isinstance(threshold, float))
        else:
            repository.md["targets"].signed.version += 1
            repository.put("targets", repository.sign("targets"))

            def change(document: Any) -> None:
                document["signed"]["delegations"]["roles"][0]["threshold"] = threshold

            repository.change("targets", change, sign=not isinstance(threshold, float))
            data = (repository.folder / repository.file_name("targets")).read_bytes()
            meta = repository.describe(data, repository.md["targets"].signed.version)
            repository.md["snapshot"].signed.meta["targets.json"] = meta
            repository.publish()
        device.resists("E_FORMAT", where if where == "root" else "targets", steps=FIND)
    if where == "root":
        repository.rotate_root()
    next_update_works(device, repository)


def test_one_signature_given_twice(device: Device, repository: Repository) -> None:
    """CVE-2020-15093, CVE-2020-6174: other clients counted it twice."""
    repository.rotate("timestamp", add=2, threshold=2)
    repository.rotate_root()
    repository.publish("targets")
    device.refresh()
    with Restored(repository):
        repository.publish()
        repository.change("timestamp", lambda md: md.update(signatures=[md["signatures"][0]] * 2))
        device.resists("E_FORMAT", "two signatures of key")
        repository.change("timestamp", lambda md: md.update(signatures=md["signatures"][:1]))
        device.resists("E_THRESHOLD", "1 of the 2")
    next_update_works(device, repository)


def test_one_key_under_two_ids(device: Device, repository: Repository) -> None:
    """A threshold is about different keys, whatever they are called."""
    repository.rotate("timestamp", add=2, threshold=2)
    first, second = repository.signers["timestamp"]
    twin = CryptoSigner.generate_ed25519()
    repository.rotate_root()
    repository.publish("targets")
    device.refresh()
    with Restored(repository):
        repository.root.version += 1
        repository.root.keys[second.public_key.keyid].keyval = dict(first.public_key.keyval)
        repository.put("root", repository.sign("root"))
        repository.publish()

        def twice(md: Any) -> None:
            by_first = next(s["sig"] for s in md["signatures"] if s["keyid"] == first.public_key.keyid)
            md["signatures"] = [{"keyid": s.public_key.keyid, "sig": by_first} for s in (first, second)]

        repository.change("timestamp", twice)
        device.resists("E_THRESHOLD", "1 of the 2")
    assert twin is not first
    repository.root.keys[second.public_key.keyid].keyval = dict(second.public_key.keyval)
    repository.rotate_root("timestamp")
    next_update_works(device, repository)


def test_a_repeated_key_id_in_a_role(device: Device, repository: Repository) -> None:
    with Restored(repository):
        repository.rotate_root()

        def repeat(md: Any) -> None:
            md["signed"]["roles"]["snapshot"]["keyids"] *= 2

        repository.change("root", repeat, sign=True)
        device.resists("E_FORMAT", "root", "repeated key id")
    repository.rotate_root()
    next_update_works(device, repository)


@pytest.mark.parametrize("tail", [b"x", b"{}", b',"signed":{}', b"\x00", b"}"])
def test_a_signature_covers_the_whole_file(device: Device, repository: Repository, tail: bytes) -> None:
    """RAUC CVE-2026-34155: only the first bytes were covered."""
    path = repository.folder / "timestamp.json"
    repository.publish()
    good = path.read_bytes()
    path.write_bytes(good + tail)
    device.resists("E_FORMAT", "timestamp")
    path.write_bytes(good)
    next_update_works(device, repository)


def test_a_second_signed_member(device: Device, repository: Repository) -> None:
    """Of two members of one name, parsers take one or the other: what was hashed must be what is read."""
    path = repository.folder / "timestamp.json"
    repository.publish()
    good = path.read_bytes()
    evil = good[good.index(b'"signed":') :].replace(b'"version":', b'"version":9', 1)
    path.write_bytes(good[:-1] + b"," + evil)
    device.resists("E_FORMAT", "two members of one name")
    path.write_bytes(b"{" + evil[:-1] + b"," + good[1:])
    device.resists("E_FORMAT", "two members of one name")
    path.write_bytes(good)
    next_update_works(device, repository)


def test_the_same_role_under_two_delegators_is_verified_for_each(device: Device, repository: Repository) -> None:
    """python-tuf and go-tuf take a role that was verified for one delegator for the other's, too."""
    for parent in ("a", "b"):
        repository.delegate(parent, [f"{parent}/*"])
        repository.delegate("shared", [f"{parent}/*"], by=parent)
    only_a = repository.signers["shared"][:1]
    for parent in ("a", "b"):
        repository.add_target("shared", f"{parent}/file")
    both, repository.signers["shared"] = repository.signers["shared"], only_a
    repository.publish("shared", "a", "b", "targets")
    assert device.refresh(["find", "a/file"])["result"] is not None
    for _ in range(2):  # in one search after the other, and again from what is stored
        device.resists(
            "E_KEYS",
            "shared is signed by 0 of the 1 keys that b wants",
            steps=("refresh", ["find", "a/file"], ["find", "b/file"]),
        )
    repository.signers["shared"] = both
    repository.publish("shared")
    assert device.refresh(["find", "a/file"], ["find", "b/file"])["result"] is not None
    next_update_works(device, repository)


def test_a_stored_role_is_verified_again_when_its_delegator_takes_its_key_away(
    device: Device, repository: Repository
) -> None:
    stolen = repository.signers["releases-X"][0].public_key.keyid
    repository.md["targets"].signed.revoke_key(stolen, "releases-X")
    new = CryptoSigner.generate_ed25519()
    repository.md["targets"].signed.add_key(new.public_key, "releases-X")
    repository.publish("targets")
    device.resists("E_KEYS", "releases-X is signed by 0", steps=FIND)
    repository.signers["releases-X"] = [new]
    next_update_works(device, repository)


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a_role_cannot_stand_in_for_another(device: Device, repository: Repository, role: str) -> None:
    """The same key signs both roles here, so that only the type tells them apart."""
    repository.rotate("timestamp")
    repository.rotate("snapshot", add=0)
    repository.root.add_key(repository.signers["timestamp"][0].public_key, "snapshot")
    repository.signers["snapshot"] = list(repository.signers["timestamp"])
    repository.rotate_root()
    repository.publish("targets")
    device.refresh()
    other = {"timestamp": "snapshot", "snapshot": "timestamp"}[role]
    with Restored(repository):
        repository.publish()
        data = (repository.folder / repository.file_name(other)).read_bytes()
        repository.put(role, data)
        if role == "snapshot":
            meta = repository.describe(data, repository.md["snapshot"].signed.version)
            repository.md["timestamp"].signed.snapshot_meta = meta
            repository.put("timestamp", repository.sign("timestamp"))
            repository.put("snapshot", data)
            repository.md["timestamp"].signed.version += 1
        device.resists("E_FORMAT", f"{role} is of type {other}")
    next_update_works(device, repository)


def test_unknown_and_malformed_keys_never_count_and_never_hurt(device: Device, repository: Repository) -> None:
    repository.rotate("timestamp", add=1)

    def add(md: Any) -> None:
        signed = md["signed"]
        odd = {
            "a": {"keytype": "mldsa", "scheme": "ml-dsa-44/1", "keyval": {"public": "x"}},
            "b": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "zz"}},
            "c": {"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "-----BEGIN PUBLIC KEY-----"}},
            "d": {"keytype": "ed25519"},
            "e": [],
        }
        signed["keys"].update(odd)
        signed["roles"]["timestamp"]["keyids"] += [*odd, "absent"]

    repository.rotate_root()
    repository.change("root", add, sign=True)
    repository.publish("targets")
    repository.change("timestamp", lambda md: md["signatures"].extend({"keyid": i, "sig": "00" * 64} for i in "abcde"))
    device.refresh()
    with Restored(repository):
        repository.publish()
        repository.change(
            "timestamp", lambda md: md.update(signatures=[{"keyid": i, "sig": "00" * 64} for i in "abcde"])
        )
        device.resists("E_KEYS", "timestamp is signed by 0")
    repository.publish("releases-X", "targets")
    device.refresh()


@pytest.mark.parametrize("nested", [b"[" * 40 + b"]" * 40, b'{"a":' * 40 + b"1" + b"}" * 40])
def test_nesting_without_end(device: Device, repository: Repository, nested: bytes) -> None:
    path = repository.folder / "timestamp.json"
    repository.publish()
    good = path.read_bytes()
    path.write_bytes(b'{"a":' + nested + b"," + good[1:])
    device.resists("E_FORMAT", "nested too deep")
    path.write_bytes(good)
    next_update_works(device, repository)
