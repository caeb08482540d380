"""Publishing a complete ceremony, so that no reader is ever refused and a killed run can be repeated.

Clients take a new root as soon as it lies there (TUF 5.3), a moment before its timestamp. Where the keys allow it,
everything else is therefore published first, signed so that the old and the new root both accept it; then the root.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.server.references import TIMESTAMP
from heirloom.server.store import Store
from heirloom.signing import online, roles
from heirloom.signing.ceremony import projectfile
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.ceremony import Ceremony
from heirloom.signing.ceremony.draft import is_signed
from heirloom.signing.ceremony.holders import keys_of, names_in
from heirloom.signing.ceremony.keyring import Keyring
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import (
    file_name,
    first_role,
    next_role,
    parse,
    parse_file_name,
    sign,
    to_bytes,
    utc_now,
)
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository

_ONLINE = (roles.SNAPSHOT, roles.TIMESTAMP)


@dataclass(frozen=True)
class Finished:
    """What finishing brought.

    Attributes:
        files: New files under metadata/, in the order of their publication; empty if all was published already.
        timestamp: Version of the timestamp after it.
        project_file: What changed in heirloom.toml.
        dry_run: Nothing was done.
    """

    ceremony: str
    files: list[str]
    timestamp: int
    expires: datetime
    project_file: list[str] = field(default_factory=list)
    dry_run: bool = False


class Finisher:
    """Finishes ceremonies of a project.

    Args:
        project: Names the repository and the keys.
        passphrases: Where passphrases come from.
    """

    def __init__(self, project: Project, passphrases: Passphrases | None = None) -> None:
        self.project = project
        self._keys = KeyStore(project.keys_dir())
        self._keyring = Keyring(self._keys, project, passphrases)
        self._store = Store(project.repository)

    def finish(self, ceremony: Ceremony, *, dry_run: bool = False) -> Finished:
        """Publish what a ceremony brings, or the rest of it after an interruption.

        Raises:
            HeirloomError: Signatures or the online keys are missing, it is aborted, expired, or was overtaken.
        """
        if dry_run:
            return self._finish(ceremony, dry_run=True)
        with self._store.publishing():
            return self._finish(ceremony, dry_run=False)

    def _finish(self, ceremony: Ceremony, *, dry_run: bool) -> Finished:
        now, repository = utc_now(), self._repository()
        base = ceremony.base(repository.read, repository.anchor)
        published = ceremony.published(repository)
        if published != set(ceremony.documents):
            ceremony.check(base, self.project.product.name, now)
            ceremony.check_current(repository)
        signed = ceremony.complete(base)
        rest = {name: data for name, data in signed.items() if name not in published}
        files = [*rest, TIMESTAMP] if dry_run and rest else self._publish(rest, base, now)
        changed = [] if dry_run else projectfile.update(self.project, self._repository(), self._known(ceremony, base))
        timestamp = self._repository().timestamp().signed
        return Finished(ceremony.path.name, files, timestamp.version, timestamp.expires, changed, dry_run)

    def _repository(self) -> Repository:
        return Repository(self.project.repository, self._keys.anchor())

    def _publish(self, files: Mapping[str, bytes], base: Base, now: datetime) -> list[str]:
        if not files:
            return []
        step = _Step(self._repository(), base, files, self._keyring, now)
        before = step.before_the_root()
        if before:
            self._store.commit(before, {}, [])
        rest = {name: data for name, data in files.items() if name not in before}
        after = _Step(self._repository(), base, rest, self._keyring, now).together()
        self._store.commit(after, {}, [])
        return [*(name for name in before if name not in after), *after]

    def _known(self, ceremony: Ceremony, base: Base) -> projectfile.Known:
        """What heirloom.toml can be told: URIs of keys here, and those that the proposal names."""
        handed_over = []
        now = self._repository()
        for role in roles.product_roles(now.boards()):
            old = base.root.signed if role in roles.TOP_LEVEL else base.targets.signed
            new = now.root().signed if role in roles.TOP_LEVEL else now.targets().signed
            before = {key.keyid for key in keys_of(old, role)}
            if before and not before & {key.keyid for key in keys_of(new, role)}:
                handed_over.append(role)
        return projectfile.Known({**ceremony.proposal.uris, **self._keyring.uris()}, handed_over)


class _Step:
    """One publication: signed documents, the channels that need new signatures, snapshot and timestamp."""

    def __init__(
        self, repository: Repository, base: Base, files: Mapping[str, bytes], keyring: Keyring, now: datetime
    ) -> None:
        self.repository, self.base, self.files = repository, base, dict(files)
        self.keyring, self.now = keyring, now
        self.old_root, self.old_targets = repository.root(), repository.targets()
        self.root, self.targets = self.old_root, self.old_targets
        for name, data in self.files.items():
            role = parse_file_name(name)[1]
            if role == roles.ROOT:
                self.root = parse(Root, data, name)
            elif role == roles.TARGETS:
                self.targets = parse(Targets, data, name)

    def together(self) -> dict[str, bytes]:
        """Everything in one publication."""
        files = {**self.files, **self._channels()}
        return online.refresh(self.repository, files, self._online(), self.now)

    def before_the_root(self) -> dict[str, bytes]:
        """What both roots accept, to be published first; empty if there is no need or no way.

        No need: what is published stays valid under the new root. No way: somebody's old key is not at hand.
        """
        if self.root is self.old_root or self._stays_valid():
            return {}
        if not is_signed(self.targets, roles.TARGETS, self.old_root) or not self._both_online():
            return {}
        if not is_signed(self.targets, roles.TARGETS, self.root):
            return {}
        files = {name: data for name, data in self.files.items() if parse_file_name(name)[1] != roles.ROOT}
        files |= self._channels()
        return online.refresh(self.repository, files, self._online(), self.now, new_snapshot=True)

    def _stays_valid(self) -> bool:
        trusted = self.repository.trusted
        return all(is_signed(trusted.role(role), role, self.root) for role in (*_ONLINE, roles.TARGETS))

    def _both_online(self) -> bool:
        """Whether enough old and new keys of snapshot and timestamp are here."""
        for root in (self.old_root.signed, self.root.signed):
            for role in _ONLINE:
                keyids = root.get_delegated_role(role).keyids
                if len(self.keyring.here(keyids)) < root.get_delegated_role(role).threshold:
                    return False
        return True

    def _online(self) -> dict[str, Sequence[Signer]]:
        """The signers of snapshot and timestamp: the new keys, and the old ones if they are here."""
        return {role: self._signers(role, self.root.signed, self.old_root.signed) for role in _ONLINE}

    def _signers(self, role: str, delegator: Root | Targets, before: Root | Targets) -> list[Signer]:
        needed = {key.keyid for key in keys_of(delegator, role)}
        threshold = delegator.get_delegated_role(role).threshold
        found = self.keyring.here(needed)
        if len(found) < threshold:
            names = {**self.base.names(), **names_in(self.root), **names_in(self.targets), **self.keyring.names()}
            wanted = ", ".join(names.get(keyid, keyid[:8]) for keyid in sorted(needed - set(found)))
            raise HeirloomError(
                f"{role} needs {threshold} of its keys to finish, and {wanted} is not here",
                "run `heirloom ceremony finish` where the online keys are; the folder and the repository are enough",
            )
        former = [key.keyid for key in keys_of(before, role) if key.keyid not in needed]
        return self.keyring.signers([*found, *self.keyring.here(former)])

    def _channels(self) -> dict[str, bytes]:
        """New versions of the channels whose signature does not count any more, and the first ones of new boards."""
        files = {}
        delegations = self.targets.signed.delegations
        for role in delegations.roles or {} if delegations else {}:
            if not role.startswith(roles.CHANNELS_PREFIX):
                continue
            current = self.repository.trusted.delegated.get(role)
            if current is not None and is_signed(current, role, self.targets):
                continue
            following = next_role(current, role, self.now) if current else first_role(role, self.now)
            sign(following, self._signers(role, self.targets.signed, self.old_targets.signed))
            files[file_name(role, following.signed.version)] = to_bytes(following)
        return files
