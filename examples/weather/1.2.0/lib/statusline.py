"""Formats what the station prints (or shows on a 40 character display)."""

from trend import Trend

TITLE = "weather 1.2.0"

_WIDTH = 40
_HPA_PER_METRE = 0.12  # near sea level


class StatusLine:
    """The newest reading and the pressure trend as one line of text."""

    def __init__(self, name, altitude_m):
        self._name = name
        self._correction = altitude_m * _HPA_PER_METRE
        self._reading = (0.0, 0.0, 0.0)
        self.trend = Trend()

    def add(self, temperature, pressure, humidity):
        """Takes degrees Celsius, hectopascals at the station and percent relative humidity."""
        pressure += self._correction
        self._reading = (temperature, pressure, humidity)
        self.trend.add(pressure)

    def render(self):
        temperature, pressure, humidity = self._reading
        text = "%.1f C  %.1f hPa %s  %.0f %%" % (temperature, pressure, self.trend.word(), humidity)
        room = _WIDTH - len(text) - 2
        if room < 3:
            return text
        return "%s: %s" % (self._name[:room], text)
