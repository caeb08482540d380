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
        "media": None,
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


def what_a_newer_client_wrote_is_kept():
    newer = {1: "ask", 9: [1, {"x": b"y"}], "of later": True}
    for path in (_FILE, _COPY):
        with open(path, "wb") as file:
            file.write(cbor.encode(newer))
    owner.change(updates="off")
    with open(_FILE, "rb") as file:
        kept = cbor.decode(file.read())
    assert kept == {1: "off", 2: True, 6: False, 9: [1, {"x": b"y"}], "of later": True}, kept


WRONG_TYPES = (
    [(1, value) for value in (None, True, 1, b"on", ["on"], {1: "on"}, "")]
    + [(2, value) for value in (None, 0, 1, "yes", b"", [])]
    + [(6, value) for value in (None, 0, 1, "no")]
    + [(3, value) for value in (0, True, b"beta", ["beta"], "", "a" * 65, "a b", "a/b", "\n", "caf\u00e9")]
    + [(4, value) for value in (1, False, b"1.0", {}, "", "1" * 65)]
    + [(5, value) for value in (1, True, b"http://x/", "ftp://x/", "/sd", "x", "http://" + "x" * 300, "http://x y/")]
    + [(7, value) for value in (1, True, b"/sd", "/", "sd", "/sd/../x", "/" + "x" * 64, "")]
)


def damage_means_the_last_good_copy():
    owner.change(updates="off")
    with open(_FILE, "rb") as file:
        good = file.read()
    wrong = [cbor.encode({1: "on", number: value}) for number, value in WRONG_TYPES]
    short = [None, b"", b"garbage", good[:-1], cbor.encode({1: "maybe"}), cbor.encode([]), cbor.encode({2: True})]
    for bad in short + wrong + [b"\x9f" * 900, b"\x81" * 900, cbor.encode({1: "on", 9: "x" * 2000})]:
        os.remove(_FILE)
        if bad is not None:
            with open(_FILE, "wb") as file:
                file.write(bad)
        assert owner.load().updates == "off" and not owner.load().damaged, bad
        with open(_FILE, "wb") as file:
            file.write(good)


def without_any_copy_updates_are_off():
    owner.change(updates="on")
    for path in (_FILE, _COPY):
        with open(path, "wb") as file:
            file.write(b"garbage")
    assert owner.load().updates == "off" and owner.load().damaged
    for path in (_FILE, _COPY):
        open(path, "wb").close()
    assert owner.load().updates == "off", "a file that lost its content is not a file that never was"
    owner.change(updates="on")
    assert owner.load().updates == "on" and not owner.load().damaged


def a_later_client_may_know_more_switches():
    with open(_FILE, "wb") as file:
        file.write(cbor.encode({1: "ask", 3: "beta", 99: [1, 2], 100: "new"}))
    found = owner.load()
    assert (found.updates, found.channel, found.damaged) == ("ask", "beta", False)


def switches_across_power_cuts():
    """After a cut in the middle of a change the owner's word is the old one or the new one, never none."""
    cut = 0
    while True:
        prelude.flash.cut_at = -1
        owner.change(updates="off")
        prelude.flash.cut_at = prelude.flash.operations + cut
        try:
            owner.change(updates="ask")
            done = prelude.flash.operations <= prelude.flash.cut_at
        except (OSError, prelude.PowerCut, UpdateError):
            done = False
        power_cycle()
        found = owner.load()
        assert found.updates in ("off", "ask") and not found.damaged, cut
        if done:
            return
        cut += 1


def unknown_wishes_are_refused():
    by_name = [{owner.NAMES[number]: value} for number, value in WRONG_TYPES if value is not None]
    for wish in [{"updates": "sometimes"}, {"colour": "red"}, {"channel": "beta", "network": "x"}] + by_name:
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
