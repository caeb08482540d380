# What a person at the device asks for: the yes, the button, the menu, the reset; and what a power cut makes of it.
import builtins
import json
import os

import heirloom_boot as boot
import prelude
from prelude import Reset, power_cycle

from heirloom.device import button, menu, owner, ownership, presence, status
from heirloom.device.errors import UpdateError
from heirloom.device.store import write_atomic


def refuses(call, words):
    try:
        call()
    except UpdateError as error:
        assert words in str(error), error
        return
    raise AssertionError("not refused")


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def _lines(path):
    with open(path) as file:
        return file.read()


def yes_to_what_waits():
    boot.save(boot.new_state())
    refuses(owner.approve, "E_STATE: no release does not wait for the owner's yes; nothing does")
    _write("/heirloom/last", json.dumps({"waiting": {"version": "1.2.0", "order": [0, 7]}}))
    refuses(lambda: owner.approve("1.3.0"), "1.3.0 does not wait for the owner's yes; 1.2.0 does")
    assert boot.load().get("k") is None
    assert owner.approve("1.2.0") == "1.2.0"
    assert (boot.load()["k"], boot.load()["d"]) == ([0, 7], 1)
    presence.withdraw()
    assert boot.load().get("k") is None


def failures_are_forgotten():
    boot.save(boot.new_state())
    assert presence.forget_failed() == 0
    boot.change(x=[[0, 1], [0, 2]], w=[0, 3], l=[0, 1], o=[0, 2], d=0)
    assert presence.forget_failed() == 3
    state = boot.load()
    assert (state["x"], state.get("w"), state["d"], state["l"], state["o"]) == ([], None, 1, [0, 1], [0, 2])


def a_wish_for_a_medium_is_used_once():
    boot.save(boot.new_state())
    for wrong in ("", "/", "sd", "http://x/", "/sd/../heirloom", "/" + "x" * 80, "/s d"):
        refuses(lambda wrong=wrong: owner.install_from(wrong), "E_STATE: the place is a path")
    assert presence.take_media() == ""
    for given, kept in (("/sd", "/sd"), ("/sd/", "/sd"), ("file:///usb/heirloom.tar", "/usb/heirloom.tar")):
        owner.install_from(given)
        assert boot.load()["d"] == 1
        assert (presence.take_media(), presence.take_media()) == (kept, "")
    for garbage in (b"\xff\xfe", b"", b"x" * 5000, b"/sd/../x"):
        with open("/heirloom/media-once", "wb") as file:
            file.write(garbage)
        assert status.report() and presence.take_media() == ""


class Quick:
    """The module time for a test that waits for nobody."""

    def sleep_ms(self, ms):
        pass


class Pin:
    """A button; `script` is what it gives in the steps to come, 0 while it is down."""

    def __init__(self, script):
        self.script = script
        self.at = -1

    def value(self):
        self.at = min(self.at + 1, len(self.script) - 1)
        return self.script[self.at]


def a_button_counts_when_it_was_held_long_enough():
    def presses(script, hold_s=1):
        hold = button.Hold(Pin(script), hold_s, 0)
        return [step for step in range(len(script)) if hold.due()]

    assert presses([1] + [0] * 10) == [10]
    assert presses([1] + [0] * 9 + [1] + [0] * 9 + [1]) == [], "tapped"
    assert presses([0] * 99) == [], "stuck"
    assert presses([0] * 50 + [1] + [0] * 40) == [60], "once for each press"
    button.time = Quick()
    down = [0] * 10
    assert button.held(Pin(down + [1]), 1)
    assert not button.held(Pin([1]), 1)
    assert not button.held(Pin(down[:9] + [1]), 1)
    assert not button.held(Pin([0]), 1), "stuck"


def a_button_approves_and_restarts():
    import asyncio

    boot.save(boot.new_state())
    _write("/heirloom/last", json.dumps({"waiting": {"version": "1.2.0", "order": [0, 7]}}))
    asyncio.sleep_ms = lambda ms: asyncio.sleep(0)
    try:
        asyncio.run(button.watch(Pin([1] + [0] * 20), owner.approve, 1))
    except Reset:
        assert boot.load()["k"] == [0, 7]
        return
    raise AssertionError("no restart")


def a_refusal_of_what_a_button_asks_for_changes_nothing():
    boot.save(boot.new_state())
    before = boot.load()
    button.act(owner.approve, True)  # nothing waits: no restart, no exception
    assert boot.load() == before


def _answers(*lines):
    waiting = list(lines)
    builtins.input = lambda question: waiting.pop(0) if waiting else "q"
    menu.run()
    assert not waiting, waiting


def the_menu_sets_every_switch():
    boot.save(boot.new_state())
    _answers("1", "ask", "2", "no", "3", "beta", "4", "1.0.0", "5", "http://here/", "6", "yes", "7", "/sd")
    assert owner.load().as_dict() == {
        "updates": "ask",
        "network": False,
        "channel": "beta",
        "pinned": "1.0.0",
        "url": "http://here/",
        "tls_only": True,
        "media": "/sd",
    }
    _answers("3", "", "4", "", "5", "", "7", "", "6", "n", "2", "y", "1", "on", "q")
    assert owner.load().as_dict() == owner.Owner().as_dict()


def the_menu_refuses_and_goes_on():
    boot.save(boot.new_state())
    before = owner.load().as_dict()
    _answers("1", "sometimes", "5", "ftp://x/", "2", "perhaps", "7", "sd", "99", "-1", "x", "8", "yes", "")
    assert owner.load().as_dict() == before
    assert not boot.exists("/heirloom/owner.cbor")
    assert boot.load()["d"] == 0


def the_menu_does_what_it_asks_about():
    boot.save(boot.new_state())
    boot.change(x=[[0, 2]])
    _write("/heirloom/last", json.dumps({"waiting": {"version": "1.2.0", "order": [0, 7], "notes": "fixes"}}))
    _answers("11", "no", "10", "no", "8", "no")
    assert boot.load()["x"] == [[0, 2]] and not owner.stale_pending() and boot.load().get("k") is None
    _answers("11", "yes", "10", "y", "8", "yes", "9", "", "no")
    assert boot.load()["x"] == [] and owner.stale_pending() and boot.load()["k"] == [0, 7]
    assert presence.take_media() == "/sd"
    _answers("12", "no")
    assert boot.load()["k"] == [0, 7]
    _answers("12", "yes")
    assert boot.load().get("k") is None and not owner.stale_pending()


STATE = {"a": "a", "f": "b", "o": [0, 5], "l": [0, 3], "r": 4, "x": [[0, 6]], "k": [0, 7]}
DEVICE = {"product": "p", "board": "b", "id": "1", "secret": "5" * 64, "urls": ["http://x/"], "channel": "stable"}


def _lived_in():
    """A device that somebody has used."""
    prelude.flash.cut_at = -1
    state = boot.new_state()
    state.update(STATE)
    boot.save(state)
    for folder in ("/data", "/data/deep", "/data/deep/er"):
        if not boot.exists(folder):
            os.mkdir(folder)
    for path in ("/data/settings.json", "/data/deep/er/x", "/heirloom/log", "/heirloom/traceback"):
        _write(path, "mine")
    _write("/heirloom/network.json", '{"networks":[{"ssid":"home","password":"secret"}]}')
    _write("/heirloom/device.json", json.dumps(DEVICE))
    owner.change(updates="ask", url="http://mine/")
    owner.accept_stale()
    owner.install_from("/sd")


def a_factory_reset_keeps_release_floor_identity_and_wifi():
    _lived_in()
    ownership.factory_reset()
    assert os.listdir("/data") == []
    assert owner.load().as_dict() == owner.Owner().as_dict()
    assert not owner.stale_pending() and presence.take_media() == ""
    state = boot.load()
    assert [state[key] for key in "aflorx"] == ["a", "b", [0, 3], [0, 5], 4, [[0, 6]]], state
    assert state.get("k") is None
    assert boot.read_json("device.json") == DEVICE
    assert "home" in _lines("/heirloom/network.json")
    ownership.factory_reset(wifi=True)
    assert boot.read_json("network.json") == {"networks": []}


def a_new_owner_finds_nothing_of_the_old_one():
    _lived_in()
    refuses(lambda: ownership.new_owner("short"), "64 hexadecimal digits")
    secret = ownership.new_owner()
    assert len(secret) == 64 and secret != DEVICE["secret"]
    assert boot.read_json("device.json") == dict(DEVICE, secret=secret)
    assert boot.read_json("network.json") == {"networks": []}
    assert os.listdir("/data") == [] and owner.load().url is None
    assert boot.load()["l"] == [0, 3], "the floor is nobody's wish"
    assert ownership.new_owner("a" * 64) == "a" * 64


def a_change_of_owner_survives_every_power_cut():
    """Cut anywhere, the next start finishes it, or it never began."""
    cut, begun = 0, 0
    while True:
        _lived_in()
        prelude.flash.cut_at = prelude.flash.operations + cut
        try:
            ownership.new_owner("b" * 64)
            done = prelude.flash.operations <= prelude.flash.cut_at
        except (OSError, prelude.PowerCut, UpdateError):
            done = False
        power_cycle()
        promised = boot.exists("/heirloom/owed")
        begun += promised
        if promised:
            ownership.finish()
        device = boot.read_json("device.json")
        assert boot.load()["l"] == [0, 3]
        if device["secret"] == "b" * 64:
            assert os.listdir("/data") == [] and owner.load().url is None, cut
            assert boot.read_json("network.json") == {"networks": []}
        else:
            assert device == DEVICE and not promised, cut
            assert owner.load().url == "http://mine/" and _lines("/data/settings.json") == "mine"
        if done:
            break
        cut += 3
    assert begun > 5


def adopting_survives_power_cuts(old, new, step):
    """Prints how many cuts there were, and after how many a start had to finish."""
    from heirloom.device.store import TRUST

    roots = []
    for path in (old, new):
        with open("/host" + path, "rb") as file:
            roots.append(file.read())
    import binascii

    part = str(binascii.b2a_base64(roots[1]), "ascii")
    cut, finished = 0, 0
    while True:
        _lived_in()
        for name in ("root.json", "provisioned.json", "timestamp.json", "releases-b.json", "time"):
            write_atomic(TRUST + name, roots[0])
        ownership.receive_root(part, True)
        prelude.flash.cut_at = prelude.flash.operations + cut
        try:
            ownership.adopt("weather", ["http://new/"], other=True)
            done = prelude.flash.operations <= prelude.flash.cut_at
        except (OSError, prelude.PowerCut, UpdateError):
            done = False
        power_cycle()
        _judge(roots)
        if boot.exists("/heirloom/owed"):
            finished += 1
            ownership.finish()
            _judge(roots)
            assert boot.load()["o"] == [0, 0]
        assert boot.read_json("device.json")["product"] == ("weather" if boot.load()["o"] == [0, 0] else "p"), cut
        assert _lines("/data/settings.json") == "mine" and owner.load().url == "http://mine/"
        if done:
            break
        cut += int(step)
    print(cut, finished)


def _judge(roots):
    """Whatever the cut: both roots are whole, and the floor is gone only when the new root is there."""
    from heirloom.device.store import TRUST

    found = []
    for name in ("provisioned.json", "root.json"):
        with open(TRUST + name, "rb") as file:
            found.append(roots.index(file.read()))
    if boot.load()["l"] == [0, 0]:
        assert found == [1, 1], found
        assert not boot.exists(TRUST + "timestamp.json") and not boot.exists(TRUST + "time")
    else:
        assert boot.load()["r"] == 4
