"""The process of an emulated board: its serial line are the process's stdin and stdout."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from heirloom.cli.errors import RigTrouble
from heirloom.cli.files import os_error
from heirloom.hil.sim.console import Console

_END_S = 10.0
_FLUSH_S = 20.0
_SOFT_REBOOT = b"soft reboot"
_HEARD_BYTES = len(_SOFT_REBOOT)
#: Exit code by which an emulator says that a power cut that was armed has struck.
CUT = 70


class EmulatorProcess:
    """One power cycle of an emulated board.

    Args:
        argv: The emulator.
        console: Where output goes.
        errors: The file for what the emulator itself has to say.
        chunk: Bytes that are typed at once; a real board's serial port has a small buffer, too. 0: no limit.
        pause_s: Between two such.

    Attributes:
        changed: Guards everything here, and is notified of every change.
        boots: Starts that could be told from the output.

    Raises:
        RigTrouble: It cannot be started.
    """

    def __init__(
        self, argv: Sequence[str], console: Console, errors: Path, *, chunk: int = 0, pause_s: float = 0.0
    ) -> None:
        self.changed = threading.Condition()
        self.boots = 1
        self._console = console
        self._errors = errors
        self._tap: bytearray | None = None
        self._pacing = (chunk or 1 << 20, pause_s)
        self._stopping = False
        try:
            with errors.open("wb") as stream:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, start_new_session=True
                )
        except OSError as exc:
            reason = os_error(exc, f"cannot start {argv[0]}")
            raise RigTrouble(reason.message, reason.advice) from exc
        self._reader = threading.Thread(target=self._read, daemon=True, name="emulator")
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether the board has power."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Take the power away: the board runs no further instruction; what its flash has taken is in the file."""
        with self.changed:
            self._stopping = True
        # QEMU writes behind its guest's back, in no order: killed at once it would forget writes that a chip had done.
        for number, patience_s in ((signal.SIGTERM, _FLUSH_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                break
        self._reader.join(_END_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended by itself; False: it has not."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(_END_S)
        self.check()
        return True

    def check(self) -> None:
        """Say whether the emulator can still be trusted.

        Raises:
            RigTrouble: It ended, and nobody wanted it to.
        """
        code = self._process.poll()
        if code is None or self._stopping or code == CUT:
            return
        said = self._errors.read_text(errors="replace").strip()[-1000:]
        raise RigTrouble(f"the emulator ended by itself with code {code}", said or self._console.tail())

    def send(self, data: bytes) -> None:
        """Type at the board."""
        size, pause_s = self._pacing
        stream = self._process.stdin
        if stream is None:
            return
        for start in range(0, len(data), size):
            try:
                stream.write(data[start : start + size])
                stream.flush()
            except (BrokenPipeError, ValueError):
                return
            if len(data) > size:
                time.sleep(pause_s)

    def tap(self, active: bool) -> None:
        """As `SerialLine` says."""
        with self.changed:
            self._tap = bytearray() if active else None

    def wait_tapped(self, end: bytes, deadline: float) -> bytes | None:
        """As `SerialLine` says."""
        with self.changed:
            while self._tap is not None:
                self.check()
                position = self._tap.find(end)
                if position >= 0:
                    taken = bytes(self._tap[: position + len(end)])
                    del self._tap[: position + len(end)]
                    return taken
                left = deadline - time.monotonic()
                if left <= 0 or not self.running:
                    return None
                self.changed.wait(min(left, 1.0))
        return None

    def wait_console(self, pattern: re.Pattern[str], deadline: float) -> re.Match[str] | None:
        """Waits until the board says something that matches; None at the deadline or when it stays off."""
        with self.changed:
            while True:
                match = self._console.find(pattern)
                if match:
                    return match
                self.check()
                left = deadline - time.monotonic()
                if left <= 0 or not self.running:
                    return None
                self.changed.wait(min(left, 1.0))

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        heard = b""  # the words may come in pieces
        while data := os.read(stream.fileno(), 4096):
            with self.changed:
                heard = (heard + data)[-_HEARD_BYTES - len(data) :]
                if _SOFT_REBOOT in heard:
                    self.boots += 1
                    heard = b""
                if self._tap is not None:
                    self._tap += data
                else:
                    self._console.add(data)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()
