"""What a unit keeps of its old life when it is provisioned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_device_commands import root_metadata

from heirloom import boards
from heirloom.hil import provision
from heirloom.hil.order import Before, Order, plan
from heirloom.hil.provision import DEVICE, NETWORK, ROOT, Identity, Network

ID, SECRET = "e661", "ab" * 32
OURS = {"product": "weather", "id": ID, "secret": SECRET}


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Order:
    monkeypatch.setattr(provision, "client_files", lambda *_: {"/boot.py": b"b", "/main.py": b"m", "/lib/x": b"x"})
    board = boards.load("RPI_PICO_W")
    return Order(board, "weather", root_metadata("weather"), ["http://x/"], "stable", {}, None, tmp_path)


def before(*paths: str, device: object = OURS, **more: bytes) -> Before:
    return Before(frozenset(paths), json.dumps(device).encode(), **more)


def test_a_device_of_this_product_keeps_all_but_a_stale_client(order: Order) -> None:
    found = plan(
        order,
        before("/heirloom/state", "/heirloom/blobs/aa", "/data/x", "/lib/heirloom/device/old.mpy"),
        Identity(ID, SECRET),
    )
    assert found.unwanted == {"/lib/heirloom/device/old.mpy"}
    assert found.kept
    assert list(found.files)[-2:] == ["/main.py", "/boot.py"], "what starts the client is written last"


def test_a_device_of_another_product_loses_what_was_that_products(order: Order) -> None:
    found = plan(
        order,
        before("/heirloom/state", "/heirloom/trust/timestamp.json", "/mine.txt", device={"product": "clock"}),
        Identity(ID, SECRET),
    )
    assert found.unwanted == {"/heirloom/state", "/heirloom/trust/timestamp.json"}
    assert not found.kept


def test_erasing_keeps_nothing(order: Order) -> None:
    found = plan(replace(order, erase=True), before("/data/x", "/heirloom/state", "/boot.py"), Identity(ID, SECRET))
    assert found.unwanted == {"/data/x", "/heirloom/state"}
    assert not found.kept


def test_the_network_stays_unless_another_is_named(order: Order) -> None:
    old = json.dumps({"networks": [{"ssid": "Home", "password": "x"}]}).encode()
    assert plan(order, before(network=old), Identity(ID, SECRET)).files[NETWORK] == old
    assert json.loads(plan(order, before(network=b"damaged"), Identity(ID, SECRET)).files[NETWORK]) == {"networks": []}
    named = plan(replace(order, networks=[Network("New", "y")]), before(network=old), Identity(ID, SECRET))
    assert b"New" in named.files[NETWORK]
    assert b"Home" not in named.files[NETWORK]


def test_a_root_that_its_own_keys_signed_is_not_taken_back(order: Order) -> None:
    later = root_metadata("weather")
    assert plan(order, before(root=later), Identity(ID, SECRET)).files[ROOT] == later
    forged = later.replace(b'"version":1', b'"version":9').replace(b'"version": 1', b'"version": 9')
    assert forged != later
    for bad in (forged, b"damaged", b""):
        assert plan(order, before(root=bad), Identity(ID, SECRET)).files[ROOT] == order.root_json


@pytest.mark.parametrize("device", [{}, {"id": "other", "secret": SECRET}, {"id": ID, "secret": "short"}, {"id": ID}])
def test_a_secret_is_taken_over_from_this_unit_only(device: object) -> None:
    assert before(device=device).secret(ID) is None
    assert before().secret(ID) == SECRET
    assert Before(device=b"\xff").secret(ID) is None


def test_only_an_untouched_unit_is_blank() -> None:
    assert Before().is_blank
    assert Before(frozenset({"/boot.py"})).is_blank
    assert not Before(frozenset({"/main.py"})).is_blank
    assert DEVICE not in Before().paths
