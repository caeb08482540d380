"""What DESIGN promises about stolen keys, one small predicate for each thing that a thief may want.

Nothing here looks at what a device does: the table of `stolen_heist` is held against it, cell by cell.
"""

from stolen_heist import Loot, Row

from heirloom.signing.roles import CHANNELS_PREFIX, RELEASES_PREFIX, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, rule


def speaks(stolen: Loot, role: str) -> bool:
    """Whether the thief decides what a role says. DESIGN 4: root says who holds every role, targets delegates."""
    if "root" in stolen:
        return True
    if role == RELEASES_PREFIX:
        return "all releases keys" in stolen or "targets" in stolen
    if role == CHANNELS_PREFIX:
        return "channels" in stolen or "targets" in stolen
    return role in stolen


def is_heard(stolen: Loot) -> bool:
    """Whether a device looks at what he signs: TUF, snapshot and timestamp say which version of a role counts."""
    return speaks(stolen, SNAPSHOT) and speaks(stolen, TIMESTAMP)


def installs_code(stolen: Loot) -> bool:
    """P1: a threshold of the right keys. P2: its channel must point to it *and* its releases role must list it."""
    return is_heard(stolen) and speaks(stolen, CHANNELS_PREFIX) and speaks(stolen, RELEASES_PREFIX)


def installs_old(stolen: Loot) -> bool:
    """P5: no way back, but by signing the old content under a new sequence, which is a new release."""
    return installs_code(stolen)


def installs_foreign(stolen: Loot) -> bool:
    """P1, DESIGN 4: the manifest names product and board, so nothing short of a new manifest."""
    return installs_code(stolen)


def chooses(stolen: Loot) -> bool:
    """P2: online keys can only choose among releases that offline keys signed, never below what the device has."""
    return is_heard(stolen) and speaks(stolen, CHANNELS_PREFIX)


def jams(stolen: Loot) -> bool:
    """TUF 5.3.11, DESIGN 4 (Clock): what a stolen timestamp key signed lasts until a root replaces that key."""
    return speaks(stolen, TIMESTAMP)


def locks(stolen: Loot) -> bool:
    """P6: any root is followed, and it forgets what online keys said; but who runs code on a device owns it."""
    return installs_code(stolen)


def hold_days(stolen: Loot) -> int | None:
    """TUF 5.4.4, docs/adr/0006: until the first role expires that he cannot renew. None: never."""
    if not speaks(stolen, TIMESTAMP):
        return rule(TIMESTAMP).lifetime.days
    if not speaks(stolen, SNAPSHOT):
        return rule(SNAPSHOT).lifetime.days
    left = [CHANNELS_PREFIX, RELEASES_PREFIX, TARGETS, ROOT]
    return min((rule(role).lifetime.days for role in left if not speaks(stolen, role)), default=None)


def promised(stolen: Loot) -> Row:
    """The row of the table that DESIGN's promises imply."""
    return Row(
        code=installs_code(stolen),
        old=installs_old(stolen),
        other=installs_foreign(stolen),
        choose=chooses(stolen),
        jam=jams(stolen),
        lock=locks(stolen),
        hold_days=hold_days(stolen),
    )
