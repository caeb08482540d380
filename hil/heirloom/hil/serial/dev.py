"""`heirloom dev`: the source folder runs on a device, over its serial line, and again on each save."""

import codecs
import signal
import time
from collections.abc import Callable
from pathlib import Path

from heirloom.cli.errors import RigTrouble
from heirloom.hil.serial.repl import SerialRepl
from heirloom.hil.serial.share import Share, device_side, snapshot

ENTER_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 5.0
_LOOK_S = 0.3
_SETTLED_S = 0.2
_STOP_TIMEOUT_S = 6.0
_STEP_S = 0.05

# In place of the installed release, with the path that a release has.
_MOUNT = """
import os, sys
os.chdir("/")
try:
    os.umount("/app")
except OSError:
    pass
os.mount(RemoteFS(RemoteCommand()), "/app")
os.chdir("/app")
sys.path[:] = ["/app/lib", "/app"] + [p for p in sys.path if not p.startswith("/app")]
"""
_RUN = "execfile('/app/main.py')"


class Development:
    """One session. Nothing is signed, and nothing of it is written on the device.

    Args:
        repl: Of the device.
        source: The application's folder.
        keep: Paths in it that the application writes.
        data: Where those are written meanwhile.
        output: Told what the application prints.
        tell: Told what goes on, for a person.

    Attributes:
        runs: How often the application was started.
    """

    def __init__(
        self,
        repl: SerialRepl,
        source: Path,
        keep: list[str],
        data: Path,
        output: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self.runs = 0
        self._repl, self._source = repl, source
        self._output, self._tell = output, tell
        self._buffer = bytearray()
        self._ends = 0
        self._held = ""
        self._refused: set[str] = set()
        self._share = Share(source, keep, data, self._take, repl.line.write, self._told_refused)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")

    def loop(self, seconds: float | None) -> None:
        """Run, and run again on each change, until Ctrl-C or the time is over.

        Raises:
            RigTrouble: The device is gone, or cannot be interrupted.
        """
        end = None if seconds is None else time.monotonic() + seconds
        self._repl.enter(ENTER_TIMEOUT_S)
        while end is None or time.monotonic() < end:
            seen = snapshot(self._source)
            self._start()
            changed = self._follow(seen, end)
            self._stop()
            if changed:
                self._tell("changed: running it again")

    def _start(self) -> None:
        self._repl.soft_reset(ENTER_TIMEOUT_S)
        self._share.forget()
        self._repl.exec(device_side(), ENTER_TIMEOUT_S)
        self._begin(_MOUNT)
        self._until_ended(time.monotonic() + ENTER_TIMEOUT_S)
        self.runs += 1
        self._begin(_RUN)

    def _begin(self, code: str) -> None:
        self._buffer.clear()
        self._ends = 0
        self._repl.start(code, time.monotonic() + ENTER_TIMEOUT_S)
        self._buffer += self._repl.rest()

    def _follow(self, seen: dict[str, tuple[int, int]], end: float | None) -> bool:
        """Let it run until a file changes (True) or the time is over (False)."""
        ended = False
        look_at = time.monotonic() + _LOOK_S
        while end is None or time.monotonic() < end:
            self._pump(_STEP_S)
            if self._ended and not ended:
                ended = True
                self._tell("main.py has ended; waiting for a change")
            if time.monotonic() >= look_at:
                if snapshot(self._source) != seen:
                    self._settle()
                    return True
                look_at = time.monotonic() + _LOOK_S
        return False

    def _settle(self) -> None:
        """Editors write in several steps."""
        before = None
        while before != (before := snapshot(self._source)):
            self._until(time.monotonic() + _SETTLED_S)

    def _stop(self) -> None:
        """Interrupt it; its requests are answered meanwhile, or it would wait for the answers."""
        self._share.stopping = True
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while not self._ended and time.monotonic() < deadline:
            self._repl.line.write(b"\x03")
            self._until(time.monotonic() + 0.3, quiet=True)
        if not self._ended:
            self._repl.enter(ENTER_TIMEOUT_S)

    def restore(self) -> None:
        """A hard reset: the signed release runs again."""
        from heirloom.hil.serial.unit import reset

        try:
            self._stop()
        except RigTrouble:
            return
        finally:
            self._share.forget()
        reset(self._repl)

    # --- what comes from the device ----------------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        return self._ends >= 2

    def _until(self, deadline: float, *, quiet: bool = False) -> None:
        while time.monotonic() < deadline and not self._ended:
            self._pump(_STEP_S, quiet=quiet)

    def _until_ended(self, deadline: float) -> None:
        self._until(deadline)
        if not self._ended or self._take(1) != b">":
            raise RigTrouble("the device does not take the folder", "reset it, and start `heirloom dev` again")

    def _pump(self, timeout_s: float, *, quiet: bool = False) -> None:
        """Show what the application prints, and answer its requests for files; Ctrl-C waits for the end of that.

        In the middle of a request, or of taking bytes, it would leave host and device of two minds.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._take_turn(timeout_s, quiet)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _take_turn(self, timeout_s: float, quiet: bool) -> None:
        self._buffer += self._repl.line.read(timeout_s)
        while self._buffer and not self._ended:
            sign = next((at for at, byte in enumerate(self._buffer) if byte in (0x04, 0x18)), None)
            plain = bytes(self._buffer[:sign])
            del self._buffer[: len(plain)]
            if plain and not quiet:
                self._show(self._decode.decode(plain))
            if sign is None:
                return
            if self._take(1) == b"\x04":
                self._ends += 1
            else:
                self._share.answer(self._take(1)[0])

    def _show(self, text: str) -> None:
        """Lines end in a newline; the two bytes that they end in on the wire may come apart."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        self._output(text.removesuffix("\r").replace("\r\n", "\n"))

    def _take(self, count: int) -> bytes:
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while len(self._buffer) < count:
            data = self._repl.line.read(_STEP_S)
            self._buffer += data
            if not data and time.monotonic() >= deadline:
                raise RigTrouble("the device stopped in the middle of a request", "start `heirloom dev` again")
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _told_refused(self, path: str) -> None:
        if path not in self._refused:
            self._refused.add(path)
            self._tell(f"/app/{path} is read-only (EROFS), as in a release; name it in [app] keep")
