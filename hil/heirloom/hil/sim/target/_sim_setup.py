# mypy: ignore-errors
"""What a port does before boot.py: modules for the board's hardware, and the file system."""

import sys

import _sim_flash
import _sim_machine
import _sim_micropython
import _sim_network
import _sim_select
import _sim_time
import vfs


class _Rp2:
    """The module `rp2`: the file system's block device, as on the board."""

    @staticmethod
    def Flash():  # noqa: N802 - the port's name
        return _Rp2.flash


def install_modules(config):
    _sim_flash._page = config["page"]
    esp32 = config["chip"].startswith("esp32")
    _sim_time._epoch = config["epoch"]
    _sim_machine._configure(esp32, config["cause"], bytes.fromhex(config["id"]), _sim_time)
    _sim_machine._board = config["banner"].split("; ")[1]  # what sys.implementation says on a board
    _sim_network._configure(esp32, config["ssid"], config["password"])
    modules = sys.modules
    modules["micropython"] = _sim_micropython
    modules["time"] = _sim_time
    modules["select"] = _sim_select
    modules["machine"] = _sim_machine
    modules["network"] = _sim_network
    import _sim_socket  # after `select`, which it waits with

    _sim_socket._configure(_sim_network._up, config["hosts"], esp32)
    modules["socket"] = _sim_socket


def mount(config):
    vfs.umount("/")
    flash = _sim_flash.Flash(config["flash"], config["block_count"], config["block_size"], config["program_size"])
    _mount_flash(flash, config)
    if config["stick"]:
        vfs.mount(vfs.VfsPosix(config["stick"]), "/sd", readonly=True)
    if config["partitions"]:
        import _sim_esp32  # only for a unit that was flashed

        place = config["filesystem"]
        chip_id = config["chip_id"]
        _sim_esp32._configure(config["partitions"], config["running"], chip_id, config["flash"], place)
        sys.modules["esp32"] = _sim_esp32
    if config["chip"] == "rp2040":
        _Rp2.flash = flash
        sys.modules["rp2"] = _Rp2


def _mount_flash(flash, config):
    options = {"progsize": config["program_size"]}
    try:
        vfs.mount(vfs.VfsLfs2(flash, **options), "/")
        return
    except OSError:
        if config["chip"].startswith("esp32") and not _blank(flash):
            _corrupted()
    # Both ports make a new file system here; RP2040 does so silently, whatever the flash holds.
    vfs.VfsLfs2.mkfs(flash, **options)
    vfs.mount(vfs.VfsLfs2(flash, **options), "/")
    if config["chip"].startswith("esp32"):
        with open("boot.py", "w") as script:
            script.write("# This file is executed on every boot (including wake-boot from deepsleep)\n")


def _blank(flash):
    sector = bytearray(512)
    flash.readblocks(0, sector, 0)
    return all(byte == 255 for byte in sector)


def _corrupted():
    """inisetup.py of the ESP32 port: it waits for someone to repair the file system by hand."""
    while True:
        print("The filesystem appears to be corrupted. If you had important data there, you")
        print("may want to make a flash snapshot to try to recover it. Otherwise, perform")
        print("factory reprogramming of MicroPython firmware (completely erase flash, followed")
        print("by firmware programming).")
        _sim_time.sleep(3)
