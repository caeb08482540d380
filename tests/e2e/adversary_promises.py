"""What DESIGN promises of each attack. Nothing here looks at what a device does: the table is held against it."""

from collections.abc import Callable

from adversary_attacks import FALSE_TIME, Attack
from adversary_table import DAYS, STICKS, Cell
from stolen_heist import Loot
from stolen_promises import chooses, installs_code, installs_foreign, installs_old, is_heard, jams, speaks

from heirloom.signing.roles import CHANNELS_PREFIX, RELEASES_PREFIX, SNAPSHOT, TARGETS, TIMESTAMP, rule

_WANTS: dict[str, Callable[[Loot], bool]] = {
    "code": installs_code,
    "other": installs_foreign,
    "old": installs_old,
    "choose": chooses,
    "never": lambda _: False,  # what he signs is refused as such, whatever he holds
    "rollback": lambda _: False,  # P5
    "false root": lambda stolen: "root" in stolen,
    "": lambda _: False,
}


def is_fresh(stolen: Loot, connection: str) -> bool:
    """TUF 5.3.10, 5.4.4, 5.5.6: a device that slept so long takes what was signed since, and nothing older."""
    expiring = (TARGETS, RELEASES_PREFIX, CHANNELS_PREFIX, SNAPSHOT, TIMESTAMP)
    late = [role for role in expiring if rule(role).lifetime.days <= DAYS[connection]]
    return all(speaks(stolen, role) for role in late)


def installs(attack: Attack, stolen: Loot, connection: str) -> bool:
    """P1, P2, P5, and that nothing stale is installed."""
    return _WANTS[attack.goal](stolen) and is_fresh(stolen, connection)


def holds_back(attack: Attack, stolen: Loot, connection: str) -> bool:
    """A freeze goes unnoticed until the first role expires that he cannot renew (ADR 6)."""
    return attack.freezes and is_fresh(stolen, connection)


def keeps_jamming(attack: Attack, stolen: Loot) -> bool:
    """What a stolen timestamp key signed lasts until a root replaces that key (TUF 5.3.11); nothing outlasts that."""
    if attack.goal == "rollback" and not speaks(stolen, SNAPSHOT):
        return False  # a timestamp that points to an older snapshot is refused before it is kept (TUF 5.4.3)
    return attack.poisons and jams(stolen)


def takes_over(attack: Attack, stolen: Loot) -> bool:
    """Whoever holds root is the maker: once a device has taken his root, it is his.

    And targets tells the time for good, up to the expiry of the root that trusts it (ADR 6): whoever holds its
    threshold can install code anyway.
    """
    dates_targets = attack.name == FALSE_TIME and speaks(stolen, TARGETS) and is_heard(stolen)
    return (attack.signs and "root" in stolen) or dates_targets


def wrong(attack: Attack, stolen: Loot, connection: str, cell: Cell | None) -> str:
    """How a cell differs from what is promised; empty if it does not."""
    if cell is None:
        return "" if attack.networks and connection in STICKS else "it was not mounted"
    promised = installs(attack, stolen, connection)
    if cell.installs != promised:
        return "installs" if cell.installs else "does not install, although whoever holds these keys is the maker"
    if promised:
        return ""
    if cell.held_back != holds_back(attack, stolen, connection):
        return "held back unnoticed" if cell.held_back else "not held back, as it is said to be"
    if cell.locks != takes_over(attack, stolen):
        return "locks the device out" if cell.locks else "does not take it over, as it is said to"
    if cell.locks:
        return ""
    if cell.jams != keeps_jamming(attack, stolen):
        return "jams" if cell.jams else "does not jam, as it is said to"
    strange = cell.codes - attack.codes
    return f"refused by {', '.join(sorted(strange))}, which says something else" if strange else ""
