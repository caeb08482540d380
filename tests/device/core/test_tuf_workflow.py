"""The client workflow on MicroPython: what it fetches, keeps and finds."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Delegations, SuccinctRoles
from tuf_repository import NOW, Device, Repository, Worker, unix

NewDevice = Callable[[Repository], Device]
TOP = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]


def test_a_first_refresh_fetches_the_four_roles_in_order_and_keeps_them_as_they_came(
    device: Device, repository: Repository
) -> None:
    answer = device.refresh()
    assert answer["requests"] == TOP
    assert answer["result"] is True
    for role in ("timestamp", "snapshot", "targets"):
        kept = (device.store / f"{role}.json").read_bytes()
        assert kept == (repository.folder / repository.file_name(role)).read_bytes()


def test_a_second_refresh_changes_nothing(device: Device) -> None:
    device.refresh()
    answer = device.refresh()
    assert answer["result"] is False
    assert answer["requests"] == TOP[:2]


@pytest.mark.parametrize("etags", [True, False])
def test_an_idle_poll_asks_for_the_timestamp_only(device: Device, repository: Repository, etags: bool) -> None:
    assert device.run("poll", etags=etags)["result"] is True
    for _ in range(2):
        answer = device.run("poll", etags=etags)
        assert answer["result"] is False
        assert answer["requests"] == ["timestamp.json"]
    repository.publish("targets")
    answer = device.run("poll", etags=etags)
    assert answer["result"] is True
    assert answer["versions"]["targets"] == 2
    assert device.run("poll", etags=etags)["result"] is False


def test_a_poll_completes_what_a_power_cut_left_undone(device: Device) -> None:
    device.refresh()
    for lost in ("snapshot", "targets"):
        (device.store / f"{lost}.json").unlink()
        answer = device.run("poll")
        assert answer["result"] is True
        assert lost in answer["versions"]


def test_a_poll_of_what_has_expired_looks_for_more(device: Device, repository: Repository) -> None:
    device.refresh()
    device.now = unix(NOW + timedelta(days=31))
    device.resists("E_STALE", "timestamp", steps=("poll",))
    for role in ("timestamp", "snapshot", "targets"):
        repository.md[role].signed.expires = NOW + timedelta(days=60)
    repository.publish("targets")
    assert device.run("poll")["result"] is True


def test_without_consistent_snapshots_names_have_no_versions(tmp_path: Path, new_device: NewDevice) -> None:
    repository = Repository(tmp_path / "plain", consistent=False)
    answer = new_device(repository).refresh()
    assert answer["requests"] == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]


def test_a_target_is_found_where_it_is_delegated(device: Device, repository: Repository) -> None:
    repository.delegate("releases-X", ["releases/X/*"])
    repository.delegate("channels-X", ["channels/X/*"])
    target = repository.add_target("releases-X", "releases/X/1.0.0.cbor", b"manifest", sequence=7)
    repository.publish("releases-X", "channels-X", "targets")
    answer = device.refresh(["find", "releases/X/1.0.0.cbor"])
    assert answer["result"] == {
        "role": "releases-X",
        "length": 8,
        "sha256": target.hashes["sha256"],
        "custom": {"sequence": 7},
    }
    assert answer["requests"][-1] == "1.releases-X.json"
    # Roles that have nothing to say about the path are not even fetched; the one that is here is not fetched again.
    answer = device.refresh(["find", "releases/X/1.0.0.cbor"], ["find", "channels/X/stable"])
    assert answer["requests"][2:] == ["1.channels-X.json"]
    assert answer["result"] is None


def test_a_hundred_targets_are_looked_up_without_loading_the_role(device: Device, repository: Repository) -> None:
    for number in range(100):
        repository.add_target("targets", f"file-{number}", bytes(number))
    repository.publish("targets")
    assert device.refresh(["find", "file-57"])["result"]["length"] == 57
    assert device.refresh(["find", "file-100"])["result"] is None


def test_succinct_hash_bins(device: Device, repository: Repository) -> None:
    signer = CryptoSigner.generate_ed25519()
    bins = SuccinctRoles([], 1, 3, "archive")
    targets = repository.md["targets"].signed
    targets.delegations = Delegations({}, None, bins)
    targets.add_key(signer.public_key)
    path = "releases/X/0.0.1.cbor"
    role = bins.get_role_for_target(path)
    repository.md[role] = type(repository.md["targets"])(type(targets)(expires=NOW + timedelta(days=1)))
    repository.signers[role] = [signer]
    repository.add_target(role, path)
    repository.publish(role, "targets")
    assert device.refresh(["find", path])["result"]["role"] == role


def test_path_hash_prefixes(device: Device, repository: Repository) -> None:
    repository.delegate("low", [])
    delegations = repository.md["targets"].signed.delegations
    delegations.roles["low"].paths = None
    delegations.roles["low"].path_hash_prefixes = ["0", "1", "2c26b4"]  # sha256("foo") begins with 2c26b4
    repository.add_target("low", "foo")
    repository.add_target("low", "bar")  # fcde2b
    repository.publish("low", "targets")
    assert device.refresh(["find", "foo"])["result"]["role"] == "low"
    assert device.refresh(["find", "bar"])["result"] is None


def test_cycles_end_and_the_number_of_roles_is_bounded(device: Device, repository: Repository) -> None:
    repository.delegate("a", ["*"], terminating=False)
    repository.delegate("b", ["*"], by="a", terminating=False)
    repository.delegate("a", ["*"], by="b", terminating=False)
    repository.publish("a", "b", "targets")
    assert device.refresh(["find", "nothing"])["result"] is None
    device.resists("E_LIMIT", "1 roles", steps=("refresh", ["find", "nothing"]), config={"max_delegations": 1})


def test_unusual_names_of_roles_stay_in_their_folder(device: Device, repository: Repository) -> None:
    names = ["../escape", "?", "provisioned", "a b/ü"]
    for name in names:
        repository.delegate(name, ["*"], terminating=False)
    repository.publish(*names, "targets")
    # `tuf_repository` gives the file of the provisioned root without the ending that the store gives its files.
    device.refresh(["find", "nothing"])
    assert {path.name for path in device.store.glob("*.json")} >= {
        "..%2Fescape.json",
        "%3F.json",
        "%70rovisioned.json",
        "a%20b%2F%C3%BC.json",
    }


def test_a_chain_of_twelve_roots_from_a_cold_start(device: Device, repository: Repository) -> None:
    chain_of_twelve(repository)
    answer = device.refresh()
    assert answer["versions"] == {"root": 13, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_the_same_and_a_look_up_in_128_kib(small_worker: Worker, tmp_path: Path, repository: Repository) -> None:
    device = Device(small_worker, tmp_path / "small", repository)
    for role in ("releases-X", "channels-X"):
        repository.delegate(role, [f"{role[:8]}/X/*"])
        repository.add_target(role, f"{role[:8]}/X/1", sequence=1)
    chain_of_twelve(repository)
    repository.publish("releases-X", "channels-X", "targets")
    answer = device.refresh(["find", "channels/X/1"], ["find", "releases/X/1"])
    assert answer["result"]["role"] == "releases-X"
    assert answer["heap"] < 100_000


def chain_of_twelve(repository: Repository) -> None:
    for _ in range(12):
        repository.rotate_root("root", "timestamp", "snapshot", "targets", add=3, threshold=2)
    repository.publish("targets")


def test_the_chain_goes_on_where_it_was_cut(device: Device, repository: Repository) -> None:
    for _ in range(4):
        repository.rotate_root("root")
    repository.publish("targets")
    hidden = repository.folder / "4.root.json"
    data = hidden.read_bytes()
    hidden.write_bytes(b"{")
    device.resists("E_FORMAT", "root")
    assert device.versions()["root"] == 3
    hidden.write_bytes(data)
    answer = device.refresh()
    assert answer["requests"][:3] == ["4.root.json", "5.root.json", "6.root.json"]
    assert answer["versions"]["root"] == 5


def test_rotations_in_one_go_are_bounded(device: Device, repository: Repository) -> None:
    for _ in range(5):
        repository.rotate_root("root")
    repository.publish("targets")
    assert device.refresh(config={"max_root_rotations": 3})["versions"]["root"] == 4
    assert device.refresh(config={"max_root_rotations": 3})["versions"]["root"] == 6


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "releases-X"])
@pytest.mark.parametrize("damage", ["empty", "torn", "garbage", "newer format"])
def test_damaged_files_are_fetched_again(device: Device, repository: Repository, role: str, damage: str) -> None:
    repository.delegate("releases-X", ["releases/X/*"])
    repository.publish("releases-X", "targets")
    device.refresh(["find", "releases/X/1"])
    path = device.store / f"{role}.json"
    good = path.read_bytes()
    newer = good.replace(b'"spec_version":"1.', b'"spec_version":"2.')
    path.write_bytes({"empty": b"", "torn": good[:-20], "garbage": b"\xff" * 99, "newer format": newer}[damage])
    device.refresh(["find", "releases/X/1"])
    assert path.read_bytes() == good


@pytest.mark.parametrize("damage", [b"", b'{"signed":', b"\x00" * 600])
def test_a_damaged_root_falls_back_to_the_provisioned_one_and_follows_the_chain_again(
    device: Device, repository: Repository, damage: bytes
) -> None:
    for _ in range(3):
        repository.rotate_root("root", "timestamp")
    repository.publish("targets")
    device.refresh()
    (device.store / "root.json").write_bytes(damage)
    assert device.refresh()["versions"]["root"] == 4
    # A repository that ends before what the device remembers is not believed.
    (device.store / "root.json").write_bytes(damage)
    for version in (3, 4):
        (repository.folder / f"{version}.root.json").rename(repository.folder / f"hidden{version}")
    device.resists("E_ROLLBACK", "root is version 2", "has seen 4", "TUF 5.3.5")
    for version in (3, 4):
        (repository.folder / f"hidden{version}").rename(repository.folder / f"{version}.root.json")
    assert device.refresh()["versions"]["root"] == 4


def test_one_flipped_bit_in_the_stored_root_is_noticed(device: Device, repository: Repository) -> None:
    repository.rotate_root("root")
    repository.publish("targets")
    device.refresh()
    path = device.store / "root.json"
    root = json.loads(path.read_bytes())
    key = next(iter(root["signed"]["keys"].values()))
    key["keyval"]["public"] = "f" + key["keyval"]["public"][1:]
    path.write_text(json.dumps(root, sort_keys=True))
    assert device.refresh()["versions"]["root"] == 2


def test_lost_notes_cost_nothing_but_time(device: Device, repository: Repository) -> None:
    device.refresh()
    for notes in (b"", b"{", b"[]", b'{"v":9,"time":[9,9],"etag":"","ok":[]}'):
        (device.store / ".notes").write_bytes(notes)
        assert device.refresh()["result"] is False


def test_what_stays_the_same_is_not_verified_again_however_often_the_rest_changes(
    tmp_path: Path, new_device: NewDevice
) -> None:
    repository = Repository(tmp_path / "plain", hashes=False)
    device = new_device(repository)
    device.refresh()
    notes = (device.store / ".notes").read_text()
    root, targets = device.provisioned.read_bytes(), (device.store / "targets.json").read_bytes()
    for _ in range(30):
        repository.publish()
        device.refresh()
    # With keys that verify nothing any more, only what was verified before is taken.
    receipts = json.loads((device.store / ".notes").read_text())["ok"]
    assert len(receipts) <= 12
    assert set(json.loads(notes)["ok"]) & set(receipts)
    broken = targets.replace(b'"sig":"', b'"sig":"00', 1)
    (device.store / "targets.json").write_bytes(broken)
    device.provisioned.write_bytes(root.replace(b'"sig":"', b'"sig":"00', 1))
    assert device.run("poll")["result"] is False


def test_without_any_root_there_is_no_trust(device: Device) -> None:
    device.provisioned.unlink()
    device.resists("E_STATE", "root of trust")


def test_key_tables_are_kept_and_a_spoiled_one_is_found_out(device: Device, repository: Repository) -> None:
    device.refresh(tables="good")
    repository.publish("targets")
    # The first signature makes the table, the second meets the spoiled one and is tried again without.
    repository.rotate_root("targets")
    repository.rotate_root("targets")
    repository.publish("targets")
    answer = device.refresh(tables="spoiled")
    assert answer["dropped"] > 0


@pytest.mark.parametrize("hashes", [True, False])
def test_hashes_in_metadata_are_optional(tmp_path: Path, new_device: NewDevice, hashes: bool) -> None:
    repository = Repository(tmp_path / "other", hashes=hashes)
    assert new_device(repository).refresh()["versions"]["targets"] == 1


def test_values_can_be_asked_for_without_network(device: Device, repository: Repository) -> None:
    repository.root.unrecognized_fields["x-heirloom-urls"] = ["https://a/", "https://b/"]
    repository.rotate_root("root")
    repository.md["targets"].signed.unrecognized_fields["x-heirloom-epoch"] = 3
    repository.publish("targets")
    device.refresh()
    (repository.folder / "down").touch()
    assert device.run(["value", "root", "x-heirloom-urls"])["result"] == ["https://a/", "https://b/"]
    assert device.run(["value", "targets", "x-heirloom-epoch"])["result"] == 3
    assert device.run(["value", "targets", "absent"])["result"] is None


def test_a_whole_check_loads_the_bundle_and_signatures_and_nothing_else(
    small_worker: Worker, tmp_path: Path, repository: Repository
) -> None:
    """What tests/hil/test_bundle.py weighs is all of the core that is in memory."""
    for role in ("releases-X", "channels-X"):
        repository.delegate(role, [f"{role[:8]}/X/*"])
        repository.add_target(role, f"{role[:8]}/X/1", sequence=1)
    repository.publish("releases-X", "channels-X", "targets")
    device = Device(small_worker, tmp_path / "small", repository)
    signatures = {"comb", "ed25519", "ed25519_table", "edwards_registers", "edwards_viper", "sha512", "sha512_viper"}
    steps = ["find", "channels/X/1"], ["find", "releases/X/1"]
    assert set(device.refresh(*steps)["modules"]) - signatures == {"errors", "tuf"}
    repository.rotate_root("root")
    assert set(device.refresh(*steps)["modules"]) - signatures == {"errors", "tuf", "rootchain"}
