"""What a device believes of the time (docs/adr/0006-time-and-freeze.md), on MicroPython."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf_repository import NOW, Device, Repository, unix

from heirloom.device.roles import seconds
from heirloom.device.timebound import TimeBound

YEAR_2106 = datetime(2106, 1, 1, tzinfo=UTC)
NewDevice = Callable[[Repository], Device]


def stamp(repository: Repository, when: datetime, *roles: str) -> None:
    for role in roles:
        repository.md[role].signed.unrecognized_fields["x-heirloom-signed-at"] = f"{when:%Y-%m-%dT%H:%M:%SZ}"


def live(repository: Repository, when: datetime) -> None:
    """Everything signed anew at this time, as a publisher does."""
    for role, md in repository.md.items():
        md.signed.expires = when + timedelta(days=700 if role == "root" else 30)
        stamp(repository, when, role)
    repository.rotate_root()
    repository.publish(*[role for role in repository.md if role not in ("root", "timestamp", "snapshot")])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.delegate("releases-X", ["releases/X/*"])
    made.delegate("channels-X", ["channels/X/*"])
    live(made, NOW)
    return made


@pytest.fixture
def device(new_device: NewDevice, repository: Repository) -> Device:
    """A device whose clock starts in 1970."""
    made = new_device(repository)
    made.now = 0
    made.refresh(["find", "releases/X/1"])
    return made


@pytest.mark.parametrize("clock", [0, 1, -5])
def test_without_a_clock_signing_times_are_the_clock(device: Device, repository: Repository, clock: int) -> None:
    later = NOW + timedelta(days=40)
    frozen = repository.fork(repository.folder.with_name("frozen"))
    live(repository, later)
    device.refresh(now=clock)
    # A device that lost everything but its notes and its root is not frozen at what has expired meanwhile.
    for role in ("timestamp", "snapshot", "targets"):
        (device.store / f"{role}.json").unlink()
    frozen.md["timestamp"].signed.version = 99
    frozen.put("timestamp", frozen.sign("timestamp"))
    for name in ("timestamp.json", "1.snapshot.json"):
        (repository.folder / name).write_bytes((frozen.folder / name).read_bytes())
    device.resists("E_STALE", "timestamp has expired", now=clock)


@pytest.mark.parametrize("role", ["targets", "releases-X"])
def test_offline_keys_raise_the_bound(device: Device, repository: Repository, role: str) -> None:
    stamp(repository, NOW + timedelta(days=25), role)
    repository.md["timestamp"].signed.expires = NOW + timedelta(days=20)
    repository.publish(role)
    # The timestamp is read before the role that tells the time, so it passes once and is stale from then on.
    device.refresh(["find", "releases/X/1"], now=0)
    device.resists("E_STALE", "timestamp", now=0)


def test_what_a_thief_of_releases_keys_can_sign_ends_with_the_online_keys(
    device: Device, repository: Repository
) -> None:
    """He needs timestamp and snapshot to get it here; a root that replaces them undoes it (docs/adr/0009)."""
    late = NOW + timedelta(days=699)
    stamp(repository, late, "releases-X")
    repository.md["releases-X"].signed.expires = late + timedelta(days=1)
    repository.publish("releases-X")
    device.refresh(["find", "releases/X/1"], now=0)
    repository.delegate("releases-X", ["releases/X/*"])
    live(repository, NOW + timedelta(days=5))
    device.resists("E_STALE", "timestamp", now=0)
    repository.rotate("snapshot")
    live(repository, NOW + timedelta(days=6))
    device.refresh(["find", "releases/X/1"], now=0)


def test_online_roles_do_not_raise_the_offline_part(device: Device, repository: Repository) -> None:
    """A thief of an online targets role may delegate to any name; that makes no offline key of it."""
    repository.delegate("releases-evil", ["channels/X/*"], by="channels-X")
    for role in ("channels-X", "releases-evil", "snapshot"):
        stamp(repository, NOW + timedelta(days=29, hours=23), role)
        repository.md[role].signed.expires = NOW + timedelta(days=60)
    repository.publish("releases-evil", "channels-X", "targets")
    device.refresh(["find", "channels/X/stable"], now=0)
    repository.md["timestamp"].signed.expires = NOW + timedelta(days=1)
    repository.publish()
    device.refresh(now=0)


def test_a_thief_of_the_timestamp_key_cannot_sign_the_year_2106(device: Device, repository: Repository) -> None:
    """After the root's expiry it does not count at all."""
    stamp(repository, YEAR_2106, "timestamp")
    repository.md["timestamp"].signed.expires = YEAR_2106 + timedelta(days=1)
    repository.publish()
    device.refresh(now=0)
    live(repository, NOW + timedelta(days=5))
    device.refresh(now=0)


def test_what_a_thief_of_the_timestamp_key_can_sign_ends_with_the_key(device: Device, repository: Repository) -> None:
    """Up to the root's expiry the device is frozen, and says so; new keys free it."""
    stamp(repository, NOW + timedelta(days=600), "timestamp")
    repository.md["timestamp"].signed.expires = NOW + timedelta(days=601)
    repository.publish("targets")
    device.resists("E_STALE", "snapshot", now=0)
    live(repository, NOW + timedelta(days=5))
    device.resists("E_STALE", now=0)
    repository.rotate("timestamp")
    live(repository, NOW + timedelta(days=6))
    device.refresh(now=0)


def test_a_lying_network_clock_does_no_lasting_harm(device: Device, repository: Repository) -> None:
    device.resists("E_STALE", "root has expired", now=unix(YEAR_2106))
    device.refresh(now=0)
    repository.publish("targets")
    device.refresh(now=unix(NOW + timedelta(days=2)))


def test_years_in_a_drawer(device: Device, repository: Repository) -> None:
    for year in range(1, 9):
        live(repository, NOW + timedelta(days=365 * year))
    for clock in (0, unix(NOW), unix(NOW + timedelta(days=365 * 8))):
        device.refresh(now=clock)


def test_expiry_dates_raise_nothing(device: Device, repository: Repository) -> None:
    for md in repository.md.values():
        md.signed.expires = YEAR_2106
    repository.rotate_root()
    repository.publish("releases-X", "targets")
    device.refresh(["find", "releases/X/1"], now=0)
    live(repository, NOW + timedelta(days=1))
    device.refresh(now=0)


def test_a_signing_time_after_the_documents_own_expiry_does_not_count(device: Device, repository: Repository) -> None:
    stamp(repository, NOW + timedelta(days=300), "targets", "timestamp")
    repository.publish("targets")
    device.refresh(now=0)
    device.refresh(now=0)


@pytest.mark.parametrize("nonsense", ["yesterday", 5, None, ["2026-01-01T00:00:00Z"], "2026-13-01T00:00:00Z"])
def test_a_malformed_signing_time_counts_as_absent(device: Device, repository: Repository, nonsense: object) -> None:
    for role in ("root", "targets", "timestamp"):
        repository.md[role].signed.unrecognized_fields["x-heirloom-signed-at"] = nonsense
    repository.rotate_root()
    repository.publish("targets")
    device.refresh(now=0)


def test_a_present_owner_may_take_stale_metadata_once(device: Device, repository: Repository) -> None:
    late = unix(NOW + timedelta(days=3000))
    repository.publish("releases-X", "targets")
    device.resists("E_STALE", now=late)
    answer = device.refresh(["find", "releases/X/1"], now=late, accept_stale=True)
    assert answer["versions"]["targets"] == 3
    device.resists("E_STALE", now=late)
    # Signatures and versions hold all the same.
    path = repository.folder / "timestamp.json"
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"version":', b'"version":1', 1))
    device.resists("E_KEYS", now=late, accept_stale=True)
    path.write_bytes(good)
    fork = repository.fork(repository.folder.with_name("fork"))
    fork.md["timestamp"].signed.version = 1
    path.write_bytes(fork.sign("timestamp"))
    device.resists("E_ROLLBACK", now=late, accept_stale=True)


def test_what_was_accepted_stale_teaches_no_time(device: Device, repository: Repository) -> None:
    stamp(repository, NOW + timedelta(days=20), "timestamp", "targets")
    repository.md["timestamp"].signed.expires = NOW + timedelta(days=21)
    repository.md["targets"].signed.expires = NOW + timedelta(days=21)
    repository.publish("targets")
    device.refresh(now=unix(YEAR_2106), accept_stale=True)
    notes = (device.store / ".notes").read_bytes()
    assert str(unix(NOW + timedelta(days=20))).encode() not in notes


def test_the_bound_by_itself() -> None:
    bound = TimeBound()
    bound.raise_by("timestamp", "root", 100, 200, 150)
    bound.raise_by("timestamp", "root", 160, 200, 150)
    bound.raise_by("timestamp", "root", 90, 200, 150)
    assert bound.lower(150) == 100
    assert bound.lower(99) == 0
    bound.raise_by("targets", "root", 120, 200, 150)
    assert bound.lower(99) == 120
    bound.raise_by("releases-X", "targets", 110, 200, 150)
    assert (bound.offline, bound.online) == (120, 110)
    bound.discard_online()
    assert (bound.offline, bound.online) == (120, 0)
    for role, delegator in (("snapshot", "root"), ("channels-X", "targets"), ("releases-X", "channels-X")):
        bound.raise_by(role, delegator, 149, 200, 150)
        assert bound.lower(150) == 120


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)))  # noqa: DTZ001 - naive on purpose
def test_dates_are_read_as_python_reads_them(when: datetime) -> None:
    when = when.replace(microsecond=0, tzinfo=UTC)
    text = when.isoformat().replace("+00:00", "Z")
    assert seconds(text) == unix(when)


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-1-01T00:00:00ZZ"),
        *("2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z"),
        *("2026-01-01T00:00:60Z", "2026-01-01 00:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01t00:00:00z"),
        *("+026-01-01T00:00:00Z", "\uff12026-01-01T00:00:00Z", None, 5),
    ],
)
def test_other_dates_are_refused(text: object) -> None:
    assert seconds(text) is None
