"""A program that has MicroPython loaded and forks one process for each boot of a simulated board.

Starting a Python with the interpreter takes some 60 ms, a fork 2 ms. It runs alone in its process, with the standard
library only: `python -I -S zygote.py CHANNEL LIBRARY`. Each request is a JSON object and comes with four file
descriptors: console, flash, control page, ROM. The answer is the process id and a file descriptor of the process.
"""

import ctypes
import importlib.machinery
import importlib.util
import json
import mmap
import os
import signal
import socket
import sys
from types import ModuleType
from typing import Any

_PR_SET_PDEATHSIG = 1
_MESSAGE_BYTES = 65536
_PROGRAM = """
import sys,uctypes,vfs
rom=vfs.VfsRom(uctypes.bytearray_at({address},{length}))
vfs.mount(rom,"/.sim")
sys.path[:]=["/.sim"]
import _sim_runner
_sim_runner.run(rom,{config!r})
"""


def main() -> None:
    """Serve until the other end of the channel is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    interpreter = _load(sys.argv[2])
    library = ctypes.CDLL(sys.argv[2])
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 4)
        if not data:
            return
        process = os.fork()
        if process == 0:
            channel.close()
            _boot(interpreter, library, json.loads(data), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        handle = os.pidfd_open(process)
        socket.send_fds(channel, [str(process).encode()], [handle])
        os.close(handle)
        _reap()


def _load(path: str) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader("micropython_run", path)
    spec = importlib.util.spec_from_file_location("micropython_run", path, loader=loader)
    if spec is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _reap() -> None:
    """Ended children stay until here, so that no process id is used again while the host may hold it."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _boot(
    interpreter: ModuleType,
    library: ctypes.CDLL,
    request: dict[str, Any],
    console: int,
    flash: int,
    page: int,
    rom: int,
) -> None:
    """Become the simulated board; never returns."""
    try:
        _set_signals(library)
        os.setsid()
        for descriptor in range(3):
            os.dup2(console, descriptor)
        memories = [mmap.mmap(flash, 0), mmap.mmap(page, 0), mmap.mmap(rom, 0, flags=mmap.MAP_PRIVATE)]
        addresses = [ctypes.addressof(ctypes.c_char.from_buffer(memory)) for memory in memories]
        for descriptor in (console, flash, page, rom):
            os.close(descriptor)
        os.environ["TZ"] = "UTC"
        os.chdir("/")
        config = {**request["config"], "flash": addresses[0] + request["offset"], "page": addresses[1]}
        program = _PROGRAM.format(address=addresses[2], length=len(memories[2]), config=config)
        interpreter.run_main(["micropython", "-X", f"heapsize={request['heap']}", "-c", program])
    finally:
        os._exit(1)


def _set_signals(library: ctypes.CDLL) -> None:
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C. MicroPython's own handler of SIGINT jumps out of whatever is going on, also out of littlefs; this one
    # only marks the exception as pending, as the interrupt of a real UART does.
    interrupt = ctypes.cast(library.mp_sched_keyboard_interrupt, ctypes.c_void_p).value
    libc.signal(signal.SIGUSR1, interrupt)
    libc.siginterrupt(signal.SIGUSR1, 1)
    # A write to address 0 is how a board stops at one exact instruction (target/_sim_flash.py).
    libc.signal(signal.SIGSEGV, ctypes.cast(libc["_exit"], ctypes.c_void_p).value)


if __name__ == "__main__":
    main()
