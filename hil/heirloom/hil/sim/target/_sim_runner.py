# mypy: ignore-errors
"""What a port's main.c does: mounts the file system, runs boot.py and main.py, then the REPL.

The control flow follows ports/rp2/main.c and shared/runtime/pyexec.c of MicroPython.
"""

import builtins
import os
import sys

import _sim_flash
import _sim_machine
import _sim_network
import _sim_select
import _sim_time
import micropython
import vfs
from _sim_flash import Flash, peek, poke
from micropython import const

_INTERRUPTIBLE = const(11)
_REPL_MODE = const(18)

_EXIT_SOFT_RESET = const(2)
_MODE_RAW = const(1)
_MODE_HOLD = const(2)

_scope = {}


def run(config):
    """Never returns: the process ends by a reset, a power cut, or from outside."""
    global _scope
    _sim_flash._page = config["page"]
    _install_modules(config)
    host_files = vfs.VfsPosix(config["scripts"])
    vfs.umount("/")
    flash = Flash(config["flash"], config["block_count"], config["block_size"], config["program_size"])
    _mount(flash, config)
    if config["chip"] == "rp2040":
        _Rp2.flash = flash
        sys.modules["rp2"] = _Rp2
    sys.path[:] = ["", ".frozen", "/lib"]
    os.chdir("/")
    import __main__

    builtins.execfile = _execfile  # every port has it, but the unix port
    _scope = __main__.__dict__
    _scope.clear()
    _scope["__name__"] = "__main__"
    for name in [name for name in sys.modules if name.startswith("_sim_")]:
        del sys.modules[name]
    if _run_scripts():
        _repl(host_files, config)
    _sim_machine._exit(_EXIT_SOFT_RESET)


class _Rp2:
    """The module `rp2`: the file system's block device, as on the board."""

    @staticmethod
    def Flash():  # noqa: N802 - the port's name
        return _Rp2.flash


def _install_modules(config):
    esp32 = config["chip"].startswith("esp32")
    _sim_time._epoch = config["epoch"]
    _sim_machine._configure(esp32, config["cause"], bytes.fromhex(config["id"]), _sim_time)
    _sim_network._configure(esp32, config["ssid"], config["password"])
    modules = sys.modules
    modules["time"] = _sim_time
    modules["select"] = _sim_select
    modules["machine"] = _sim_machine
    modules["network"] = _sim_network
    import _sim_socket  # after `select`, which it waits with

    _sim_socket._configure(_sim_network._up, config["hosts"], esp32)
    modules["socket"] = _sim_socket


def _mount(flash, config):
    options = {"progsize": config["filesystem_program_size"]}
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


def _run_scripts():
    """Runs boot.py and main.py. Returns False when one of them asked for a soft reset (SystemExit)."""
    done = _run_file("boot.py")
    if done is None:
        return False
    if done and peek(_REPL_MODE) == 0:
        return _run_file("main.py") is not None
    return True


def _run_file(path):
    """Returns True if it ran or is absent, False after an exception, None after SystemExit."""
    try:
        os.stat(path)
    except OSError:
        return True
    return execute(path, None, "exec")


def execute(path, source, kind, report=sys.print_exception):
    """Runs a file (`source` None) or `source` in `__main__`. Returns as `_run_file`; `report` gets the exception."""
    try:
        error = _attempt(path, source, kind)
    except KeyboardInterrupt as late:  # it came when the code had just ended
        error = late
    poke(_INTERRUPTIBLE, 0)
    if error is None:
        return True
    if isinstance(error, SystemExit):
        return None
    report(error)
    return False


# Native code leaves no line of its own in a traceback.
@micropython.native
def _attempt(path, source, kind):
    try:
        if source is None:
            with open(path) as script:
                source = script.read()
        code = compile(source, path, kind)
        source = None
        poke(_INTERRUPTIBLE, 1)
        exec(code, _scope)
    except BaseException as error:  # whatever it raises is shown, as on a board
        return error
    return None


@micropython.native
def _execfile(path, *scopes):
    with open(path) as script:
        code = compile(script.read(), path, "exec")
    exec(code, *(scopes or (_scope,)))


def _repl(host_files, config):
    vfs.mount(host_files, "/.sim")
    sys.path.insert(0, "/.sim")
    import _sim_repl

    sys.path.pop(0)
    vfs.umount("/.sim")
    del sys.modules["_sim_repl"]
    words = peek(_REPL_MODE)
    _sim_repl.run(execute, config["banner"], words == _MODE_RAW, _set_raw)


def _set_raw(raw):
    poke(_REPL_MODE, _MODE_RAW if raw else 0)
