"""Formats what the station prints (or shows on a 40 character display)."""

TITLE = "weather 1.0.0"

_WIDTH = 40
_HPA_PER_METRE = 0.12  # near sea level


class StatusLine:
    """The newest reading as one line of text."""

    def __init__(self, name, altitude_m):
        self._name = name
        self._correction = altitude_m * _HPA_PER_METRE
        self._reading = (0.0, 0.0, 0.0)

    def add(self, temperature, pressure, humidity):
        """Takes degrees Celsius, hectopascals at the station and percent relative humidity."""
        self._reading = (temperature, pressure + self._correction, humidity)

    def render(self):
        temperature, pressure, humidity = self._reading
        text = f"{temperature:.1f} C  {pressure:.1f} hPa  {humidity:.0f} %"
        room = _WIDTH - len(text) - 2
        return f"{self._name[:room]}: {text}"
