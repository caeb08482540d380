"""What expires when, who can renew it, and what each channel serves: the state of a repository for its keepers."""

from dataclasses import dataclass
from datetime import datetime

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.server import calendar
from heirloom.server.calendar import OpenCeremony
from heirloom.signing import places, roles, verify, will
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import URLS, AnyMetadata
from heirloom.signing.repository import Repository

# Share of a role's life that is left when the warning begins. Renewing happens at one half, so a warning about an
# online role means that nobody renews it; people need longer to come together for an offline one.
_WARN_ONLINE = 1 / 4
_WARN_OFFLINE = 1 / 6

OK, SOON, EXPIRED = "ok", "soon", "expired"


@dataclass(frozen=True)
class RoleStatus:
    """One role.

    Attributes:
        version: Of its metadata.
        state: "ok", "soon" (it expires within its warning window) or "expired".
        threshold: Signatures that a new version needs.
        keys_here: Names of its keys whose private half is on this machine.
        renew: What to do to renew it.
        holders: Who can sign for it.
        command: That renews it, or begins to.
        boards: Whose devices stop updating when it expires.
        breaks: What happens then.
    """

    role: str
    version: int
    expires: datetime
    state: str
    threshold: int
    keys_here: list[str]
    renew: str
    holders: list[str]
    command: str
    boards: list[str]
    breaks: str


@dataclass(frozen=True)
class BoardStatus:
    """What a board's channels serve.

    Attributes:
        channels: Channel name to version.
        releases: Versions that devices find, newest first.
        archived: Number of older ones, which other clients find in the archive.
        archive_expires: When the first bin of the archive expires; None without an archive.
    """

    board: str
    channels: dict[str, str]
    releases: list[str]
    archived: int = 0
    archive_expires: datetime | None = None


@dataclass(frozen=True)
class WillStatus:
    """The newest will.

    Attributes:
        root: Version of the root in it.
        state: "live", "void", "opened" or "foreign".
        reason: Why, in one sentence.
    """

    root: int
    state: str
    reason: str


@dataclass(frozen=True)
class Status:
    """The state of a repository.

    Attributes:
        ceremonies: Those that wait.
        will: The newest will; None if there never was one.
        attention: One sentence for each thing that a person should look at.
    """

    product: str
    urls: list[str]
    roles: list[RoleStatus]
    boards: list[BoardStatus]
    ceremonies: list[OpenCeremony]
    will: WillStatus | None
    attention: list[str]


def read(project: Project, now: datetime) -> Status:
    """The status of the project's repository at `now` (UTC).

    Raises:
        HeirloomError: There is no repository, or it does not verify.
    """
    store = KeyStore(project.keys_dir())
    repository = Repository(project.repository, store.anchor())
    names = [roles.ROOT, roles.TARGETS, *verify.delegated_roles(repository.targets()), roles.SNAPSHOT, roles.TIMESTAMP]
    found = [_role(project, store, repository, name, now) for name in names]
    waiting = calendar.ceremonies(project, repository)
    wills = will.state(project, repository)
    newest = wills.live or next(iter(wills.wills), None)
    urls = [str(url) for url in repository.root().signed.unrecognized_fields.get(URLS, [])]
    return Status(
        product=project.product.name,
        urls=urls,
        roles=found,
        boards=[_board(repository, board) for board in repository.boards()],
        ceremonies=waiting,
        will=WillStatus(newest.header.version, newest.state, newest.reason) if newest else None,
        attention=[
            *_expiring(found),
            *_few_places(urls),
            *calendar.stuck(waiting),
            # A new root voids the will; whoever wrote one wants another then.
            *([wills.attention] if wills.attention else []),
            *_archives(repository, now),
        ],
    )


def _role(project: Project, store: KeyStore, repository: Repository, name: str, now: datetime) -> RoleStatus:
    metadata = repository.trusted.role(name)
    threshold = _threshold(repository, name)
    here = _keys_here(project, store, name)
    holders, boards = calendar.holders(repository, project, store, name), repository.boards()
    return RoleStatus(
        role=name,
        version=metadata.signed.version,
        expires=metadata.signed.expires,
        state=_state(metadata, name, now),
        threshold=threshold,
        keys_here=here,
        renew=_renew(name, threshold, here, holders),
        holders=holders,
        command=calendar.command(name),
        boards=calendar.affected(name, boards),
        breaks=calendar.breaks(name, boards),
    )


def _archives(repository: Repository, now: datetime) -> list[str]:
    """One sentence for each archive of which a bin expires soon. No device reads it; other TUF clients may."""
    found = []
    for board in repository.boards():
        role = roles.releases_role(board)
        late = [each for each in repository.archive(board).values() if _state(each, role, now) != OK]
        if late:
            first = min(late, key=lambda each: each.signed.expires)
            verb = "expired" if _state(first, role, now) == EXPIRED else "expire"
            found.append(
                f"old releases of {board} {verb} on {first.signed.expires:%Y-%m-%d} UTC, and TUF clients other than "
                f"devices no longer find them then: signing its next release renews them; `{calendar.command(role)}`"
            )
    return found


def _state(metadata: AnyMetadata, role: str, now: datetime) -> str:
    rule = roles.rule(role)
    left = metadata.signed.expires - now
    if metadata.signed.is_expired(now):
        return EXPIRED
    return SOON if left < rule.lifetime * (_WARN_ONLINE if rule.online else _WARN_OFFLINE) else OK


def _threshold(repository: Repository, role: str) -> int:
    delegator = repository.root().signed if role in roles.TOP_LEVEL else repository.targets().signed
    return delegator.get_delegated_role(role).threshold


def _keys_here(project: Project, store: KeyStore, role: str) -> list[str]:
    here = []
    for uri in project.signing.get(role, []):
        try:
            if store.has(uri):
                here.append(store.name(uri))
        except HeirloomError:
            continue  # a key of a kind that cannot be looked for here, such as a token
    return here


def _renew(role: str, threshold: int, here: list[str], holders: list[str]) -> str:
    if not roles.rule(role).online:
        return f"{threshold} of {', '.join(holders)} must sign a new version"
    if here:
        return "`heirloom renew` here, or a running `heirloom serve`"
    return "`heirloom renew` where its key is"


def _board(repository: Repository, board: str) -> BoardStatus:
    newest_first = [release.version for release in reversed(repository.releases(board))]
    archive = repository.archive(board).values()
    expires = min((each.signed.expires for each in archive), default=None)
    older = len(repository.history(board)) - len(newest_first)
    return BoardStatus(board, repository.channels(board), newest_first, older, expires)


def _expiring(found: list[RoleStatus]) -> list[str]:
    verbs = {SOON: "expires", EXPIRED: "expired"}
    return [
        f"{role.role} {verbs[role.state]} on {role.expires:%Y-%m-%d %H:%M} UTC: {role.renew}, or {role.breaks}; "
        f"`{role.command}`"
        for role in found
        if role.state in verbs
    ]


def _few_places(urls: list[str]) -> list[str]:
    """Devices outlive their maker only if they know a place that does."""
    try:
        places.check(urls)
    except HeirloomError:
        named = ", ".join(urls) or "none"
        return [f"the places that devices know would all go away together ({named}): sign a root that names others too"]
    return []
