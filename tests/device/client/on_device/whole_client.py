# The whole client, from the places to the installed release. `life` obeys a list of steps and prints what came of it.
import gc
import json
import os
import sys
import time as real_time

import heirloom_boot as boot


class Clock:
    """The module time with another clock, as on a device that has none or a wrong one."""

    def __init__(self):
        self.shown = 0

    def __getattr__(self, name):
        return getattr(real_time, name)

    def time(self):
        return self.shown

    def gmtime(self, seconds=None):
        return real_time.gmtime(self.shown if seconds is None else seconds)


def _step(step):
    """One step: a name and its arguments."""
    name = step[0]
    if name == "device":
        with open("/heirloom/device.json", "w") as file:
            json.dump(step[1], file)
    elif name == "root":
        _copy(step[1])
    elif name == "clock":
        sys.modules["time"].shown = step[1]
    elif name == "owner":
        boot.client("owner").change(**step[1])
    elif name == "accept_stale":
        boot.client("owner").accept_stale()
    elif name == "state":
        boot.change(**step[1])
    elif name == "repeat":
        return [_step(step[2]) for _ in range(step[1])][-1]
    elif name == "fill":
        _fill(step[1])
    elif name == "call":
        return _call(*step[1:])
    elif name == "media":
        return _update(step[1], "/host" + step[2], len(step) > 3 and step[3])
    else:
        return _update(name)


def _fill(blocks):
    """Fills the flash but for so many blocks; None: frees it again."""
    if blocks is None:
        for name in os.listdir("/filling"):
            os.remove("/filling/" + name)
        return
    if not boot.exists("/filling"):
        os.mkdir("/filling")
    number = 0
    while not 0 <= os.statvfs("/")[3] <= blocks:
        number += 1
        try:
            with open("/filling/%d" % number, "wb") as file:
                file.write(bytes(4000))
        except OSError as error:
            assert error.errno == 28
            return


def _call(function, arguments):
    """A function of the client, as in "presence.change"; what it returned, True for nothing, or its refusal."""
    module, name = function.split(".")
    try:
        done = getattr(boot.client(module), name)(**arguments)
        return True if done is None else done.as_dict() if hasattr(done, "as_dict") else done
    except Exception as error:
        if not hasattr(error, "code"):
            raise
        return str(error)


def _copy(path):
    with open("/host" + path, "rb") as source, open("/heirloom/trust/provisioned.json", "wb") as copy:
        copy.write(source.read())


def _update(name, media="", present=False):
    if name == "look_beside":
        import asyncio

        return asyncio.run(boot.client("poll").look())
    if name == "places":
        return boot.client("updater").Updater().places().urls()
    if name == "status":
        return boot.client("status").report()
    updater = boot.client("updater").Updater(looking=name == "look", media=media, present=present)
    try:
        release = updater.check()
        if release and name == "install":
            updater.install(release)
            boot.confirm()
        return release and release.version
    except Exception as error:
        if not hasattr(error, "code"):
            raise
        return str(error)
    finally:
        boot.forget()
        gc.collect()


def life(path):
    """Steps as JSON in a file of the host; prints the list of what those that say something said."""
    sys.modules["time"] = Clock()
    gc.threshold(boot._TIDY_BYTES)  # as main.py does
    boot._PATH[:] = sys.path  # here the client lies on the host
    with open("/host" + path) as file:
        steps = json.load(file)
    if boot.load() is None:
        boot.save(boot.new_state())
    said = []
    for step in steps:
        said.append(_step(step))
    print("=> " + json.dumps([one for one in said if one is not None]))
