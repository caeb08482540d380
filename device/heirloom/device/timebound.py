"""A lower bound of the time, for devices whose clock is missing, wrong or lied to (docs/adr/0006).

Two parts, in unix seconds. The offline part is raised by the signing times of root and targets. The online part is
raised by those of the timestamp and of the roles named releases-* that targets itself delegates to: by keys that one
person or one server holds. So it counts only up to the expiry of the trusted root, and a root that changes the
timestamp or snapshot keys, without which none of it gets here, discards it (docs/adr/0009). No expiry date raises
anything, and no clock.
"""


class TimeBound:
    """Both parts of the bound."""

    def __init__(self, offline: int = 0, online: int = 0) -> None:
        self.offline = offline
        self.online = online

    def raise_by(self, role: str, delegator: str, signed_at: int, expires: int, root_expires: int) -> None:
        """Takes note of when a verified role was signed, all times in unix seconds.

        A time after the role's own expiry or that of the trusted root is absurd, or a thief's: it does not count.
        """
        if signed_at > min(expires, root_expires):
            return
        if role in ("root", "targets"):
            self.offline = max(self.offline, signed_at)
        # Who delegated to releases-* matters: a thief of an online targets role can delegate to any name.
        elif role == "timestamp" or (delegator == "targets" and role.startswith("releases-")):
            self.online = max(self.online, signed_at)

    def discard_online(self) -> None:
        """The timestamp or snapshot keys changed: what the old ones said of the time is worth nothing."""
        self.online = 0

    def lower(self, root_expires: int) -> int:
        """The time it is at least, under a trusted root with this expiry."""
        return max(self.offline, self.online if self.online <= root_expires else 0)
