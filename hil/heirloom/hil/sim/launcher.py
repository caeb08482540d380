"""Starts the process of a simulated board, through a zygote that is shared by all boards of this process."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for

_ZYGOTE = Path(__file__).with_name("zygote.py")
_ANSWER_TIMEOUT_S = 20.0


@dataclass
class BoardProcess:
    """One boot of a simulated board.

    Attributes:
        pid: The process id, for messages.
        handle: A file descriptor of the process; unlike the id it can never mean another process.
        console: The other end of its stdin, stdout and stderr; end of file when it has ended.
    """

    pid: int
    handle: int
    console: socket.socket

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended is left alone."""
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """Switch the power off."""
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the descriptors back."""
        self.console.close()
        os.close(self.handle)


class Launcher:
    """The zygote of this process, started at the first boot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._owner = 0

    def boot(self, request: Mapping[str, object], flash: int, page: int, rom: int) -> BoardProcess:
        """Start one boot.

        Args:
            request: As in zygote.py.
            flash: File descriptor of the flash image.
            page: File descriptor of the control page.
            rom: File descriptor of the ROM (scripts.py).

        Raises:
            RigTrouble: The zygote does not answer.
        """
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            try:
                pid, handle = self._ask(json.dumps(request).encode(), [theirs.fileno(), flash, page, rom])
            except OSError as exc:
                ours.close()
                self._stop()
                raise RigTrouble(f"cannot start a simulated board: {exc}", "see --debug") from exc
        ours.setblocking(False)
        return BoardProcess(pid, handle, ours)

    def _ask(self, message: bytes, descriptors: list[int]) -> tuple[int, int]:
        channel = self._open_channel()
        socket.send_fds(channel, [message], descriptors)
        answer, handles, _, _ = socket.recv_fds(channel, 64, 1)
        if not answer or not handles:
            raise ConnectionResetError("the zygote ended")
        return int(answer), handles[0]

    def _open_channel(self) -> socket.socket:
        # A process forked from this one must not share its zygote.
        if self._channel is None or self._owner != os.getpid():
            self._start()
        if self._channel is None:
            raise ConnectionResetError("the zygote did not start")
        return self._channel

    def _start(self) -> None:
        spec = find_spec("micropython_run")
        if spec is None or spec.origin is None:
            raise HeirloomError("MicroPython's unix port is not installed", advice_for("micropython_unix"))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-S", str(_ZYGOTE), str(theirs.fileno()), spec.origin]
            self._zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        ours.settimeout(_ANSWER_TIMEOUT_S)
        self._channel, self._owner = ours, os.getpid()

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()  # the zygote ends by itself, and its boards with it
            self._channel = None
        if self._zygote is not None and self._owner == os.getpid():
            self._zygote.wait(timeout=_ANSWER_TIMEOUT_S)
            self._zygote = None

    def close(self) -> None:
        """Stop the zygote and every board that it started."""
        with self._lock:
            self._stop()


LAUNCHER = Launcher()
atexit.register(LAUNCHER.close)
