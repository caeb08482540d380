"""What a device believes of the time, from its own clock and from the network's, in the whole client on MicroPython.

The cases of docs/adr/0006-time-and-freeze.md; the bound of time by itself is in tests/device/core/test_tuf_time.py.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from client_world import NOW, Product
from tuf_repository import unix

YEAR_1970, YEAR_2000, YEAR_2021 = 0, 946684800, 1609459200
YEAR_2106 = datetime(2106, 1, 1, tzinfo=UTC)
ROLES = ["root", "timestamp", "snapshot", "targets", "releases-B", "channels-B"]


@pytest.fixture
def product(product: Product) -> Product:
    product.release("1.0.0", 1)
    return product


@pytest.mark.parametrize("clock", [YEAR_1970, YEAR_2000, YEAR_2021])
def test_without_a_clock_a_device_updates(product: Product, new_unit: Any, clock: int) -> None:
    assert new_unit(product).live(["clock", clock], ["install"]) == ["1.0.0"]


def test_a_clock_of_2106_refuses_and_leaves_nothing_behind(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    said, then = unit.live(["clock", unix(YEAR_2106)], ["install"], ["clock", 0], ["install"])
    assert said.startswith("E_STALE: root has expired"), said
    assert then == "1.0.0"


@pytest.mark.parametrize("clock", [YEAR_1970, unix(NOW + timedelta(days=365 * 8))])
def test_years_in_a_drawer(product: Product, new_unit: Any, clock: int) -> None:
    """Eight roots later, each but the last long expired; with a clock and without."""
    unit = new_unit(product)
    unit.live(["clock", unix(NOW)], ["install"])
    for year in range(1, 9):
        product.live(NOW + timedelta(days=365 * year))
    product.release("1.1.0", 2)
    assert unit.live(["clock", clock], ["install"]) == ["1.1.0"]


@pytest.mark.parametrize("role", ROLES)
def test_a_place_that_nobody_keeps_tells_so_by_its_own_clock(product: Product, new_unit: Any, role: str) -> None:
    """The device has no clock; the date of the web host is later than the expiry of any one role."""
    for name, md in product.repository.md.items():
        md.signed.expires = NOW + timedelta(days=1 if name == role else 400)
    product.repository.rotate_root()
    product.publish()
    unit = new_unit(product)
    product.date = NOW + timedelta(days=2)
    (said,) = unit.live(["install"])
    assert said.startswith(f"E_STALE: {role} has expired on 2026-06-02T00:00:00Z"), said
    if role in ("root", "timestamp", "snapshot"):
        assert said.endswith("; the network's clock says 2026-06-03T00:00:00Z")
    product.date = NOW
    assert unit.live(["install"]) == ["1.0.0"]


def test_an_abandoned_mirror_is_passed_over(product: Product, new_unit: Any, serve: Any) -> None:
    old = product.repository.fork(product.repository.folder.with_name("old"))
    abandoned = Product.__new__(Product)
    abandoned.__dict__ |= product.__dict__ | {"repository": old, "date": NOW + timedelta(days=300)}
    mirror = serve(abandoned.answer)
    product.live(NOW + timedelta(days=299))
    product.release("1.1.0", 2)
    unit = new_unit(product)
    assert unit.live(["owner", {"url": mirror.url}], ["install"]) == ["1.1.0"]
    assert mirror.requests


@pytest.mark.parametrize("lie", [YEAR_2106, datetime(1970, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)])
def test_a_lying_network_clock_can_only_refuse_and_is_forgotten(product: Product, new_unit: Any, lie: datetime) -> None:
    unit = new_unit(product)
    product.date = lie
    (said,) = unit.live(["install"])
    assert said.startswith("E_STALE: ") if lie > NOW else said == "1.0.0"
    product.date = None
    product.release("1.1.0", 2)
    assert unit.live(["install"]) == ["1.1.0"]


def test_a_network_clock_that_lies_backwards_hides_no_expiry_from_a_clock_that_is_right(
    product: Product, new_unit: Any
) -> None:
    product.date = datetime(1970, 1, 1, tzinfo=UTC)
    (said,) = new_unit(product).live(["clock", unix(NOW + timedelta(days=31))], ["install"])
    assert said.startswith("E_STALE: timestamp has expired"), said


def test_a_thief_of_the_timestamp_key_signs_2106(product: Product, new_unit: Any) -> None:
    """Past the root's expiry it does not count; before it, the device is frozen until the root brings new keys."""
    unit = new_unit(product)
    timestamp = product.repository.md["timestamp"].signed
    for when in (YEAR_2106, NOW + timedelta(days=600)):
        timestamp.unrecognized_fields["x-heirloom-signed-at"] = f"{when:%Y-%m-%dT%H:%M:%SZ}"
        timestamp.expires = when + timedelta(days=1)
        product.repository.publish()
        said = unit.live(["check"], ["check"])[-1]
        assert said == "1.0.0" if when == YEAR_2106 else said.startswith("E_STALE: snapshot has expired"), said
    product.live(NOW + timedelta(days=5))
    (said,) = unit.live(["check"])
    assert said.startswith("E_STALE: "), said
    product.repository.rotate("timestamp")
    product.live(NOW + timedelta(days=6))
    assert unit.live(["install"]) == ["1.0.0"]
