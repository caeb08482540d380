"""A tiny logger: levels, seconds since start, and the newest lines kept for whoever asks later."""

from time import ticks_diff, ticks_ms

_LEVELS = ("debug", "info", "warning", "error")
_KEPT_LINES = 20


class Logger:
    """Prints messages of at least `level` and keeps the newest ones."""

    def __init__(self, name, level="info"):
        if level not in _LEVELS:
            raise ValueError(f"no such log level: {level}")
        self._name = name
        self._threshold = _LEVELS.index(level)
        self._start = ticks_ms()
        self.lines = []

    def log(self, level, message, *values):
        if level < self._threshold:
            return
        text = message % values if values else message
        seconds = ticks_diff(ticks_ms(), self._start) / 1000
        line = f"{seconds:8.1f} {_LEVELS[level]} {self._name}: {text}"
        self.lines.append(line)
        if len(self.lines) > _KEPT_LINES:
            self.lines.pop(0)
        print(line)

    def debug(self, message, *values):
        self.log(0, message, *values)

    def info(self, message, *values):
        self.log(1, message, *values)

    def warning(self, message, *values):
        self.log(2, message, *values)

    def error(self, message, *values):
        self.log(3, message, *values)
