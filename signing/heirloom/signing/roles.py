"""The roles of a product and their rules, as data: who signs, how many of them, and for how long (DESIGN 4)."""

import re
from dataclasses import dataclass
from datetime import timedelta

ROOT = "root"
TARGETS = "targets"
SNAPSHOT = "snapshot"
TIMESTAMP = "timestamp"
TOP_LEVEL = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)

RELEASES_PREFIX = "releases-"
CHANNELS_PREFIX = "channels-"

# Boards are in capitals, as MicroPython names them, so this is the end of no board's role.
_BIN = re.compile(r"(releases-.+-archive)-[0-9a-f]+")
_ARCHIVE = "-archive"

# Every device downloads the snapshot, so it stays small however many boards a product has.
SNAPSHOT_LIMIT_BYTES = 16 * 1024
# The hash that binds metadata and targets to each other, and names target files and blobs.
HASH = "sha256"


@dataclass(frozen=True)
class RoleRule:
    """How one kind of role is held.

    Attributes:
        key_count: Keys that a new product gets for it.
        threshold: How many of them must sign.
        lifetime: From signing to expiry.
        online: The key lies on the publishing server, where it signs without a person.
        dated: Its metadata carries `x-heirloom-signed-at`, from which devices learn a lower bound of time.
    """

    key_count: int
    threshold: int
    lifetime: timedelta
    online: bool
    dated: bool


_RULES = {
    ROOT: RoleRule(3, 2, timedelta(days=730), online=False, dated=True),
    TARGETS: RoleRule(3, 2, timedelta(days=365), online=False, dated=True),
    RELEASES_PREFIX: RoleRule(1, 1, timedelta(days=365), online=False, dated=True),
    CHANNELS_PREFIX: RoleRule(1, 1, timedelta(days=90), online=True, dated=False),
    SNAPSHOT: RoleRule(1, 1, timedelta(days=14), online=True, dated=False),
    TIMESTAMP: RoleRule(1, 1, timedelta(days=7), online=True, dated=True),
}


def rule(role: str) -> RoleRule:
    """The rule for `role`, which may be a board's role as in "releases-RPI_PICO_W"; KeyError for other names."""
    for prefix in (RELEASES_PREFIX, CHANNELS_PREFIX):
        if role.startswith(prefix):
            return _RULES[prefix]
    return _RULES[role]


def releases_role(board: str) -> str:
    """The role that lists the releases of `board`."""
    return RELEASES_PREFIX + board


def channels_role(board: str) -> str:
    """The role that says which release each channel of `board` points to."""
    return CHANNELS_PREFIX + board


def archive_prefix(releases: str) -> str:
    """What the names of the archive's bins begin with, below a board's releases role."""
    return releases + _ARCHIVE


def archived_below(role: str) -> str | None:
    """The releases role that the bin `role` belongs to; None if it is no bin of an archive."""
    match = _BIN.fullmatch(role)
    return match[1].removesuffix(_ARCHIVE) if match else None


def board_of(role: str) -> str:
    """The board of a board's role or of a bin of its archive."""
    return (archived_below(role) or role).partition("-")[2]


def board_roles(board: str) -> tuple[str, str]:
    """Both roles of one board, in the order in which targets delegates to them."""
    return releases_role(board), channels_role(board)


def paths(role: str) -> list[str]:
    """The target paths that a board's role may list (TUF path patterns)."""
    return [f"{role.partition('-')[0]}/{board_of(role)}/*"]


def key_names(role: str) -> list[str]:
    """The names of the keys that a new product gets for `role`: root-1 to root-3, releases-BOARD-1, snapshot."""
    count = rule(role).key_count
    numbered = not rule(role).online
    return [f"{role}-{number}" for number in range(1, count + 1)] if numbered else [role]


def product_roles(boards: list[str]) -> list[str]:
    """All roles of a product with these boards, the offline ones first."""
    delegated = [role for board in boards for role in board_roles(board)]
    return [ROOT, TARGETS, *delegated, SNAPSHOT, TIMESTAMP]
