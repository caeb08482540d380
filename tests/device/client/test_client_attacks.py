"""Attacks on a device that runs 1.0.0 and is offered 1.1.0, as stories: the whole client on MicroPython, real HTTP.

Each: the attack, the device resists and says why by a code of its own, and the next legitimate update works.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from client_server import ok, packed
from client_world import APP, BOARD, NOW, Product
from securesystemslib.signer import CryptoSigner
from tuf_repository import unix

CLOCK = ["clock", unix(NOW)]
NEW_APP = APP | {"main.py": b"print('newer')\n", "lib/more.py": b"more = 1\n" * 50}


@dataclass
class Scene:
    """A product whose 1.1.0 is about to be published, its device, and what the attacker kept of yesterday."""

    product: Product
    unit: Any
    yesterday: Path

    def publish(self) -> None:
        self.product.release("1.1.0", 2, NEW_APP)

    def resists(self, code: str, *words: str, clock: list[object] = CLOCK) -> str:
        (said,) = self.unit.live(clock, ["install"])
        assert isinstance(said, str)
        assert said.startswith(f"{code}: "), said
        assert all(word in said for word in words), said
        self.runs("1.0.0")
        return said

    def runs(self, version: str) -> None:
        (status,) = self.unit.live(["status"])
        assert status["active"]["version"] == version
        assert status["trial"] is None

    def goes_on(self) -> None:
        """The next legitimate update is taken."""
        assert self.unit.live(CLOCK, ["install"]) == ["1.1.0"]
        self.runs("1.1.0")

    @contextmanager
    def robbed(self, *roles: str) -> Iterator[None]:
        """A thief has the keys of these roles; afterwards the maker's metadata is as it was, with higher versions."""
        repository = self.product.repository
        kept = {role: repository.md[role].to_dict() for role in repository.md}
        yield
        for role, before in kept.items():
            version = repository.md[role].signed.version
            repository.md[role] = type(repository.md[role]).from_dict(before)
            repository.md[role].signed.version = version


@pytest.fixture
def scene(product: Product, new_unit: Any) -> Scene:
    product.release("1.0.0", 1)
    unit = new_unit(product)
    assert unit.live(CLOCK, ["install"]) == ["1.0.0"]
    yesterday = product.repository.folder.with_name("yesterday")
    product.repository.fork(yesterday)
    return Scene(product, unit, yesterday)


def instead(scene: Scene, name: str, body: bytes) -> None:
    """The mirror serves this body, and its compressed twin, under the name of a metadata file."""
    truth = scene.product.answer

    def answer(request: str) -> Any:
        path = request.split()[1]
        if path.removesuffix(".z") != f"/metadata/{name}":
            return truth(request)
        return ok(packed(body) if path.endswith(".z") else body)

    scene.product.server.answer = answer


# The classes that an owner must be able to tell apart: what the attacker does, and by which code the device says it.


def rollback(scene: Scene) -> list[object]:
    scene.publish()
    scene.unit.live(CLOCK, ["check"])
    instead(scene, "timestamp.json", (scene.yesterday / "timestamp.json").read_bytes())
    return CLOCK


def freeze(scene: Scene) -> list[object]:
    scene.publish()
    instead(scene, "timestamp.json", (scene.yesterday / "timestamp.json").read_bytes())
    return ["clock", unix(NOW + timedelta(days=31))]


def mix_and_match(scene: Scene) -> list[object]:
    """The snapshot gives no hashes here; a mirror serves the old channels role under the new name."""
    scene.product.repository.hashes = False
    scene.publish()
    channels = f"channels-{BOARD}"
    old = max(scene.yesterday.glob(f"*.{channels}.json"))
    instead(scene, scene.product.repository.file_name(channels), old.read_bytes())
    return CLOCK


def wrong_keys(scene: Scene) -> list[object]:
    repository = scene.product.repository
    honest, repository.signers["timestamp"] = repository.signers["timestamp"], [CryptoSigner.generate_ed25519()]
    scene.publish()
    repository.signers["timestamp"] = honest
    return CLOCK


def too_few_signatures(scene: Scene) -> list[object]:
    repository = scene.product.repository
    honest, repository.signers["targets"] = repository.signers["targets"], repository.signers["targets"][:1]
    scene.publish()
    repository.signers["targets"] = honest
    return CLOCK


def endless_data(scene: Scene) -> list[object]:
    scene.publish()
    truth = scene.product.answer
    flood = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * 200_000
    scene.product.server.answer = lambda request: flood if "/timestamp.json" in request else truth(request)
    return CLOCK


def wrong_hash(scene: Scene) -> list[object]:
    scene.publish()
    truth = scene.product.answer
    honest = hashlib.sha256(NEW_APP["main.py"]).hexdigest()
    evil = ok(NEW_APP["main.py"].replace(b"newer", b"EVIL!"))
    scene.product.server.answer = lambda request: evil if honest in request else truth(request)
    return CLOCK


def unreachable(scene: Scene) -> list[object]:
    scene.publish()
    scene.product.server.answer = lambda _: None
    return CLOCK


CLASSES = {
    rollback: "E_ROLLBACK",
    freeze: "E_STALE",
    mix_and_match: "E_MIX",
    wrong_keys: "E_KEYS",
    too_few_signatures: "E_THRESHOLD",
    endless_data: "E_LENGTH",
    wrong_hash: "E_HASH",
    unreachable: "E_NETWORK",
}


@pytest.mark.parametrize("attack", CLASSES, ids=lambda attack: attack.__name__)
def test_each_class_of_attack_has_its_own_code(scene: Scene, attack: Callable[[Scene], list[object]]) -> None:
    assert len(set(CLASSES.values())) == len(CLASSES)
    clock = attack(scene)
    scene.resists(CLASSES[attack], clock=clock)
    scene.product.server.answer = scene.product.answer
    scene.product.publish()
    scene.goes_on()


def test_a_thief_of_all_online_keys_cannot_bring_software_of_his_own(scene: Scene) -> None:
    """Arbitrary software (TUF, Uptane): the channel may only point to what the offline releases role lists."""
    repository = scene.product.repository
    with scene.robbed("timestamp", "snapshot", f"channels-{BOARD}"):
        path = f"releases/{BOARD}/9.9.9.cbor"
        repository.add_target(f"channels-{BOARD}", path, b"evil", epoch=0, sequence=9)
        repository.add_target(f"channels-{BOARD}", f"channels/{BOARD}/stable", b"evil", release=path)
        repository.publish(f"channels-{BOARD}")
        scene.resists("E_MIX", f"releases-{BOARD} does not list")
    scene.publish()
    scene.goes_on()


def test_a_thief_of_all_online_keys_cannot_give_a_listed_release_other_content(scene: Scene) -> None:
    """Mixed bundles (Uptane): one name, two contents."""
    repository = scene.product.repository
    scene.publish()
    with scene.robbed("timestamp", "snapshot", f"channels-{BOARD}"):
        path = f"releases/{BOARD}/1.1.0.cbor"
        repository.add_target(f"channels-{BOARD}", f"channels/{BOARD}/stable", b"evil", release=path)
        repository.publish(f"channels-{BOARD}")
        scene.resists("E_MIX")
    repository.publish(f"channels-{BOARD}")
    scene.goes_on()


def test_a_thief_of_all_online_keys_cannot_go_back(scene: Scene) -> None:
    """Rollback of the release itself: the channel points to an older one that is still listed."""
    repository = scene.product.repository
    scene.publish()
    scene.unit.live(CLOCK, ["install"])
    with scene.robbed("timestamp", "snapshot", f"channels-{BOARD}"):
        old = repository.md[f"releases-{BOARD}"].signed.targets[f"releases/{BOARD}/1.0.0.cbor"]
        pointer = repository.md[f"channels-{BOARD}"].signed.targets[f"channels/{BOARD}/stable"]
        pointer.length, pointer.hashes = old.length, old.hashes
        pointer.unrecognized_fields["custom"] = {"release": f"releases/{BOARD}/1.0.0.cbor"}
        repository.publish(f"channels-{BOARD}")
        (said,) = scene.unit.live(CLOCK, ["install"])
        assert said.startswith("E_FLOOR: "), said
        scene.runs("1.1.0")
    scene.product.release("1.2.0", 3)
    assert scene.unit.live(CLOCK, ["install"]) == ["1.2.0"]


def test_software_for_another_board_is_wrong_software(scene: Scene) -> None:
    """Wrong software (TUF): signed by the right keys, for something else."""
    for more in ({"board": "OTHER"}, {"product": "other"}):
        scene.product.release("1.0.9", 2, NEW_APP, **more)
        scene.resists("E_PRODUCT", *more.values())
    scene.product.release("1.1.0", 3, NEW_APP)
    scene.goes_on()


def test_a_stepping_stone_of_a_thiefs_own_is_no_dependency(scene: Scene) -> None:
    """Extraneous dependencies (TUF): what a release requires comes from the same offline role, or not at all."""
    repository = scene.product.repository
    scene.product.release("1.1.0", 3, NEW_APP, requires=2, via="1.0.5")
    with scene.robbed("timestamp", "snapshot", f"channels-{BOARD}"):
        path = f"releases/{BOARD}/1.0.5.cbor"
        repository.add_target(f"channels-{BOARD}", path, b"evil", epoch=0, sequence=2)
        repository.publish(f"channels-{BOARD}")
        scene.resists("E_REQUIRES", "1.0.5")
    scene.product.release("1.1.0", 4, NEW_APP)
    scene.goes_on()


def test_a_file_withheld_leaves_the_old_release_whole(scene: Scene) -> None:
    """Partial bundle installation (Uptane): all files or none; what came is kept for the next try."""
    scene.publish()
    truth = scene.product.answer
    last = hashlib.sha256(NEW_APP["main.py"]).hexdigest()
    scene.product.server.answer = lambda request: truth(request.replace(last, "0" * 64))
    scene.resists("E_NOT_FOUND")
    scene.product.server.answer = truth
    scene.product.server.requests.clear()
    scene.goes_on()
    assert [request for request in scene.product.server.requests if "/blobs/" in request and last not in request] == []


def test_what_listens_learns_nothing_where_tls_is_and_the_device_says_nothing_of_its_own(scene: Scene) -> None:
    """Eavesdropping (Uptane): no identity, no version, no secret goes out with a request; the rest is TLS's."""
    scene.publish()
    scene.product.server.requests.clear()
    scene.goes_on()
    for request in scene.product.server.requests:
        lines = request.split("\r\n")
        names = {line.partition(":")[0] for line in lines[1:] if line}
        assert names <= {"Host", "If-None-Match", "Range", "Connection"}, request
        assert lines[0].startswith("GET /")
        assert "?" not in lines[0]
