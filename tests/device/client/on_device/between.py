# Between two steps of the client; beside whole_client.py, whose heap is counted.
import json
import os
import sys

import heirloom_boot as boot
import whole_client


def _alive(clock):
    sys.modules["time"] = whole_client.Clock()
    sys.modules["time"].shown = int(clock)
    boot._PATH[:] = sys.path  # here the client lies on the host


def lose(slot):
    """The flash loses a file of a release."""
    _alive(0)
    manifest = boot.client("blobs").load(boot.slot_path(slot))
    os.remove(boot.client("blobs").path_of(next(iter(manifest.files))[2]))


def overtaken(clock, switches):
    """A release is found; before it is installed, somebody else looks, with other switches of the owner's."""
    _alive(clock)
    mine = boot.client("updater").Updater()
    release = mine.check()
    boot.client("owner").change(**json.loads(switches))
    said = whole_client._update("look")
    try:
        done = mine.install(release)
    except Exception as error:
        if not hasattr(error, "code"):
            raise
        done = str(error)
    print("=> " + json.dumps([release.version, said, done]))


def cut_while_wishing():
    """The power fails before the second file of install_from() is written."""
    _alive(0)
    presence = boot.client("presence")
    writes = []

    def write(path, data):
        if writes:
            raise KeyboardInterrupt
        writes.append(path)
        write_atomic(path, data)

    write_atomic, presence.write_atomic = presence.write_atomic, write
    try:
        presence.install_from("/sd", True)
    except KeyboardInterrupt:
        pass
    assert not boot.client("owner").stale_pending(), writes
    assert boot.client("presence").wished_media() == "/sd"


def reset_before_the_commit():
    """A factory reset between a migration's confirm and the start that moves its copy."""
    _alive(0)
    for folder in ("/data", "/heirloom/migrated", "/heirloom/migrated/data"):
        os.mkdir(folder)
    for path in ("/data/diary", "/heirloom/migrated/data/diary"):
        with open(path, "w") as file:
            file.write("of the owner before")
    with open("/heirloom/migrated/note", "w") as file:
        json.dump({"order": [1, 2], "keep": ["diary"]}, file)
    boot.save(boot.new_state())
    boot.change(o=[1, 2])
    boot.client("ownership").factory_reset()
    boot.client("migrating").settle(boot.load(), "a")
    assert os.listdir("/data") == [], os.listdir("/data")


def beside(url):
    """One blob is fetched beside the application."""
    import asyncio

    _alive(0)
    background = boot.client("background")
    try:
        asyncio.run(background._blob(url, False, 100, bytes(32)))
    except Exception as error:
        print("=>", repr(error))
