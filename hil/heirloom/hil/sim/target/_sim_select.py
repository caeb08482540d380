# mypy: ignore-errors
"""The port's `select`, whose waiting lets scheduled callbacks run; asyncio waits here."""

from select import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401
from select import poll as _poll
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

_SLICE_MS = const(5)


class poll:  # noqa: N801 - MicroPython's name
    def __init__(self):
        inner = _poll()
        self._poll = inner.poll
        self.register = inner.register
        self.unregister = inner.unregister
        self.modify = inner.modify

    def poll(self, timeout=-1):
        if timeout is None:
            timeout = -1
        end = ticks_add(ticks_ms(), timeout)
        while True:
            left = _SLICE_MS if timeout < 0 else min(_SLICE_MS, ticks_diff(end, ticks_ms()))
            ready = self._poll(max(left, 0))
            if ready or left <= 0:
                return ready

    def ipoll(self, timeout=-1, flags=0):
        return iter(self.poll(timeout))
