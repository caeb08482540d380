"""Publishing releases, moving channels, renewing: what the online keys do, each time as one atomic commit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets, Timestamp

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import warn
from heirloom.cli.project import Project
from heirloom.server import plan
from heirloom.server.plan import Plan
from heirloom.server.references import TIMESTAMP
from heirloom.server.store import Store
from heirloom.signing import channels, online, roles
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import parse, utc_now
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository, channel_path, release_path


@dataclass(frozen=True)
class Moved:
    """A release or a channel of one board that a commit brought.

    Attributes:
        channel: That points to the version now; empty if the version is a new release.
    """

    board: str
    version: str
    channel: str = ""


@dataclass(frozen=True)
class Published:
    """What a commit brought.

    Attributes:
        timestamp: Version of the timestamp after it.
        expires: When that timestamp expires.
        moved: New releases and channels that moved.
        files: Names of the new files under metadata/.
        completed: Nothing was left to do but to complete an earlier commit that had been cut short.
        dry_run: Nothing was done.
    """

    timestamp: int
    expires: datetime
    moved: list[Moved] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    completed: bool = False
    dry_run: bool = False


class Publisher:
    """A project's repository, for writing, with the online keys.

    Args:
        project: Names the repository and the keys.
        passphrases: Where passphrases come from; one for the whole run of the program if None.
        dry_run: Check everything that needs no key, and change nothing.
    """

    def __init__(self, project: Project, passphrases: Passphrases | None = None, *, dry_run: bool = False) -> None:
        self.project = project
        self.store = Store(project.repository)
        self._passphrases = passphrases
        self._dry_run = dry_run
        self._opened: dict[str, Sequence[Signer]] = {}
        self._absent: set[str] = set()

    def repository(self) -> Repository:
        """The repository as it is now.

        Raises:
            HeirloomError: There is none yet.
        """
        repository = Repository(self.project.repository, KeyStore(self.project.keys_dir()).anchor())
        if not repository.exists:
            raise HeirloomError(f"there is no repository in {repository.path}", "`heirloom init` makes one")
        return repository

    def open_keys(self) -> None:
        """Open the keys of timestamp and snapshot, so that a passphrase is asked for now and not later.

        Raises:
            HeirloomError: They are not here or do not open.
        """
        for role in (roles.TIMESTAMP, roles.SNAPSHOT):
            self._signers(role)

    def publish(self, version: str, boards: Sequence[str] = (), channel: str | None = None) -> Published:
        """Publish a signed release, and what was signed together with it.

        Args:
            version: The release.
            boards: Boards; all that have the release waiting if empty.
            channel: Points to the release in the same commit.

        Raises:
            HeirloomError: It is published already, not signed, incomplete or orders too low; a key is missing; ...
        """
        with self._publishing() as (repository, completed):
            wanted = plan.boards_to_publish(self.project, repository, version, boards)
            if not wanted and completed:
                return _standing(repository)
            if not wanted:
                raise plan.already_published(version, channel)
            plans = [plan.release(self.project, repository, board, version) for board in wanted]
            total = plan.together(plans)
            moved = [Moved(each.board, build.version) for each in plans for build in each.builds]
            if channel is not None:
                channels.check_name(channel)
                moved += [Moved(board, version, channel) for board in wanted]
                for each in plans:
                    content = total.targets[release_path(each.board, version)]
                    total.targets[channel_path(each.board, channel)] = content
                    total.metadata.update(self._point(repository, each.board, channel, version, each.role))
            return self._commit(repository, total, moved)

    def set_channel(self, channel: str, version: str, boards: Sequence[str] = ()) -> Published:
        """Point a channel to a published release.

        Args:
            channel: The channel; made if it does not exist.
            version: The release.
            boards: Boards; all that list the release if empty.

        Raises:
            HeirloomError: The release is not published or not whole; a key is missing; ...
        """
        channels.check_name(channel)
        with self._publishing() as (repository, completed):
            found = plan.boards_with_release(repository, version, boards)
            wanted = [board for board in found if repository.channels(board).get(channel) != version]
            if not wanted:
                return replace(_standing(repository), completed=completed)
            total = Plan()
            for board in wanted:
                plan.warn_if_lower(repository, board, channel, version)
                total.targets[channel_path(board, channel)] = plan.whole_manifest(repository, board, version)
                total.metadata.update(self._point(repository, board, channel, version))
            return self._commit(repository, total, [Moved(board, version, channel) for board in wanted])

    def renew(self, *, everything: bool = False) -> Published:
        """Sign a new timestamp, and the snapshot and the channels where less than half of their life is left.

        Args:
            everything: Sign all online roles anew.

        Raises:
            HeirloomError: A key is missing, or an offline role has expired, which people must sign first.
        """
        if not self._dry_run:
            self.open_keys()
        with self._publishing() as (repository, _):
            total = Plan()
            late = self.due()
            for board in repository.boards():
                role = roles.channels_role(board)
                if role in late or (everything and self._can_sign(role)):
                    data = b"" if self._dry_run else channels.renewed(repository, board, self._signers(role), utc_now())
                    total.metadata[plan.next_name(repository, role)] = data
            return self._commit(repository, total, [])

    def due(self) -> list[str]:
        """Online roles of which less than half of their life is left and whose keys are here.

        That is the time to renew them, long before anybody has to be warned.
        """
        repository, now = self.repository(), utc_now()
        online_roles = [roles.TIMESTAMP, roles.SNAPSHOT, *map(roles.channels_role, repository.boards())]
        late = [role for role in online_roles if _is_late(repository, role, now)]
        return [role for role in late if self._can_sign(role)]

    @contextmanager
    def _publishing(self) -> Iterator[tuple[Repository, bool]]:
        """The repository, with other publishers kept out; and whether an earlier commit had to be completed first."""
        repository = self.repository()
        if self._dry_run:
            yield repository, False
            return
        with self.store.publishing() as completed:
            yield self.repository(), completed

    def _point(
        self, repository: Repository, board: str, channel: str, version: str, releases: Metadata[Targets] | None = None
    ) -> dict[str, bytes]:
        role = roles.channels_role(board)
        name = plan.next_name(repository, role)
        if self._dry_run:
            return {name: b""}
        return {name: channels.point(repository, board, channel, version, self._signers(role), utc_now(), releases)}

    def _commit(self, repository: Repository, total: Plan, moved: Iterable[Moved]) -> Published:
        if self._dry_run:
            timestamp = repository.timestamp().signed
            names = [*total.metadata, TIMESTAMP]
            return Published(timestamp.version, timestamp.expires, list(moved), sorted(names), dry_run=True)
        signers = {role: self._signers(role) for role in (roles.SNAPSHOT, roles.TIMESTAMP)}
        files = online.refresh(repository, total.metadata, signers, utc_now())
        self.store.commit(files, total.targets, total.blobs, total.attestations)
        return _published(files, moved)

    def _can_sign(self, role: str) -> bool:
        """Whether the role's keys are here; said once if not, for the timestamp does not wait for keys elsewhere."""
        if self._dry_run:
            return True
        try:
            self._signers(role)
        except HeirloomError as exc:
            if role not in self._absent:
                warn(f"{role} is not renewed here: {exc.message}")
            self._absent.add(role)
            return False
        return True

    def _signers(self, role: str) -> Sequence[Signer]:
        if role not in self._opened:
            self._opened[role] = role_signers(self.project, role, self._passphrases)
        return self._opened[role]


def _is_late(repository: Repository, role: str, now: datetime) -> bool:
    return repository.trusted.role(role).signed.expires - now < roles.rule(role).lifetime / 2


def _published(files: Mapping[str, bytes], moved: Iterable[Moved] = ()) -> Published:
    timestamp = parse(Timestamp, files[TIMESTAMP], TIMESTAMP).signed
    return Published(timestamp.version, timestamp.expires, list(moved), sorted(files))


def _standing(repository: Repository) -> Published:
    """Nothing new: the repository as it stands, perhaps after completing an earlier commit."""
    timestamp = repository.timestamp().signed
    return Published(timestamp.version, timestamp.expires, completed=True)
