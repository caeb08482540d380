"""What differs between MicroPython's ports: reset causes, clock, epoch."""

import time
from dataclasses import dataclass

_OFFSET_BIAS = 1 << 31
_UNIX_2000 = 946684800
_UNIX_2021 = 1609459200


@dataclass(frozen=True)
class Port:
    """A port as `machine.reset_cause()` and `time` show it.

    Attributes:
        power_on: Reset cause after the power came.
        reset: After machine.reset().
        watchdog: After the watchdog bit.
        deepsleep: After a deep sleep.
        soft_reset: After a soft reset; None: the cause stays what it was.
        epoch: Zero of `time.time()`, in Unix time.
        clock_start: Where the clock starts at every reset but a soft one, in Unix time; None: it is right.
    """

    power_on: int
    reset: int
    watchdog: int
    deepsleep: int
    soft_reset: int | None
    epoch: int
    clock_start: int | None

    def clock_offset(self) -> int:
        """The word of the control page that makes the clock show its start now."""
        if self.clock_start is None:
            return _OFFSET_BIAS
        return self.clock_start - int(time.time()) + _OFFSET_BIAS


def port(chip: str, clock: str) -> Port:
    """The port of MicroPython for `chip`.

    Args:
        chip: As in a board definition.
        clock: "board" or "host" (see `Settings.clock`).
    """
    if chip.startswith("esp32"):
        start = None if clock == "host" else _UNIX_2000
        return Port(1, 2, 3, 4, 5, epoch=_UNIX_2000, clock_start=start)
    # RP2040 resets itself by its watchdog, also for machine.reset() and at the end of a deep sleep.
    start = None if clock == "host" else _UNIX_2021
    return Port(1, 3, 3, 3, None, epoch=0, clock_start=start)
