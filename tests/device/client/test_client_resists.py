"""What a release, a place or bad luck tries between two steps of the client: the whole client on MicroPython."""

import json
from typing import Any

import pytest
from client_world import NOW, Product
from tuf_repository import unix

CLOCK = ["clock", unix(NOW)]


@pytest.fixture
def product(product: Product) -> Product:
    product.release("1.0.0", 1)
    return product


def left_behind(product: Product, name: str) -> Product:
    """The product as it is now, whatever it publishes later."""
    old = Product.__new__(Product)
    old.__dict__ |= product.__dict__ | {
        "repository": product.repository.fork(product.repository.folder.with_name(name))
    }
    return old


def test_what_is_installed_is_what_was_found(product: Product, new_unit: Any, serve: Any, on_device: Any) -> None:
    """A poll beside the application looks while its owner thinks: the yes is for the release that was shown."""
    mirror = serve(left_behind(product, "old").answer)
    product.release("1.1.0", 2)
    unit = new_unit(product)
    unit.live(["owner", {"url": mirror.url}])
    switches = json.dumps({"url": None, "pinned": "1.0.0"})
    console = on_device("between", "overtaken", str(unix(NOW)), switches, heap="400k")  # two of them at once
    said = json.loads(console.rpartition("=> ")[2])
    assert said[:2] == ["1.0.0", "E_OWNER: the owner pinned 1.0.0, the channel has 1.1.0"]
    assert said[2].startswith("E_STATE: "), said
    assert unit.live(["status"])[0]["active"] is None
    assert unit.live(["owner", {"pinned": None}], CLOCK, ["install"]) == ["1.1.0"]


@pytest.mark.parametrize("switches", [{"network": False}, {"updates": "off"}])
def test_a_repair_asks_nobody_when_the_owner_forbids_it(
    product: Product, new_unit: Any, on_device: Any, switches: Any
) -> None:
    unit = new_unit(product)
    unit.live(CLOCK, ["install"], ["owner", switches])
    on_device("between", "lose", "a")
    before = len(product.server.requests)
    assert unit.live(["call", "recovery.repair", {"slot": "a"}]) == [False]
    assert len(product.server.requests) == before
    unit.live(["owner", {"network": True, "updates": "on"}])
    assert unit.live(["call", "recovery.repair", {"slot": "a"}]) == [True]


def test_what_was_confirmed_comes_back_when_its_slot_was_lost(product: Product, new_unit: Any) -> None:
    unit = new_unit(product)
    unit.live(CLOCK, ["install"])
    product.release("1.1.0", 2)
    assert unit.live(CLOCK, ["install"]) == ["1.1.0"]
    unit.live(["state", {"a": "a", "f": None}])
    assert unit.live(CLOCK, ["install"]) == ["1.1.0"]
    assert unit.live(["status"])[0]["active"]["version"] == "1.1.0"
    assert unit.live(CLOCK, ["check"]) == []


def test_a_place_with_a_wrong_manifest_does_not_keep_the_others_from_being_asked(
    product: Product, new_unit: Any, serve: Any
) -> None:
    def answer(request: str) -> Any:
        good = product.answer(request)
        return good[:-1] + b"?" if "/targets/" in request and isinstance(good, bytes) else good

    unit = new_unit(product)
    unit.live(["owner", {"url": serve(answer).url}])
    assert unit.live(CLOCK, ["install"]) == ["1.0.0"]


def test_a_permission_for_a_card_is_not_left_for_the_network(product: Product, new_unit: Any, on_device: Any) -> None:
    """Power cut while the wish is written down: never the yes to what is stale without the place it was meant for."""
    new_unit(product)
    on_device("between", "cut_while_wishing")


def test_a_factory_reset_leaves_no_copy_of_a_migration(on_device: Any) -> None:
    on_device("between", "reset_before_the_commit")


@pytest.mark.slow
@pytest.mark.parametrize(
    "pieces",
    [[b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 65536] * 64], [b"HTTP/1.1 200 OK\r\n\r\n", *[0.7, b"x"] * 100]],
    ids=["a line without end", "a byte now and then"],
)
def test_a_server_takes_neither_memory_nor_time_from_the_application(serve: Any, on_device: Any, pieces: Any) -> None:
    server = serve(lambda _: pieces)
    assert "=> UpdateError('E_NETWORK'" in on_device("between", "beside", server.url)


def test_a_pinned_version_may_need_a_stepping_stone(product: Product, new_unit: Any) -> None:
    product.release("1.0.0", 1)
    unit = new_unit(product)
    assert unit.live(CLOCK, ["install"]) == ["1.0.0"]
    product.release("1.0.5", 2)
    product.release("1.1.0", 3, {"main.py": b"new"}, requires=2, via="1.0.5")
    assert unit.live(["owner", {"pinned": "1.1.0"}], CLOCK, ["install"]) == ["1.0.5"]
    assert unit.live(CLOCK, ["install"]) == ["1.1.0"]
