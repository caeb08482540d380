# heap: 2m
# Migrations of what an application keeps: on a copy, committed by confirming, undone by a rollback, at any power cut.
import json
import os
import sys

import heirloom_boot as boot
import prelude
from install_patches import sha
from install_release import Places
from prelude import Reset, power_cycle

from heirloom.device import install, migrating
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest

KEEP = ["log", "new.json", "old.json"]
OLD = {"main.py": b"old main", "old.json": b'{"seed": 1}'}
MIGRATE = b"""
import json, os
with open("old.json") as file:
    value = json.load(file)
value["version"] = 2
with open("new.json", "w") as file:
    json.dump(value, file)
os.remove("old.json")
with open("log/migrated", "w") as file:
    file.write("once")
"""
NEW = {"main.py": b"new main", "heirloom_migrate.py": MIGRATE}
BEFORE = {"old.json": b'{"name": "roof"}', "log/today": b"cold" * 500}
AFTER = {"new.json": {"name": "roof", "version": 2}, "log/today": BEFORE["log/today"], "log/migrated": b"once"}


def staged(files, sequence, floor=0):
    entries = [(path, len(data), sha(data)) for path, data in sorted(files.items())]
    manifest = Manifest(
        product="p",
        board="b",
        version="%d" % sequence,
        epoch=0,
        sequence=sequence,
        floor=floor,
        files=entries,
        keep=KEEP,
    )
    with open(install.STAGING, "wb") as file:
        file.write(manifest.encode())


def release(files, sequence):
    staged(files, sequence)
    install.install(Places(files.values()), lambda done, total: None)


def begin(new=NEW):
    """Release 1 is confirmed and has settings; release 2 is on trial."""
    migrating.clear("/data")
    migrating.clear(migrating.HOME)
    boot.save(boot.new_state())
    release(OLD, 1)
    boot.confirm()
    for path, data in BEFORE.items():
        migrating._make_folders("/data/" + path)
        with open("/data/" + path, "wb") as file:
            file.write(data)
    release(new, 2)


def start(_=None):
    """What main.py does before the application starts, and boot.py before it."""
    state = boot.load()
    slot = boot.choose(state)
    boot.mount(slot)
    if state["t"] or boot.exists("/heirloom/migrated"):
        migrating.settle(state, slot)


def end(_=None):
    os.chdir("/")
    try:
        os.umount("/app")
    except OSError:
        pass


def kept(_=None):
    """What lies under /data."""
    found = {}

    def walk(folder, prefix):
        for name in os.listdir(folder):
            path = folder + "/" + name
            if os.stat(path)[0] == 0x4000:
                walk(path, prefix + name + "/")
            else:
                with open(path, "rb") as file:
                    found[prefix + name] = file.read()

    if boot.exists("/data"):
        walk("/data", "")
    return found


def is_before(_=None):
    assert kept() == BEFORE, kept()


def is_after(_=None):
    found = kept()
    found["new.json"] = json.loads(found["new.json"])
    assert found == AFTER, found


def seen(path):
    with open("/app/" + path) as file:
        return file.read()


def the_copy_is_what_the_trial_sees():
    begin()
    start()
    is_before()
    assert json.loads(seen("new.json")) == AFTER["new.json"]
    assert "old.json" not in os.listdir("/app")
    with open("/app/log/today", "w") as file:
        file.write("warm")
    assert seen("log/today") == "warm"
    is_before()
    assert migrating.NAME not in sys.modules
    end()


def confirming_commits_at_the_next_start():
    begin()
    start()
    boot.confirm()
    is_before()
    end()
    start()
    is_after()
    assert json.loads(seen("new.json")) == AFTER["new.json"]
    assert not boot.exists("/heirloom/migrated")
    end()
    start()
    is_after()
    end()


def what_the_application_wrote_in_between_is_kept():
    begin()
    start()
    boot.confirm()
    with open("/app/log/more", "w") as file:
        file.write("written while it still runs on the copy")
    end()
    start()
    assert kept()["log/more"] == b"written while it still runs on the copy"
    end()


def a_rollback_undoes_it():
    begin()
    start()
    end()
    state = boot.load()
    state["t"][0] = 1
    boot.charge(state, False)
    boot.save(state)
    start()
    is_before()
    assert seen("old.json") == str(BEFORE["old.json"], "utf-8")
    assert not boot.exists("/heirloom/migrated")
    end()


def each_start_of_a_trial_begins_anew():
    begin()
    for _ in range(2):
        start()
        assert json.loads(seen("new.json")) == AFTER["new.json"]
        with open("/app/new.json", "w") as file:
            file.write("half a thought")
        end()
        power_cycle()
    start()
    assert json.loads(seen("new.json")) == AFTER["new.json"]
    end()


def a_migration_that_fails_is_a_fault_of_its_release():
    begin({"main.py": b"new main", "heirloom_migrate.py": b"open('old.json', 'w').close()\nraise ValueError('lost')\n"})
    for left in (2, 1, None):
        try:
            start()
        except Reset:
            end()
            state = boot.load()
            assert (state["t"] and state["t"][0]) == left, state
            is_before()
            assert not boot.exists("/heirloom/migrated")
            continue
        raise AssertionError("no reset")
    assert boot.load()["x"] == [[0, 2]] and boot.load()["a"] == "a"
    with open("/heirloom/traceback") as file:
        assert "lost" in file.read()
    start()
    is_before()
    end()


def without_a_migration_nothing_is_copied():
    begin({"main.py": b"new main"})
    start()
    assert not boot.exists("/heirloom/migrated")
    with open("/app/old.json", "w") as file:
        file.write("{}")
    assert kept()["old.json"] == b"{}"
    end()


def paths_within_others_go_with_them():
    assert migrating.outermost(["a", "a/b", "ab", "c/d"]) == ["a", "ab", "c/d"]


def two_migrations_in_a_row():
    """The second begins with what the first has committed, although nothing started in between."""
    begin()
    start()
    boot.confirm()
    end()
    second = b"with open('log/second', 'w') as file:\n    file.write(open('new.json').read())\n"
    release({"main.py": b"newer", "heirloom_migrate.py": second}, 3)
    start()
    is_after()
    assert "roof" in seen("log/second")
    boot.confirm()
    end()
    start()
    assert "roof" in str(kept()["log/second"], "utf-8")
    end()


def _cut(step, check, stride=1):
    """Power fails at each flash operation of a step, and once more in what follows; then all goes on."""
    cut, count = 0, 0
    while True:
        prelude.flash.cut_at = -1
        step[0]()
        power_cycle()
        prelude.flash.cut_at = cut
        done = False
        try:
            step[1]()
            done = True
        except (OSError, prelude.PowerCut, UpdateError, Reset):
            pass
        end()
        power_cycle()
        prelude.flash.cut_at = cut % 7
        try:
            step[1]()
        except (OSError, prelude.PowerCut, UpdateError, Reset):
            pass
        end()
        power_cycle()
        check()
        count += 1
        if done:
            return count
        cut += stride


def power_fails_while_a_copy_is_made():
    def check():
        is_before()
        if not boot.load()["t"]:  # cuts look like faults to code that goes on, which a device does not
            return
        start()
        is_before()
        assert json.loads(seen("new.json")) == AFTER["new.json"]
        assert seen("log/today") == str(BEFORE["log/today"], "utf-8")
        end()

    assert _cut((begin, start), check, 6) > 10


def power_fails_while_it_is_committed():
    def confirmed():
        begin()
        start()
        boot.confirm()
        end()

    def check():
        start()
        is_after()
        assert not boot.exists("/heirloom/migrated")
        end()

    assert _cut((confirmed, start), check, 2) > 5


def power_fails_while_it_is_thrown_away():
    def rolled_back():
        begin()
        start()
        end()
        boot.change(a="a", f=None, t=None, y=None)

    def check():
        start()
        is_before()
        assert not boot.exists("/heirloom/migrated")
        end()

    assert _cut((rolled_back, start), check) > 3
