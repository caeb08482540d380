"""The trend of the air pressure, from a short history of averages."""

from time import ticks_diff, ticks_ms

_SLOTS = 12  # averages kept
_SLOT_MS = 15 * 60 * 1000  # each over a quarter of an hour: three hours altogether
_STEADY_HPA = 0.5


class Trend:
    """Tells rising from falling pressure. Holds a fixed number of averages, however long it runs."""

    def __init__(self, slot_ms=_SLOT_MS):
        self._slot_ms = slot_ms
        self._averages = []
        self._sum = 0.0
        self._count = 0
        self._slot_start = ticks_ms()

    def add(self, pressure):
        """Takes one pressure in hectopascals."""
        if self._count and ticks_diff(ticks_ms(), self._slot_start) >= self._slot_ms:
            self._close_slot()
        self._sum += pressure
        self._count += 1

    def change(self):
        """Returns the change in hectopascals from the oldest average to the present one."""
        if not self._averages or not self._count:
            return 0.0
        return self._sum / self._count - self._averages[0]

    def word(self):
        """Returns "rising", "falling" or "steady"."""
        change = self.change()
        if change > _STEADY_HPA:
            return "rising"
        if change < -_STEADY_HPA:
            return "falling"
        return "steady"

    def _close_slot(self):
        self._averages.append(self._sum / self._count)
        if len(self._averages) > _SLOTS:
            self._averages.pop(0)
        self._sum = 0.0
        self._count = 0
        self._slot_start = ticks_ms()
