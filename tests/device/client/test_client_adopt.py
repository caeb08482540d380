"""Another root of trust, by a person at the device and by nothing else: the whole client on MicroPython."""

import base64
from pathlib import Path
from typing import Any

import pytest
from client_world import NOW, Product
from test_client_media import as_folder
from tuf_repository import unix

ON_TIME = ["clock", unix(NOW)]


@pytest.fixture
def successor(tmp_path: Path, serve: Any) -> Product:
    """Somebody who goes on with the product without the maker's keys: other roots, orders from the beginning."""
    server = serve(lambda _: None)
    made = Product(tmp_path / "successor", urls=(server.url,))
    made.server, server.answer = server, made.answer
    return made


def status(unit: Any) -> dict[str, Any]:
    (said,) = unit.live(["status"])
    assert isinstance(said, dict)
    return said


def receive(root: bytes) -> list[list[object]]:
    parts = [root[start : start + 900] for start in range(0, len(root), 900)]
    return [
        ["call", "ownership.receive_root", {"part": base64.b64encode(part).decode(), "first": number == 0}]
        for number, part in enumerate(parts)
    ]


def adopt(successor: Product, **more: object) -> list[object]:
    arguments = {"product": "weather", "urls": [successor.server.url], **more}
    return ["call", "ownership.adopt", arguments]


def test_a_successor_without_the_keys_goes_on(product: Product, successor: Product, new_unit: Any) -> None:
    product.release("1.0.0", 7, floor=7)
    successor.release("2.0.0", 1)
    unit = new_unit(product)
    assert unit.live(ON_TIME, ["install"]) == ["1.0.0"]
    # Over the network a stranger's root is nobody's, however it is offered.
    product.server.answer = successor.answer
    (said,) = unit.live(ON_TIME, ["install"])
    assert said.startswith("E_"), said
    assert status(unit)["floor"] == [0, 7]
    *_, done = unit.live(*receive(successor.provisioned), adopt(successor))
    assert done["root"] == 2
    assert len(done["secret"]) == 64
    report = status(unit)
    assert (report["active"]["version"], report["floor"], report["due"]) == ("1.0.0", [0, 0], True)
    assert unit.live(ON_TIME, ["install"]) == ["2.0.0"]
    # And the way back is closed: what the maker signed is a stranger's now.
    successor.server.answer = product.answer
    product.server.answer = product.answer
    (said,) = unit.live(ON_TIME, ["install"])
    assert said.startswith("E_"), said
    assert status(unit)["active"]["version"] == "2.0.0"


def test_what_is_refused_leaves_all_as_it_was(product: Product, successor: Product, new_unit: Any) -> None:
    product.release("1.0.0", 7, floor=7)
    unit = new_unit(product)
    unit.live(ON_TIME, ["install"])
    good = receive(successor.provisioned)
    wrong = successor.provisioned.replace(b'"version":2', b'"version":3').replace(b'"version": 2', b'"version": 3')
    assert wrong != successor.provisioned
    cases: list[tuple[list[list[object]], list[object], str]] = [
        ([], adopt(successor), "E_STATE: no root was received"),
        (receive(wrong), adopt(successor), "E_KEYS: "),
        (receive(successor.provisioned[:-40]), adopt(successor), "E_FORMAT: "),
        (receive(b"{}"), adopt(successor), "E_"),
        (good, adopt(successor, product="barometer"), "E_PRODUCT: this device is a weather"),
        (good, adopt(successor, urls=[]), "E_STATE: "),
        (good, adopt(successor, urls=["ftp://x/"]), "E_STATE: "),
        (good, adopt(successor, secret="5"), "E_STATE: "),
        ([["repeat", 12, ["call", "ownership.receive_root", {"part": "A" * 3900}]]], adopt(successor), "E_"),
        ([["call", "ownership.receive_root", {"part": "?", "first": True}]], adopt(successor), "E_"),
        ([*good, ["state", {"t": [3, 10, 0]}]], adopt(successor), "E_TRIAL: "),
    ]
    before = status(unit)
    for steps, last, sentence in cases:
        *_, said = unit.live(*steps, last)
        assert str(said).startswith(sentence), (sentence, said)
        unit.live(["state", {"t": None}])
    assert status(unit) | {"free_blocks": 0} == before | {"free_blocks": 0}
    product.release("1.1.0", 8)
    assert unit.live(ON_TIME, ["install"]) == ["1.1.0"]


def test_nothing_on_a_stick_or_in_a_release_makes_it(
    product: Product, successor: Product, new_unit: Any, tmp_path: Path
) -> None:
    """The files by which a person's word is kept mean nothing where others write."""
    words = {f"heirloom/{name}": b'{"root":1}' for name in ("owed", "owner.cbor", "media-once", "stale-once", "state")}
    product.release("1.0.0", 7, floor=7)
    unit = new_unit(product)
    unit.live(ON_TIME, ["install"], ["owner", {"updates": "ask", "channel": "stable", "tls_only": False}])
    before = status(unit)
    stick = as_folder(successor, tmp_path / "stick")
    for name, data in words.items():
        (stick / name).parent.mkdir(parents=True, exist_ok=True)
        (stick / name).write_bytes(data)
    (stick / "owed-root").write_bytes(successor.provisioned)
    (said,) = unit.live(ON_TIME, ["media", "install", str(stick), True])
    assert said.startswith("E_"), said
    product.release("1.1.0", 8, {"main.py": b"print(1)\n", **words}, keep=["heirloom/owner.cbor"])
    assert unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "stick")), True]) == ["1.1.0"]
    after = status(unit)
    assert after["active"]["version"] == "1.1.0"
    for kept in ("owner", "owner_damaged", "accept_stale", "media_once"):
        assert after[kept] == before[kept], kept


@pytest.mark.parametrize("sha256", ["5e" * 32, ""])
def test_a_root_that_is_gone_or_has_changed_is_not_adopted(product: Product, new_unit: Any, sha256: str) -> None:
    """What was promised cannot be kept: the old root stays, and so does all else, for good."""
    product.release("1.0.0", 7, floor=7)
    unit = new_unit(product)
    unit.live(ON_TIME, ["install"])
    before = status(unit)
    device = {"product": "barometer", "urls": ["http://x/"], "channel": "beta", "secret": "5" * 64}
    promise = ["call", "ownership._promise", {"owed": {"root": 9, "sha256": sha256, "device": device}}]
    _, said = unit.live(promise, ["call", "ownership.finish", {}])
    assert said is True, said
    assert status(unit) | {"free_blocks": 0} == before | {"free_blocks": 0}
    product.release("1.1.0", 8)
    assert unit.live(ON_TIME, ["install"]) == ["1.1.0"]


def test_a_power_cut_at_any_point(product: Product, successor: Product, on_device: Any, tmp_path: Path) -> None:
    for name, root in (("old", product.provisioned), ("new", successor.provisioned)):
        (tmp_path / name).write_bytes(root)
    roots = str(tmp_path / "old"), str(tmp_path / "new")
    said = on_device("owner_presence", "adopting_survives_power_cuts", *roots, "31", heap="400k")
    cuts, finished = said.split()[-2:]
    assert int(cuts) > 50
    assert int(finished) > 1
