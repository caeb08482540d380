# ruff: noqa: PTH102, PTH107, PTH116, PTH123, PTH208, E402, PLW0603, UP031
"""Runs on MicroPython: devices with the real client over a real littlefs. Only network and clock are not its own.

One JSON document a line on stdin, one answer a line on stdout: make a device, or let one live through a step. It is
served files at some time, checks and installs; a release that it installs is confirmed at once. Flash lies in files.
MicroPython has no pathlib, and the modules of the client are imported when there is a file system like a device's.
"""

import binascii
import gc
import hashlib
import json
import os
import sys

import vfs

_BLOCK = 4096
_BLOCKS = 64


class Memory:
    """A block device."""

    def __init__(self):
        self.data = bytearray(_BLOCK * _BLOCKS)

    def readblocks(self, block, buffer, offset=0):
        start = block * _BLOCK + offset
        buffer[:] = memoryview(self.data)[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * _BLOCK + offset
        self.data[start : start + len(buffer)] = buffer

    def ioctl(self, operation, argument):
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        return 0


class Kept:
    """A littlefs that outlives its unmounting: whoever still has a file of it open may close that at leisure."""

    def __init__(self, flash):
        self._fs = vfs.VfsLfs2(flash)
        for name in ("open", "ilistdir", "stat", "statvfs", "remove", "rename", "mkdir", "rmdir", "chdir", "getcwd"):
            setattr(self, name, getattr(self._fs, name))

    def mount(self, readonly, mkfs):
        self._fs.mount(readonly, mkfs)

    def umount(self):
        pass


def mount(path):
    """Takes the flash out of a file of the host; blank flash when there is none."""
    global flash
    os.chdir("/")
    vfs.umount("/")
    gc.collect()
    flash = Memory()
    if path is None:
        vfs.VfsLfs2.mkfs(flash)
    else:
        with open("/host" + path, "rb") as file:
            file.readinto(flash.data)
    vfs.mount(Kept(flash), "/")


sources = sys.argv[1]
vfs.mount(vfs.VfsPosix("/"), "/host")
mount(None)
sys.path[:] = [".frozen", "/host" + sources, "/host" + sources + "/heirloom/device/rootfs/lib"]

import heirloom_boot as boot

boot.forget = lambda *keep: None  # loading modules anew for each check would only take time
boot.print = lambda *words: None

from heirloom.device import clock

now = [0]
clock.now = lambda: now[0]

from heirloom.device import blobs, finding, install, judging, ordering, owner  # noqa: F401 - loaded once
from heirloom.device.errors import E_NETWORK, UpdateError
from heirloom.device.updater import Updater


class Answer:
    """An HTTP answer out of a file, see http.Response."""

    def __init__(self, status, data, etag, offset):
        self.status = status
        self.etag = etag
        self.offset = offset
        self._data = memoryview(data)[offset:]
        self.length = len(self._data)

    def readinto(self, buffer):
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        self.length -= count
        return count


class Network:
    """See http.Http: whatever URL a device asks for, files answer, those of the first folder first.

    A compressed twin of a file that was replaced is gone.
    """

    def __init__(self, folders, date):
        self.date = date
        self.requests = 0
        self.asked = []
        self._folders = folders

    def within(self, seconds):
        pass

    def close(self):
        pass

    def get(self, url, offset=0, etag="", tls_only=False):
        if not url.startswith("http://1/"):
            raise UpdateError(E_NETWORK, "nobody answers")
        self.requests += 1
        path = url[9:]
        self.asked.append(path)
        data = self._read(path)
        if data is None:
            return Answer(404, b"", "", 0)
        tag = '"%08x"' % binascii.crc32(data)
        return Answer(304, b"", tag, 0) if tag == etag else Answer(200, data, tag, offset)

    def _read(self, path):
        for folder in self._folders:
            try:
                with open("/host" + folder + "/" + path, "rb") as file:
                    return file.read()
            except OSError:
                if path.endswith(".z") and boot.exists("/host" + folder + "/" + path[:-2]):
                    return None
        return None


def provision(device, root):
    """As hil's provisioning does."""
    mount(None)
    for folder in ("/heirloom", "/heirloom/slots", "/heirloom/blobs", "/heirloom/trust"):
        os.mkdir(folder)
    with open("/heirloom/device.json", "w") as file:
        json.dump(device, file)
    with open("/host" + root, "rb") as file:
        data = file.read()
    for name in ("provisioned", "root"):
        with open("/heirloom/trust/" + name + ".json", "wb") as file:
            file.write(data)


def live(step):
    """One check, and the install that it leads to."""
    now[0] = step["now"]
    network = Network(step["serve"], step.get("date", ""))
    if step.get("stick"):
        updater = Updater(media="/host" + step["stick"], present=True)
    else:
        updater = Updater()
        updater._http = network
    outcome = {"code": None, "error": "", "installed": None, "asked": network.asked}
    try:
        release = updater.check()
        if release and updater.install(release):
            boot.confirm()
            outcome["installed"] = release.version
            if step.get("run"):
                run()
    except UpdateError as error:
        outcome["code"] = error.code
        outcome["error"] = str(error)
    return outcome


def run():
    """The application starts: it shares the interpreter and the file system with the client."""
    state = boot.load()
    manifest = blobs.load(boot.slot_path(state["a"]))
    for path, _, sha256 in manifest.files:
        if path == "main.py":
            with open(blobs.path_of(sha256)) as file:
                exec(file.read(), {})


def digest(folder, total):
    """Adds all files below a folder; those of reports are removed: no check looks at them."""
    for name in sorted(os.listdir(folder)):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            digest(path, total)
        elif name in ("last", "log", "log.old"):
            os.remove(path)
        else:
            with open(path, "rb") as file:
                data = file.read()
            total.update(path.encode() + b" %d " % len(data) + data)


while True:
    line = sys.stdin.readline()
    if not line:
        break
    command = json.loads(line)
    if "root" in command:
        provision(command["device"], command["root"])
        outcome = {}
    else:
        mount(command["flash"])
        outcome = live(command["step"])
    total = hashlib.sha256()
    digest("/heirloom", total)
    then = binascii.hexlify(total.digest()).decode()
    with open("/host" + command["folder"] + "/" + then + ".flash", "wb") as file:
        file.write(flash.data)
    gc.collect()
    print("=> " + json.dumps({"outcome": outcome, "then": then}))
