"""A program killed at any of its steps that change the file system: `kill -9`, one step after the other."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STEPS = ("open", "write", "fsync", "replace", "rename", "link", "symlink", "truncate", "unlink", "mkdir", "rmdir")
EVERY = os.environ.get("HEIRLOOM_KILLS") == "all"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Steps:
    """Counts the steps of a program, and kills the process at one of them.

    Args:
        kill_at: Number of the step before which it dies; never if None.
        torn: Half of what that step would write is written before.
        builtin: Count files, too, that are opened by `open()`, as for copying.
    """

    def __init__(self, kill_at: int | None = None, *, torn: bool = False, builtin: bool = False) -> None:
        self.kill_at, self.torn, self.builtin = kill_at, torn, builtin
        self.trace: list[tuple[str, str]] = []
        self.opened_for_writing: list[str] = []
        self.paths: dict[int, str] = {}
        self._inside = False

    def install(self) -> None:
        """Watch this process from now on."""
        self.real_write = os.write
        for name in STEPS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & _WRITING:
            self.opened_for_writing.append(str(arguments[0]))
            if self.builtin and not self._inside:
                self.reach("open", arguments)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self.reach(name, arguments)
            self._inside = True
            try:
                result = real(*arguments, **options)
            finally:
                self._inside = False
            if name == "open":
                self.paths[result] = str(arguments[0])
            return result

        return step

    def reach(self, name: str, arguments: tuple[Any, ...]) -> None:
        """A step is about to happen."""
        place = arguments[-1] if name == "replace" else arguments[0]
        self.trace.append((name, self.paths.get(place, str(place)) if isinstance(place, int) else str(place)))
        if len(self.trace) - 1 == self.kill_at:
            if self.torn:
                self.real_write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object], steps: Steps) -> Steps | None:
    """Run in a forked process; returns its steps, or None if it was killed."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            write = os.write
            steps.install()
            work()
            write(write_end, json.dumps([steps.trace, steps.opened_for_writing]).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.waitstatus_to_exitcode(status) == 0
    trace, steps.opened_for_writing = json.loads(told)
    steps.trace = [(name, place) for name, place in trace]
    return steps


def cuts(steps: Steps, at_most: int) -> Iterator[int]:
    """Steps to kill at: every kind of step on every kind of file at least once, and else evenly spread.

    HEIRLOOM_KILLS=all in the environment: every step, which takes hours for all commands.
    """
    if EVERY:
        return iter(range(len(steps.trace)))
    kinds: dict[tuple[str, str], int] = {}
    for number, (name, place) in enumerate(steps.trace):
        kinds.setdefault((name, _kind(place)), number)
    chosen = {*kinds.values(), len(steps.trace) - 1}
    rest = [number for number in range(len(steps.trace)) if number not in chosen]
    spare = max(0, at_most - len(chosen))
    chosen |= {rest[index * len(rest) // spare] for index in range(spare)} if rest and spare else set()
    return iter(sorted(chosen))


def _kind(place: str) -> str:
    """Files that differ by a number, a hash or a random name only are of one kind."""
    path = Path(place)
    words = [path.parent.name, path.name]
    return "/".join("".join("#" if sign in "0123456789abcdef" else sign for sign in word)[:12] for word in words)
