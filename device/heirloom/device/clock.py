"""The device's clock."""

import time

_YEAR_2000 = 946684800


_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def now() -> int:
    """Unix seconds by the device's clock, which may be years behind. Some ports count from the year 2000."""
    return int(time.time()) + (_YEAR_2000 if time.gmtime(0)[0] == 2000 else 0)


def from_http(date: str) -> str:
    """The Date of an HTTP answer (RFC 9110, 5.6.7) as TUF writes times, "2026-01-31T23:59:59Z"; "" when it is none."""
    words = date.split()
    month = _MONTHS.find(words[2]) if len(words) == 6 else -1
    if month < 0:
        return ""
    text = f"{words[3]}-{month // 3 + 1:02d}-{words[1]}T{words[4]}Z"
    return text if len(text) == 20 else ""
