"""Warns of a storm: the pressure falls fast."""


class StormWarning:
    """Watches a trend; warns once when the pressure has dropped by `drop_hpa`, and again only after it recovered."""

    def __init__(self, trend, drop_hpa, log):
        self._trend = trend
        self._drop_hpa = drop_hpa
        self._log = log
        self.active = False

    def update(self):
        """Looks at the trend; returns whether a storm warning stands."""
        drop = -self._trend.change()
        if drop >= self._drop_hpa and not self.active:
            self.active = True
            self._log.warning("storm ahead: pressure fell by %.1f hPa", drop)
        elif drop < self._drop_hpa / 2:
            self.active = False
        return self.active
