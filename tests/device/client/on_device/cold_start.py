# The whole client with as little around it as can be, so that the heap is the client's: check, install, confirm.
# Runs as main: its argument is the file that is the device's flash.
import gc
import sys

import vfs


class Flash:
    """A block device in a file of the host; it only has to be there."""

    def __init__(self, path):
        self.file = open(path, "r+b")

    def readblocks(self, block, buffer, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.write(buffer)

    def ioctl(self, operation, _):
        return 212 if operation == 4 else 4096 if operation == 5 else 0


class Machine:
    """Nothing here is reset."""

    PWRON_RESET = 1


flash = Flash(sys.argv[1])
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(flash), "/")
sys.modules["machine"] = Machine
sys.path[:] = [".frozen", "/lib"]

import heirloom_boot as boot  # noqa: E402 - what comes from here on is the client's

boot._PATH[:] = sys.path
gc.threshold(boot._TIDY_BYTES)  # as main.py does
boot.save(boot.new_state())
updater = boot.client("updater").Updater()
installed = updater.install(updater.check())
print("=>", boot.current()["r"], installed, boot.current()["y"])
