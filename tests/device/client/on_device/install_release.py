# heap: 2m
# Staging, activation and repair, with places that need no network and lie in the same heap.
import binascii
import hashlib
import os

import heirloom_boot as boot
import prelude
from prelude import Reset, power_cycle

from heirloom.device import blobs, install, recovery
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest


def name_of(data):
    return str(binascii.hexlify(hashlib.sha256(data).digest()), "ascii")


class Response:
    def __init__(self, data, offset, limit):
        self.offset = offset
        self._data = data[offset:]
        self._limit = limit
        self.length = len(self._data)

    def readinto(self, buffer):
        count = min(len(buffer), len(self._data), 700)
        if self._limit is not None:
            if not self._limit:
                raise UpdateError("E_NETWORK", "cut short")
            count = min(count, self._limit)
            self._limit -= count
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        self.length -= count
        return count


class Places:
    """Has every blob of `contents`; `limits` cut the first answers short after so many bytes."""

    def __init__(self, contents, limits=()):
        self.blobs = {name_of(data): data for data in contents}
        self.limits = list(limits)
        self.asked = []
        self.turned = 0

    def next(self):
        self.turned += 1

    def open(self, path, offset=0):
        name = path.split("/")[1]
        self.asked.append((name, offset))
        if name not in self.blobs:
            raise UpdateError("E_NOT_FOUND", name)
        return Response(self.blobs[name], offset, self.limits.pop(0) if self.limits else None)


OLD = {"main.py": b"old main", "lib/same.py": b"same" * 300, "big.bin": bytes(5000)}
NEW = {"main.py": b"new main", "lib/same.py": b"same" * 300, "big.bin": bytes(range(256)) * 40}


def manifest(files, sequence=1, floor=0):
    entries = [(path, len(data), hashlib.sha256(data).digest()) for path, data in sorted(files.items())]
    return Manifest(
        product="p", board="b", version="%d" % sequence, epoch=0, sequence=sequence, floor=floor, files=entries
    )


def staged(files, sequence, floor=0):
    with open(install.STAGING, "wb") as file:
        file.write(manifest(files, sequence, floor).encode())


def installed(files=OLD):
    """Release 1 is confirmed in slot a."""
    boot.save(boot.new_state())
    staged(files, 1)
    install.install(Places(files.values()), lambda done, total: None)
    boot.confirm()
    assert boot.load()["o"] == [0, 1]


def refuses(call, code):
    try:
        call()
    except UpdateError as error:
        assert error.code == code, error
        return str(error)
    raise AssertionError("not refused")


def whole(slot):
    return recovery.damaged(slot) == []


def only_what_is_missing_is_fetched():
    installed()
    staged(NEW, 2)
    places = Places(NEW.values())
    seen = []
    fetched = install.install(places, lambda done, total: seen.append((done, total)))
    assert sorted(name for name, _ in places.asked) == sorted([name_of(NEW["main.py"]), name_of(NEW["big.bin"])])
    total = len(NEW["main.py"]) + len(NEW["big.bin"])
    assert fetched == {"bytes": total, "blobs": 2}
    assert seen[-1] == (total, total)
    state = boot.load()
    assert (state["a"], state["f"], state["t"], state["y"], state["d"]) == ("b", "a", [3, 10, 0], [0, 2, 0, "check"], 0)
    assert whole("a") and whole("b")
    assert "staging.cbor" not in os.listdir("/heirloom/slots")


def nothing_is_staged_during_a_trial():
    installed()
    staged(NEW, 2)
    install.install(Places(NEW.values()), lambda done, total: None)
    staged(OLD, 3)
    refuses(lambda: install.install(Places(OLD.values()), lambda done, total: None), "E_TRIAL")


def what_nobody_names_is_collected():
    installed()
    for sequence in (2, 3):
        files = {"main.py": b"main %d" % sequence}
        staged(files, sequence)
        with open("/heirloom/blobs/tmp-" + "0" * 64, "wb") as file:
            file.write(b"left over")
        install.install(Places(files.values()), lambda done, total: None)
        boot.confirm()
    left = os.listdir("/heirloom/blobs")
    # Release 1 was the fallback until 3 was activated; the next installation takes what is left of it.
    staged({"main.py": b"main 4"}, 4)
    install.install(Places([b"main 4"]), lambda done, total: None)
    left = sorted(os.listdir("/heirloom/blobs"))
    assert left == sorted([name_of(b"main %d" % sequence) for sequence in (2, 3, 4)]), left


def a_cut_download_goes_on_where_it_stopped():
    boot.save(boot.new_state())
    data = bytes(range(256)) * 200
    staged({"big.bin": data}, 1)
    refuses(lambda: install.install(Places([data], [20000, 0]), lambda done, total: None), "E_NETWORK")
    places = Places([data])
    install.install(places, lambda done, total: None)
    assert places.asked == [(name_of(data), 20000)], places.asked
    assert whole("a")


def a_wrong_beginning_is_thrown_away():
    boot.save(boot.new_state())
    data = bytes(range(256)) * 40
    staged({"big.bin": data}, 1)
    with open("/heirloom/blobs/tmp-" + name_of(data), "wb") as file:
        file.write(b"wrong" * 100)
    places = Places([data])
    install.install(places, lambda done, total: None)
    assert [offset for _, offset in places.asked] == [500, 0]
    assert places.turned == 1
    assert whole("a")


def lies_about_a_blob_are_refused():
    boot.save(boot.new_state())
    data = b"good" * 500
    for lie, code in ((b"evil" * 500, "E_HASH"), (b"good" * 499, "E_LENGTH"), (b"good" * 501, "E_LENGTH")):
        staged({"big.bin": data}, 1)
        places = Places([data])
        places.blobs[name_of(data)] = lie
        refuses(lambda places=places: install.install(places, lambda done, total: None), code)
        assert boot.load()["a"] is None
        assert name_of(data) not in os.listdir("/heirloom/blobs")
        assert len(places.asked) <= 6


def more_than_signed_without_a_length_is_refused():
    boot.save(boot.new_state())
    staged({"main.py": b"good"}, 1)

    class Unsized(Response):
        def readinto(self, buffer):
            self.length = 0
            count = super().readinto(buffer)
            self.length = None
            return count

    def unsized(path, offset=0):
        response = Unsized(b"good" * 100, offset, None)
        response.length = None
        return response

    places = Places([])
    places.open = unsized
    refuses(lambda: install.install(places, lambda done, total: None), "E_LENGTH")
    assert boot.load()["a"] is None


def the_fallback_is_never_a_release_that_was_not_tried():
    """Its slot is overwritten by the next release: a cut in between must not leave it named."""
    cut = 0
    while True:
        prelude.flash.cut_at = -1
        installed()
        for sequence, files in ((2, NEW), (3, OLD)):
            staged(files, sequence)
            power_cycle()
            prelude.flash.cut_at = cut if sequence == 3 else -1
            try:
                install.install(Places(files.values()), lambda done, total: None)
            except (OSError, prelude.PowerCut, UpdateError):
                break
            if sequence == 3:
                return
            boot.confirm()
        power_cycle()
        state = boot.load()
        if state["f"] and not state["t"]:
            assert blobs.load(boot.slot_path(state["f"])).order == (0, 1), (cut, state)
        cut += 1


def flash_that_went_bad_is_fetched_again():
    installed()
    with open(blobs.path_of(hashlib.sha256(OLD["lib/same.py"]).digest()), "r+b") as file:
        file.write(b"X")
    staged(NEW, 2)
    places = Places(NEW.values())
    install.install(places, lambda done, total: None)
    assert name_of(NEW["lib/same.py"]) in [name for name, _ in places.asked]
    assert whole("b")


def a_release_too_large_is_refused_before_the_first_byte():
    installed()
    staged({"main.py": b"x", "big.bin": bytes(300000)}, 2)
    places = Places([b"x", bytes(10)])
    assert "blocks" in refuses(lambda: install.install(places, lambda done, total: None), "E_SPACE")
    assert places.asked == []
    assert boot.load()["a"] == "a" and whole("a")


def the_fallback_makes_room():
    installed({"main.py": b"1", "big.bin": bytes(66000)})
    second = {"main.py": b"2", "big.bin": bytes(b"2" * 66000)}
    staged(second, 2)
    install.install(Places(second.values()), lambda done, total: None)
    boot.confirm()
    assert boot.load()["f"] == "a"
    third = {"main.py": b"3", "big.bin": bytes(b"3" * 66000)}
    staged(third, 3)
    install.install(Places(third.values()), lambda done, total: None)
    assert boot.load()["a"] == "a" and boot.load()["f"] == "b"
    assert whole("a") and whole("b")


def power_fails_at_each_flash_operation():
    """After each cut the device has release 1 or 2, whole, and the next try succeeds."""
    installed()
    cut, old, new = 0, 0, 0
    while True:
        prelude.flash.cut_at = -1
        installed()
        staged(NEW, 2)
        power_cycle()
        prelude.flash.cut_at = cut
        try:
            install.install(Places(NEW.values()), lambda done, total: None)
        except (OSError, prelude.PowerCut, UpdateError):
            power_cycle()
            state = boot.load()
            slot = boot.choose(state)
            assert slot == state["a"] and whole(slot), (cut, state)
            if state["t"]:
                new += 1
            else:
                old += 1
                assert state["o"] == [0, 1]
                staged(NEW, 2)
                install.install(Places(NEW.values()), lambda done, total: None)
                assert boot.load()["y"][:2] == [0, 2] and whole(boot.load()["a"])
            cut += 3
            continue
        break
    print(old, new)


def the_state_is_made_anew_from_the_slots():
    installed()
    staged(NEW, 2, floor=1)
    install.install(Places(NEW.values()), lambda done, total: None)
    os.remove("/heirloom/state")
    state = recovery.rebuild()
    assert (state["a"], state["f"], state["t"], state["y"]) == ("b", "a", [3, 10, 0], [0, 2, 1, "check"]), state
    assert (state["o"], state["l"]) == ([0, 1], [0, 0])
    os.remove(blobs.path_of(hashlib.sha256(NEW["main.py"]).digest()))
    os.remove("/heirloom/state")
    state = recovery.rebuild()
    assert (state["a"], state["f"], state["t"], state["o"]) == ("a", None, None, [0, 1]), state
    for slot in "ab":
        with open(boot.slot_path(slot), "wb") as file:
            file.write(b"garbage")
    assert recovery.rebuild()["a"] is None


def a_state_made_anew_knows_no_way_back_below_a_floor():
    installed()
    staged(NEW, 2, floor=2)
    install.install(Places(NEW.values()), lambda done, total: None)
    boot.confirm()
    os.remove("/heirloom/state")
    state = recovery.rebuild()
    assert (state["a"], state["f"], state["y"]) == ("b", None, [0, 2, 2, "check"]), state


def a_slot_that_cannot_run_gives_way():
    installed()
    staged(NEW, 2)
    install.install(Places(NEW.values()), lambda done, total: None)
    for expected in ("a", None):
        try:
            recovery.fall_over(boot.load(), boot.load()["a"], "a test")
        except Reset:
            state = boot.load()
            assert (state["a"], state["f"], state["t"], state["x"]) == (expected, None, None, []), state
            continue
        raise AssertionError("no reset")
