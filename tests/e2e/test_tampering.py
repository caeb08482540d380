"""One flipped byte in each kind of file that a server gives: nothing of it is ever activated.

Each is a story: a sane device, the attack, the device resists and says why, and the next good release installs.
"""

from collections.abc import Callable

import pytest
from conftest import CONFIRMED, NewUnit, World

from heirloom.hil.demo.steps import BOARD
from heirloom.hil.demo.wire import Attack, Response

EXPIRES = b'"expires":"'  # the first digit of a year behind it: a fresher document, if nobody looked closely

# Kind of file: what its path contains, where the byte is flipped, what the device must say, and how it names the file.
KINDS = {
    "root": ("2.root.json", EXPIRES, ("E_KEYS", "E_THRESHOLD"), "root"),
    "timestamp": ("timestamp.json", EXPIRES, ("E_KEYS", "E_THRESHOLD"), "timestamp"),
    "snapshot": (".snapshot.json", EXPIRES, ("E_HASH",), "snapshot"),
    "targets": (".targets.json", EXPIRES, ("E_HASH",), "targets"),
    "releases": (f".releases-{BOARD}.json", EXPIRES, ("E_HASH",), f"releases-{BOARD}"),
    "channels": (f".channels-{BOARD}.json", EXPIRES, ("E_HASH",), f"channels-{BOARD}"),
    "manifest": ("/targets/", b"weather", ("E_HASH",), "1.1.0.cbor"),
    "blob": ("/blobs/", b"M\x06", ("E_HASH",), ""),
}


def flip(part: str, behind: bytes) -> Attack:
    """Flips one bit of the first byte behind a mark, in every answer whose path has that part; there are no twins."""

    def attack(path: str, truth: Response) -> Response:
        if part not in path:
            return truth
        if path.endswith(".z"):
            return Response.not_found()
        position = truth.body.find(behind)
        if truth.status not in (200, 206) or position < 0:
            return truth
        body = bytearray(truth.body)
        body[position + len(behind)] ^= 0x01
        return Response(truth.status, truth.headers, bytes(body))

    return attack


def flip_twin(part: str, _: bytes) -> Attack:
    """Flips one bit in the middle of the compressed twin."""

    def attack(path: str, truth: Response) -> Response:
        if part not in path or not path.endswith(".z") or truth.status != 200:
            return truth
        body = bytearray(truth.body)
        body[len(body) // 2] ^= 0x10
        return Response(truth.status, truth.headers, bytes(body))

    return attack


def resist(world: World, new_unit: NewUnit, attack: Attack, codes: tuple[str, ...], name: str) -> None:
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    world.wire.attack = attack
    mark = world.wire.mark()
    unit.power_on()
    said = unit.wait_for(f"({'|'.join(codes)}): [^\n]*")
    report = unit.report()
    assert world.wire.since(mark).tampered, "the attack did not reach the device"
    assert report["active"]["version"] == "1.0.0"
    assert report["last_check"]["error"].startswith(codes)
    assert name in said

    world.wire.attack = None
    world.serve("1.3.0")
    unit.power_on()
    unit.wait_for(r"weather 1\.3\.0 starting")
    unit.wait_for(CONFIRMED)
    assert unit.report()["active"]["version"] == "1.3.0"


@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_byte_never_activates(kind: str, world: World, new_unit: NewUnit) -> None:
    part, behind, codes, name = KINDS[kind]
    resist(world, new_unit, flip(part, behind), codes, name)


@pytest.mark.parametrize("make", [flip_twin])
def test_one_flipped_byte_in_a_twin(make: Callable[[str, bytes], Attack], world: World, new_unit: NewUnit) -> None:
    """A damaged twin is no better than damaged metadata."""
    resist(world, new_unit, make("timestamp.json", b""), ("E_FORMAT", "E_KEYS", "E_THRESHOLD", "E_LENGTH"), "timestamp")
