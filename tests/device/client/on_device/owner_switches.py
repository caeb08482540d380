# The owner's switches.
import os

import prelude
from prelude import power_cycle

from heirloom.device import cbor, owner
from heirloom.device.errors import UpdateError

_FILE = "/heirloom/owner.cbor"
_COPY = "/heirloom/owner.bak"


def nothing_said():
    assert owner.load().as_dict() == {
        "updates": "on",
        "network": True,
        "channel": None,
        "pinned": None,
        "url": None,
        "tls_only": False,
    }


def said_and_kept():
    owner.change(updates="ask", channel="beta", tls_only=True)
    owner.change(url="http://here/", network=False)
    found = owner.load()
    assert (found.updates, found.channel, found.tls_only, found.url, found.network) == (
        "ask",
        "beta",
        True,
        "http://here/",
        False,
    )
    owner.change(channel=None)
    assert owner.load().channel is None
    with open(_FILE, "rb") as file:
        assert cbor.decode(file.read()) == {1: "ask", 2: False, 5: "http://here/", 6: True}


def damage_means_the_last_good_copy():
    owner.change(updates="off")
    with open(_FILE, "rb") as file:
        good = file.read()
    for bad in [None, b"", b"garbage", good[:-1], cbor.encode({1: "maybe"}), cbor.encode([]), cbor.encode({2: True})]:
        os.remove(_FILE)
        if bad is not None:
            with open(_FILE, "wb") as file:
                file.write(bad)
        assert owner.load().updates == "off", bad
        with open(_FILE, "wb") as file:
            file.write(good)


def without_any_copy_updates_are_off():
    owner.change(updates="on")
    for path in (_FILE, _COPY):
        with open(path, "wb") as file:
            file.write(b"garbage")
    assert owner.load().updates == "off"


def unknown_wishes_are_refused():
    for wish in ({"updates": "sometimes"}, {"colour": "red"}):
        try:
            owner.change(**wish)
        except UpdateError as error:
            assert error.code == "E_STATE"
            continue
        raise AssertionError(wish)
    nothing_said()


def permissions_across_power_cuts():
    """Prints how often power was cut, and how often the permission was there after it all the same."""
    cut, given = 0, 0
    while True:
        prelude.flash.cut_at = -1
        owner.take_stale()
        taken = False
        prelude.flash.cut_at = prelude.flash.operations + cut
        try:
            owner.accept_stale()
            taken = owner.take_stale()
            done = prelude.flash.operations <= prelude.flash.cut_at
        except (OSError, prelude.PowerCut, UpdateError):
            done = False
        power_cycle()
        if owner.stale_pending():
            given += 1
        again = owner.take_stale()
        assert not (taken and again), cut
        power_cycle()
        assert not owner.stale_pending() and not owner.take_stale(), cut
        if done:
            break
        cut += 1
    print(cut, given)
