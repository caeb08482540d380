# Makes the unix port look like a device, then calls one function: COMPILED FLASH MODULE FUNCTION [ARGUMENT...]
import os
import sys

import vfs

_BLOCK = 4096
_BLOCKS = 64
_ERASED = b"\xff" * _BLOCK


class PowerCut(Exception):
    pass


class FileFlash:
    """A block device in a file of the host. After `cut_at` more writes and erases nothing works any more."""

    def __init__(self, path):
        self.path = path
        self.cut_at = -1
        self.operations = 0
        self._file = open(path, "r+b")

    def _operate(self):
        self.operations += 1
        if self.cut_at >= 0 and self.operations > self.cut_at:
            raise PowerCut()

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self._operate()
        self._file.seek(block * _BLOCK + offset)
        self._file.write(buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._operate()
            self._file.seek(argument * _BLOCK)
            self._file.write(_ERASED)
            return 0
        return 0


class Reset(BaseException):
    """machine.reset() was called."""


class Machine:
    """As much of `machine` as the client uses."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5

    def __init__(self):
        self.cause = 1
        self.longest_ms = 8388  # as an RP2040
        self.dogs = []
        self.timers = []

    def reset_cause(self):
        return self.cause

    def reset(self):
        raise Reset()

    def WDT(self, timeout):
        if timeout > self.longest_ms:
            raise ValueError("WDT timeout too large")
        dog = Dog(timeout)
        self.dogs.append(dog)
        return dog

    def Timer(self, number, period, callback):
        self.timers.append((number, period, callback))
        return self.timers[-1]


class Dog:
    def __init__(self, timeout):
        self.timeout = timeout
        self.fed = 0

    def feed(self):
        self.fed += 1


def power_cycle():
    """Mounts the flash anew, as after a power cut; files that were open are lost."""
    global flash
    try:
        vfs.umount("/")
    except OSError:
        pass
    flash = FileFlash(flash.path)
    vfs.mount(vfs.VfsLfs2(flash), "/")


def _main():
    global flash, machine
    compiled, path, module, function = sys.argv[1:5]
    here = sys.argv[0].rsplit("/", 1)[0]
    vfs.umount("/")
    vfs.mount(vfs.VfsPosix("/"), "/host")
    flash = FileFlash("/host" + path)
    try:
        vfs.mount(vfs.VfsLfs2(flash), "/")
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/")
    os.chdir("/")
    for folder in ("/heirloom", "/heirloom/slots", "/heirloom/blobs", "/heirloom/trust"):
        try:
            os.mkdir(folder)
        except OSError:
            pass
    sys.modules["machine"] = machine = Machine()
    sys.modules["prelude"] = __import__("__main__")
    sys.path[:] = [".frozen", "/host" + compiled, "/host" + here]
    getattr(__import__(module), function)(*sys.argv[5:])


_main()
