"""Stale metadata is accepted once by a present owner and never otherwise: the whole client on MicroPython."""

from datetime import timedelta
from typing import Any

import pytest
from client_world import NOW, Product
from tuf_repository import unix

LATE = NOW + timedelta(days=3000)  # everything has expired, the root, too


@pytest.fixture
def product(product: Product) -> Product:
    product.release("1.0.0", 1)
    return product


def status(unit: Any) -> dict[str, Any]:
    (said,) = unit.live(["status"])
    assert isinstance(said, dict)
    return said


def test_once_and_never_twice(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    unit.live(["clock", unix(NOW)], ["install"])
    product.release("1.1.0", 2)
    late = ["clock", unix(LATE)]
    (said,) = unit.live(late, ["install"])
    assert said.startswith("E_STALE: root has expired"), said

    unit.live(["accept_stale"])
    assert status(unit)["accept_stale"] is True
    assert unit.live(late, ["install"]) == ["1.1.0"]
    assert "taken this once, as the owner wants it" in unit.console
    assert status(unit)["accept_stale"] is False
    assert status(unit)["active"]["version"] == "1.1.0"

    product.release("1.2.0", 3)
    (said,) = unit.live(late, ["install"])
    assert said.startswith("E_STALE: "), said
    product.live(LATE)
    assert unit.live(late, ["install"]) == ["1.2.0"], "and what is fresh is taken as ever"


def test_used_up_by_the_next_check_whatever_comes_of_it(product: Product, new_unit: Any) -> None:
    late = ["clock", unix(LATE)]
    unit = new_unit(product)
    unit.live(["accept_stale"])
    product.server.answer = lambda _: None
    (said,) = unit.live(late, ["check"])
    assert said.startswith("E_NETWORK: ")
    product.server.answer = product.answer
    (said,) = unit.live(late, ["check"])
    assert said.startswith("E_STALE: ")
    unit.live(["accept_stale"], ["owner", {"updates": "off"}])
    first, second = unit.live(late, ["check"], ["owner", {"updates": "on"}], ["check"])
    assert first.startswith("E_OWNER: ")
    assert second.startswith("E_STALE: ")


def test_what_is_fresh_needs_no_permission_but_uses_it_up(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    unit.live(["accept_stale"], ["clock", unix(NOW)], ["install"])
    assert "as the owner wants it" not in unit.console
    assert status(unit)["accept_stale"] is False


def test_a_look_that_cannot_install_leaves_it(product: Product, new_unit: Any) -> None:
    """The poll beside an application restarts into the check that installs: that one needs it."""
    unit = new_unit(product)
    unit.live(["accept_stale"])
    looked, checked = unit.live(["clock", unix(LATE)], ["look"], ["check"])
    assert looked.startswith("E_STALE: ")
    assert checked == "1.0.0"


def test_a_check_is_due_at_the_next_start(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    unit.live(["accept_stale"])
    assert status(unit)["due"] is True


def test_signatures_versions_and_floor_hold_all_the_same(product: Product, new_unit: Any) -> None:
    late = ["clock", unix(LATE)]
    unit = new_unit(product)
    unit.live(["clock", unix(NOW)], ["install"])
    yesterday = product.repository.fork(product.repository.folder.with_name("yesterday"))
    product.release("1.1.0", 2, floor=2)
    unit.live(["clock", unix(NOW)], ["install"])

    today, product.repository = product.repository, yesterday
    (said,) = unit.live(["accept_stale"], late, ["install"])
    assert said.startswith("E_ROLLBACK: "), said

    product.repository = today
    product.release("1.0.1", 1)
    (said,) = unit.live(["accept_stale"], late, ["install"])
    assert said.startswith("E_FLOOR: "), said

    product.repository.signers["timestamp"] = product.repository.signers["snapshot"]
    product.release("1.2.0", 3)
    (said,) = unit.live(["accept_stale"], late, ["install"])
    assert said.startswith("E_KEYS: "), said


def test_a_fresh_place_goes_before_a_stale_one(product: Product, new_unit: Any, serve: Any) -> None:
    """The permission is for when there is nothing better."""
    old = product.repository.fork(product.repository.folder.with_name("old"))
    left_behind = Product.__new__(Product)
    left_behind.__dict__ |= product.__dict__ | {"repository": old}
    mirror = serve(left_behind.answer)
    product.live(LATE)
    product.release("1.1.0", 2)
    unit = new_unit(product)
    steps = ["owner", {"url": mirror.url}], ["accept_stale"], ["clock", unix(LATE)], ["install"]
    assert unit.live(*steps) == ["1.1.0"]
    assert "as the owner wants it" not in unit.console


def test_a_power_cut_never_gives_a_second_one(on_device: Any) -> None:
    """At every flash operation from the owner's word to its use."""
    cuts, given = on_device("owner_switches", "permissions_across_power_cuts").split()[-2:]
    assert int(cuts) > 5
    assert int(given) > 0
