"""One flipped byte in each kind of file that a server gives: nothing of it is ever activated.

Each is a story: a sane device, the attack, the device resists and says why, and the next good release installs.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from e2e_world import CONFIRMED, NewUnit, World

from heirloom.hil.demo.attacker import tamper
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
    "manifest": ("/targets/", b"\x67weather", ("E_HASH",), "1.1.0.cbor"),
    "blob": ("/blobs/", b"M\x06", ("E_HASH",), "blob "),
}


def flip(behind: bytes) -> Callable[[bytes], bytes]:
    """Flips one bit of the first byte behind a mark."""

    def change(body: bytes) -> bytes:
        position = body.index(behind) + len(behind)
        changed = bytearray(body)
        changed[position] ^= 0x01
        return bytes(changed)

    return change


def flip_middle_of_twins(path: str, truth: Response) -> Response:
    """Flips one bit in the middle of every compressed twin."""
    if not path.endswith(".z") or truth.status != 200:
        return truth
    body = bytearray(truth.body)
    body[len(body) // 2] ^= 0x10
    return replace(truth, body=bytes(body))


def resist(world: World, new_unit: NewUnit, attack: Attack, codes: tuple[str, ...], name: str) -> None:
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    world.wire.attack = attack
    mark = world.wire.mark()
    unit.power_on()
    said = unit.wait_for(f"({'|'.join(codes)}): [^\n]*")
    unit.settle()
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
    resist(world, new_unit, tamper(part, flip(behind)), codes, name)


def test_damaged_twins_do_no_harm(world: World, new_unit: NewUnit) -> None:
    """The twin is only a shorter way to the same bytes: when it is damaged, the plain file is asked for."""
    unit = new_unit("1.0.0")
    world.serve("1.1.0")
    world.wire.attack = flip_middle_of_twins
    mark = world.wire.mark()
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    assert world.wire.since(mark).tampered
    assert unit.report()["active"]["version"] == "1.1.0"
