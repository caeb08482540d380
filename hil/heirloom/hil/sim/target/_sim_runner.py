# mypy: ignore-errors
"""What a port's main.c does: mounts the file system, runs boot.py and main.py, then the REPL.

The control flow follows ports/rp2/main.c and shared/runtime/pyexec.c of MicroPython.
"""

import builtins
import gc
import os
import sys
from time import sleep_us

import _sim_machine
import micropython
import vfs
from _sim_flash import peek, poke
from micropython import const

_INTERRUPTIBLE = const(11)
_REPL_MODE = const(18)
_BINARY = const(19)
_INTERRUPTING = const(20)

_EXIT_SOFT_RESET = const(2)
_MODE_RAW = const(1)

_scope = {}


def run(rom, config):
    """Never returns: the process ends by a reset, a power cut, or from outside."""
    global _scope
    import __main__

    banner = config["banner"]
    _prepare(config)
    config = None
    vfs.umount("/.sim")
    sys.path[:] = ["", ".frozen", "/lib"]
    os.chdir("/")
    builtins.execfile = _execfile  # every port has it, but the unix port
    _scope = __main__.__dict__
    _scope.clear()
    _scope["__name__"] = "__main__"
    for name in [name for name in sys.modules if name.startswith("_sim_")]:
        del sys.modules[name]
    gc.collect()  # a real board begins with an empty heap
    if _run_scripts():
        _repl(rom, banner)
    _sim_machine._exit(_EXIT_SOFT_RESET)


def _prepare(config):
    import _sim_setup  # only here, so that nothing of it stays on the heap

    _sim_setup.install_modules(config)
    _sim_setup.mount(config)


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
    error = _attempt(path, source, kind)
    # Nothing between these two lines raises a pending exception: no jump, no loop.
    _settle()
    poke(_BINARY, 0)
    if error is None:
        return True
    if isinstance(error, SystemExit):
        return None
    report(error)
    return False


def _settle():
    """Ends the time in which Ctrl-C interrupts. One that was already on its way is dropped, as after any program."""
    while True:
        try:
            poke(_INTERRUPTIBLE, 0)
            sleep_us(1)
            while peek(_INTERRUPTING):
                sleep_us(10)
            sleep_us(1)  # no system call returns before a signal that was sent is delivered
            for _ in range(2):  # nor does a loop go on before an exception that is pending is raised
                pass
            return
        except KeyboardInterrupt:
            pass


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


def _repl(rom, banner):
    vfs.mount(rom, "/.sim")
    sys.path.insert(0, "/.sim")
    import _sim_repl

    sys.path.pop(0)
    vfs.umount("/.sim")
    del sys.modules["_sim_repl"]
    words = peek(_REPL_MODE)
    _sim_repl.run(execute, banner, words == _MODE_RAW, _set_raw)


def _set_raw(raw):
    poke(_REPL_MODE, _MODE_RAW if raw else 0)
