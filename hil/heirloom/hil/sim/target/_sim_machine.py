# mypy: ignore-errors
"""The port's `machine`, as strict as RP2040 and ESP32 are where the client depends on it."""

import _thread
import sys

import micropython
from _sim_flash import peek as _peek
from _sim_flash import poke as _poke
from _sim_flash import stop as _stop
from machine import idle  # noqa: F401
from micropython import const

_WDT_TIMEOUT = const(12)
_WDT_FED = const(13)
_WDT_FEEDS = const(14)
_EXIT = const(16)
_EXIT_ARGUMENT = const(17)

_EXIT_RESET = const(1)
_EXIT_DEEPSLEEP = const(3)
_MASK = const(0x7FFFFFFF)
_TICK_MS = const(5)

# Set by the runner.
_esp32 = False
_cause = 0
_id = b""
_time = None

PWRON_RESET = 1
WDT_RESET = 3


def _configure(esp32, cause, id, time):
    global _esp32, _cause, _id, _time
    _esp32, _cause, _id, _time = esp32, cause, id, time
    if esp32:
        _esp32_constants()


def _esp32_constants():
    global HARD_RESET, DEEPSLEEP_RESET, SOFT_RESET
    HARD_RESET, DEEPSLEEP_RESET, SOFT_RESET = 2, 4, 5


def _exit(reason, argument=0):
    _poke(_EXIT_ARGUMENT, argument)
    _poke(_EXIT, reason)
    _stop()


def reset():
    _exit(_EXIT_RESET)


def soft_reset():
    sys.exit()


def reset_cause():
    return _cause


def deepsleep(time_ms=None):
    _exit(_EXIT_DEEPSLEEP, _MASK if time_ms is None else int(time_ms))


def lightsleep(time_ms):
    _time.sleep_ms(time_ms)


def unique_id():
    return _id


def freq():
    return 160000000 if _esp32 else 125000000


def disable_irq():
    return 0  # callbacks only run between bytecodes


def enable_irq(state):
    return None


class RTC:
    def datetime(self, fields=None):
        if fields is None:
            year, month, day, hour, minute, second, weekday, _ = _time.gmtime()
            return (year, month, day, weekday, hour, minute, second, 0)
        year, month, day, _, hour, minute, second, _ = fields
        moment = _time.mktime((year, month, day, hour, minute, second, 0, 0))
        _time._set_unix(moment + _time._epoch)


class WDT:
    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%d) doesn't exist" % id)
        if timeout <= 0 or (timeout > 8388 and not _esp32):
            raise ValueError("WDT timeout too large" if timeout > 0 else "WDT timeout too short")
        self.feed()
        # It cannot be stopped: nothing ever writes 0 here.
        _poke(_WDT_TIMEOUT, timeout)

    def feed(self):
        _poke(_WDT_FED, _time.ticks_ms() & _MASK)
        _poke(_WDT_FEEDS, _peek(_WDT_FEEDS) + 1)


_timers = []
_scheduled = False
_ticking = False


def _ticker():
    """The interrupt: a thread that only asks the main thread to look at the timers."""
    global _scheduled
    while True:
        _time.sleep_us(_TICK_MS * 1000)
        if _timers and not _scheduled:
            _scheduled = True
            try:
                micropython.schedule(_fire, 0)
            except RuntimeError:  # the queue is full
                _scheduled = False


def _fire(_):
    global _scheduled
    _scheduled = False
    now = _time.ticks_ms()
    i = len(_timers)
    while i > 0:
        i -= 1
        if i < len(_timers):
            _timers[i]._tick(now)


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=None, **settings):
        if _esp32:
            if id not in (0, 1, 2, 3):
                raise ValueError("invalid Timer number")
        elif id not in (None, -1):
            raise ValueError("Timer doesn't exist")
        if settings:
            self.init(**settings)

    def init(self, *, mode=PERIODIC, period=-1, freq=-1, callback=None, hard=False):
        global _ticking
        self.deinit()
        self._period = int(1000 / freq) if freq > 0 else period
        if self._period < 0:
            raise ValueError("period or freq must be given")
        self._periodic = mode == 1
        self._callback = callback
        self._due = _time.ticks_add(_time.ticks_ms(), self._period)
        _timers.append(self)
        if not _ticking:
            _ticking = True
            _thread.start_new_thread(_ticker, ())

    def deinit(self):
        if self in _timers:
            _timers.remove(self)

    def _tick(self, now):
        if _time.ticks_diff(self._due, now) > 0:
            return
        if self._periodic:
            self._due = _time.ticks_add(now, self._period)
        else:
            self.deinit()
        if self._callback is not None:
            try:
                self._callback(self)
            except Exception as error:
                sys.print_exception(error)


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 1
    PULL_DOWN = 2

    def __init__(self, id, mode=IN, pull=None, *, value=0):
        self._value = 1 if value or pull == 1 else 0

    def value(self, level=None):
        if level is None:
            return self._value
        self._value = 1 if level else 0

    __call__ = value

    def on(self):
        self._value = 1

    def off(self):
        self._value = 0

    def toggle(self):
        self._value ^= 1


class I2C:
    """A bus with nothing on it."""

    def __init__(self, id, *, scl=None, sda=None, freq=400000, timeout=50000):
        pass

    def scan(self):
        return []
