"""The device's clock."""

import time

_YEAR_2000 = 946684800


def now() -> int:
    """Unix seconds by the device's clock, which may be years behind. Some ports count from the year 2000."""
    return int(time.time()) + (_YEAR_2000 if time.gmtime(0)[0] == 2000 else 0)
