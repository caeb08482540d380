# mypy: ignore-errors
"""The port's `time`: its own epoch, a clock that starts where the board's does, sleeps that let callbacks run."""

from time import gmtime as _gmtime
from time import mktime as _mktime
from time import sleep_ms, sleep_us, ticks_add, ticks_cpu, ticks_diff, ticks_ms, ticks_us  # noqa: F401
from time import time_ns as _time_ns

from _sim_flash import peek as _peek
from _sim_flash import poke as _poke
from micropython import const

_CLOCK_OFFSET = const(15)
_OFFSET_BIAS = const(1 << 31)

# Set by the runner: the port's epoch in Unix time.
_epoch = 0


def _unix():
    return _time_ns() // 1_000_000_000 + _peek(_CLOCK_OFFSET) - _OFFSET_BIAS


def _set_unix(seconds):
    _poke(_CLOCK_OFFSET, seconds - _time_ns() // 1_000_000_000 + _OFFSET_BIAS)


def time():
    return _unix() - _epoch


def time_ns():
    return _time_ns() + (_peek(_CLOCK_OFFSET) - _OFFSET_BIAS - _epoch) * 1_000_000_000


def gmtime(seconds=None):
    return _gmtime((time() if seconds is None else int(seconds)) + _epoch)[:8]


localtime = gmtime


def mktime(fields):
    return int(_mktime(tuple(fields)[:8])) - _epoch


def sleep(seconds):
    # The unix port's own sleep() lets no callback run; its sleep_ms() does.
    sleep_ms(int(seconds * 1000))
