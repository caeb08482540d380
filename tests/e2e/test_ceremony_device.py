"""Stories of whole devices: their makers changed while they were in a drawer, and the next update still arrives."""

from typing import TYPE_CHECKING

import pytest
from ceremony_scene import handover_file
from e2e_world import CONFIRMED, NewUnit, World

from heirloom.hil.demo.steps import BOARD, HOST, Workshop, weather
from heirloom.signing.keys import KeyStore

if TYPE_CHECKING:
    from pathlib import Path


def change_hands(shop: Workshop, heirs: str) -> None:
    """Every key of the product passes to others, and so do the places and the contact."""
    store = KeyStore(shop.keys_dir)
    held: dict[str, dict[str, Path]] = {}
    for role in ("root", "targets", f"releases-{BOARD}", f"channels-{BOARD}", "snapshot", "timestamp"):
        people = ("Ada", "Berta", "Chen") if role in ("root", "targets") else ("Ada",)
        held[role] = {}
        for person in people:
            store.create(f"{heirs}-{role}-{person}", shop.passphrase)
            held[role][f"{person} of the {heirs}"] = shop.keys_dir / f"{heirs}-{role}-{person}.pub.json"
    places = [f"http://{HOST}/", f"https://{heirs}.example.org/"]
    file = handover_file(shop.directory / f"{heirs}.toml", held, places, maker=heirs, contact=f"{heirs}@example.org")
    hold(shop, "--handover", str(file))


def hold(shop: Workshop, *argv: str) -> None:
    shop.heirloom("ceremony", "start", *argv)
    shop.heirloom("ceremony", "sign")
    shop.heirloom("ceremony", "finish")


def updates(world: World, shop: Workshop, new_unit: NewUnit, name: str) -> dict[str, object]:
    """A device with 1.0.0 and the first root meets the product as it is now."""
    shop.publish("1.1.0", weather("1.1.0"))
    world.shops[name] = shop
    unit = new_unit("1.0.0")
    world.serve(name)
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    report: dict[str, object] = unit.report()
    return report


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_slept_through_two_hand_overs(world: World, shop: Workshop, new_unit: NewUnit) -> None:
    change_hands(shop, "heirs")
    change_hands(shop, "grandchildren")
    metadata = updates(world, shop, new_unit, "two hand-overs")["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["root"] == 3


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_missed_five_ceremonies(world: World, shop: Workshop, new_unit: NewUnit) -> None:
    store = KeyStore(shop.keys_dir)
    for name, kind in (("dora", "ed25519"), ("emil", "ecdsa"), ("ts", "ecdsa"), ("rel", "rsa")):
        store.create(name, shop.passphrase, kind)
    hold(shop, "--replace-key", "root-1=dora")
    hold(shop, "--lost", "root-2", "--add-key", "root=emil")
    hold(shop, "--threshold", "root=3")
    hold(shop, "--stolen", "timestamp", "--add-key", "timestamp=ts")
    hold(shop, "--replace-key", f"releases-{BOARD}-1=rel", "--epoch", "1", "--renew", "root")
    metadata = updates(world, shop, new_unit, "five ceremonies")["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["root"] == 6
