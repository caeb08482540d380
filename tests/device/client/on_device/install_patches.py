# heap: 2m
# Staging a release by patches, on a real littlefs: what they save, and that nothing depends on them.
import hashlib
import os

import heirloom_boot as boot
import prelude
from install_release import Places, installed, name_of, refuses, whole
from prelude import power_cycle

from heirloom.device import blobs, install
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest

OLD = {"main.py": b"old main", "big.bin": bytes(range(256)) * 40}
NEW = {"main.py": b"new main", "big.bin": bytes(range(256)) * 20 + b"CHANGED!" + bytes(range(256)) * 19}


def sha(data):
    return hashlib.sha256(data).digest()


def number(value):
    data = bytearray([(0x40 if value < 0 else 0) | abs(value) & 63])
    rest = abs(value) >> 6
    while rest:
        data[-1] |= 0x80
        data.append(rest & 127)
        rest >>= 7
    return bytes(data)


def stored(body):
    """Raw deflate without compression, in one block."""
    size = len(body)
    return b"\x01" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + body


def stored_runs(*rounds):
    """A patch whose rounds are (zeros to add, new bytes, move)."""
    body = b"\x00" + number(sum(same + len(fresh) for same, fresh, _ in rounds)) + b"\x00"
    for same, fresh, move in rounds:
        body += number(same) + bytes(same) + number(len(fresh)) + fresh + number(move)
    return deflated(body)


def deflated(body):
    """Raw deflate with the fixed codes of RFC 1951, 3.2.6, in which only runs of a byte are made shorter."""
    out, bits, count = bytearray(), 0, 0
    for code, size in codes(body):
        for bit in range(size - 1, -1, -1):
            bits |= (code >> bit & 1) << count
            count += 1
            if count == 8:
                out.append(bits)
                bits = count = 0
    out.append(bits)
    return bytes(out)


def codes(body):
    """(code, bits) of one last block."""
    yield 3, 2
    yield 0, 1
    at = 0
    while at < len(body):
        value = body[at]
        yield (0x30 + value, 8) if value < 144 else (0x190 + value - 144, 9)
        at += 1
        run = 0
        while at + run < len(body) and body[at + run] == value:
            run += 1
        for length, code, size in ((258, 0xC5 << 5, 13), (3, 1 << 5, 12)):  # with the distance 1, which is five zeros
            while run >= length:
                yield code, size
                run -= length
                at += length
    yield 0, 7


GOOD = stored_runs((256 * 20, b"CHANGED!", 0), (256 * 19, b"", 0))


def manifest(files, sequence, patches, floor=0):
    entries = [(path, len(data), sha(data)) for path, data in sorted(files.items())]
    return Manifest(
        product="p", board="b", version="%d" % sequence, epoch=0, sequence=sequence, floor=floor, files=entries,
        patches=patches,
    )  # fmt: skip


def record(old, new, patch, algorithm="detools-deflate", length=None):
    return (sha(old), sha(new), sha(patch), len(patch) if length is None else length, algorithm)


def staged(*patches, files=NEW, sequence=2):
    with open(install.STAGING, "wb") as file:
        file.write(manifest(files, sequence, patches).encode())


def update(places):
    return install.install(places, lambda done, total: None)


def asked(places):
    return [name for name, _ in places.asked]


def big(files):
    return files["big.bin"]


def both(files, patch):
    return list(files.values()) + [patch]


def is_new(slot="b"):
    assert boot.load()["y"][:2] == [0, 2] and whole(slot)
    left = os.listdir("/heirloom/blobs")
    assert not [name for name in left if name.startswith("tmp-")], left


def a_patch_saves_the_bytes():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    places = Places([NEW["main.py"], GOOD])
    fetched = update(places)
    assert sorted(asked(places)) == sorted([name_of(NEW["main.py"]), name_of(GOOD)])
    assert fetched == {"bytes": len(NEW["main.py"]) + len(GOOD), "blobs": 2, "patches": 1}, fetched
    assert len(GOOD) < len(big(NEW)) // 10, len(GOOD)
    is_new()
    assert whole("a")


def in_full(places, wrong=0):
    """What comes when there is no use for a patch: both files, and nothing of patches remains."""
    fetched = update(places)
    assert "patches" not in fetched
    assert fetched["bytes"] == len(NEW["main.py"]) + len(big(NEW)) + wrong, fetched
    assert name_of(big(NEW)) in asked(places)
    is_new()


def without_the_old_file_it_comes_in_full():
    installed({"main.py": b"old main", "big.bin": bytes(7)})
    staged(record(big(OLD), big(NEW), GOOD))
    places = Places(both(NEW, GOOD))
    in_full(places)
    assert name_of(GOOD) not in asked(places)


def a_damaged_old_file_is_not_patched():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    with open(blobs.path_of(sha(big(OLD))), "r+b") as file:
        file.seek(300)
        file.write(b"X")
    places = Places(both(NEW, GOOD))
    in_full(places)
    assert name_of(GOOD) not in asked(places)


def an_old_file_of_another_length_is_not_patched():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    with open(blobs.path_of(sha(big(OLD))), "ab") as file:
        file.write(b"X")
    in_full(Places(both(NEW, GOOD)))


def another_algorithm_is_left_alone():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD, "bsdiff"))
    places = Places(both(NEW, GOOD))
    in_full(places)
    assert name_of(GOOD) not in asked(places)


def a_patch_that_the_server_lacks_is_done_without():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    in_full(Places(NEW.values()))


def a_patch_of_another_hash_is_done_without():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    places = Places(both(NEW, GOOD))
    places.blobs[name_of(GOOD)] = bytes(len(GOOD))
    fetched = update(places)
    assert "patches" not in fetched and name_of(big(NEW)) in asked(places)
    is_new()


def signed_nonsense_is_done_without():
    """Signed by somebody, but no patch, one of something else, or one that lies about its length."""
    elsewhere = stored_runs((256 * 20, b"CHANGEd!", 0), (256 * 19, b"", 0))
    longer = stored_runs((256 * 20, b"CHANGED!", 0), (256 * 20, b"", 0))
    for bad in (b"nonsense", elsewhere, longer, GOOD[:-5], stored(b"\x00" + number(len(big(NEW))) + b"\x00" * 4000)):
        installed(OLD)
        staged(record(big(OLD), big(NEW), bad))
        in_full(Places(both(NEW, bad)), len(bad))
        assert "instead of its patch" in open("/heirloom/log").read()


def the_shortest_patch_of_what_is_held_is_taken():
    other = b"another base" * 300
    from_other = stored_runs((0, big(NEW), 0))
    never = stored_runs((1, b"", 0))
    installed({"main.py": b"old main", "big.bin": big(OLD), "other.bin": other})
    held = [record(other, big(NEW), from_other), record(big(OLD), big(NEW), GOOD)]
    staged(record(b"not here", big(NEW), never), held[0], held[1])
    places = Places([NEW["main.py"], GOOD, from_other, never])
    assert update(places)["patches"] == 1
    assert name_of(GOOD) in asked(places)
    is_new()


def a_patch_longer_than_what_is_missing_is_not_taken():
    installed(OLD)
    staged(record(big(OLD), big(NEW), GOOD))
    with open(blobs.partial_of(sha(big(NEW))), "wb") as file:
        file.write(big(NEW)[: 1 - len(GOOD)])
    places = Places(both(NEW, GOOD))
    update(places)
    assert (name_of(big(NEW)), len(big(NEW)) - len(GOOD) + 1) in places.asked
    assert name_of(GOOD) not in asked(places)
    is_new()


def a_patch_goes_on_where_it_was_cut():
    fresh = bytes(os.urandom(30000))
    new = {"main.py": OLD["main.py"], "big.bin": big(OLD) + fresh}
    patch = stored_runs((len(big(OLD)), fresh, 0))
    installed(OLD)
    staged(record(big(OLD), big(new), patch), files=new)
    refuses(lambda: update(Places([patch], [20000, 0])), "E_NOT_FOUND")  # the file in full is not to be had at all
    places = Places([patch])
    assert update(places)["patches"] == 1
    assert places.asked == [(name_of(patch), 20000)], places.asked
    is_new()


def flash_too_full_for_both_takes_the_full_file():
    """The patch needs its own room beside the file; the file alone still fits."""
    new = {"main.py": b"new main", "big.bin": bytes(os.urandom(16384)) + big(OLD)}
    patch = stored_runs((0, big(new)[:16384], 0), (len(big(OLD)), b"", 0))
    installed(OLD)
    fill = (os.statvfs("/")[3] - 17) * 4096
    with open("/data.bin", "wb") as file:
        for _ in range(fill // 4096):
            file.write(bytes(4096))
    staged(record(big(OLD), big(new), patch), files=new)
    places = Places(both(new, patch))
    fetched = update(places)
    assert "patches" not in fetched, (fetched, os.statvfs("/"))
    is_new()


def power_fails_at_each_flash_operation_of_a_patch():
    """After each cut the device has release 1 or 2, whole, and the next try succeeds; most of them by the patch."""
    cut, patched, operations = 0, 0, 0
    while True:
        prelude.flash.cut_at = -1
        installed(OLD)
        staged(record(big(OLD), big(NEW), GOOD))
        power_cycle()
        prelude.flash.cut_at = cut
        try:
            update(Places(both(NEW, GOOD)))
        except (OSError, prelude.PowerCut, UpdateError):
            power_cycle()
            state = boot.load()
            slot = boot.choose(state)
            assert slot == state["a"] and whole(slot), (cut, state)
            if not state["t"]:
                assert state["o"] == [0, 1]
                staged(record(big(OLD), big(NEW), GOOD))
                patched += update(Places(both(NEW, GOOD))).get("patches", 0)
                is_new()
                operations += 1
            cut += 4
            continue
        break
    assert operations > 10 and patched > operations // 3, (operations, patched)
