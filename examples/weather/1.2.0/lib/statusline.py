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
        text = f"{temperature:.1f} C  {pressure:.1f} hPa {self.trend.word()}  {humidity:.0f} %"
        room = _WIDTH - len(text) - 2
        if room < 3:
            return text
        return f"{self._name[:room]}: {text}"
