"""Watches a device from beside it and keeps what happened, with times: its timeline in the report."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from heirloom.cli.files import os_error, write_atomic
from heirloom.hil.reporting.model import DEVICES, Event, Timeline

_GLANCE_S = 0.05
_LINES_KEPT = 2000
# What the client says of its own state, as against what the application prints.
_STATE = re.compile(r"heirloom: ((?:release|installing|installed|check|restarting|slot|the|nothing).*)")


class Watched(Protocol):
    """What can be watched of a device of any driver."""

    @property
    def name(self) -> str:
        """For people."""

    def console_since(self, position: int) -> tuple[str, int]:
        """What it said after `position`, and the position to ask from next time."""


class Recorder:
    """Records one device: `with Recorder(device, driver="sim", board=...) as recorder`.

    Args:
        device: Is only looked at.
        driver: Its driver.
        board: Its board.
        test: In which test.
        power: Says how it stands, as in "on"; None: nobody knows.
        operations: Counts its flash operations; None: nobody does.
    """

    def __init__(
        self,
        device: Watched,
        *,
        driver: str,
        board: str,
        test: str = "",
        power: Callable[[], str] | None = None,
        operations: Callable[[], int] | None = None,
    ) -> None:
        self._device, self._power, self._operations = device, power, operations
        self._empty = Timeline(device.name, board, driver, test)
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"recorder-{device.name}", daemon=True)
        self._position = 0
        self._rest = ""
        self._last = ("", operations() if operations else 0)

    def __enter__(self) -> Self:
        self._position = self._device.console_since(0)[1]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._glance()
        if self._rest:
            self._say(self._rest)
            self._rest = ""

    def note(self, lane: str, text: str) -> None:
        """Something that others saw, as a server sees a request. Any thread may call it."""
        event = Event(round(time.monotonic() - self._began, 3), lane, text[:500])
        with self._lock:
            self._events.append(event)

    def timeline(self) -> Timeline:
        """What was seen so far, at most the newest two thousand events."""
        with self._lock:
            return replace(self._empty, events=tuple(self._events[-_LINES_KEPT:]))

    def save(self, folder: Path, name: str) -> Path:
        """Write the timeline into the folder of a run, as `collect` reads it; HeirloomError if that fails."""
        path = folder / DEVICES / f"{name}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise os_error(exc, f"cannot make {path.parent}") from exc
        write_atomic(path, json.dumps(asdict(self.timeline())).encode())
        return path

    def _watch(self) -> None:
        while not self._stop.wait(_GLANCE_S):
            self._glance()

    def _glance(self) -> None:
        power = self._power() if self._power else ""
        operations = self._operations() if self._operations else 0
        if power != self._last[0]:
            self.note("power", power)
        if operations > self._last[1]:
            self.note("flash", str(operations - self._last[1]))
        self._last = power, operations
        text, self._position = self._device.console_since(self._position)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(line)

    def _say(self, line: str) -> None:
        if line.strip():
            state = _STATE.match(line)
            self.note("state" if state else "console", state.group(1) if state else line)
