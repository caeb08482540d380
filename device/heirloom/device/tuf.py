"""The client workflow of the TUF specification 1.0.34, section 5.

    client = Client(store, fetcher, now)
    client.poll()                      # cheap: one conditional GET when nothing is new
    target = client.find_target("channels/RPI_PICO_W/stable")

Pure: files come from a Store, the network from a Fetcher (protocols.py), the time from the caller.
"""

from heirloom.device.canonical import Document
from heirloom.device.compat import const
from heirloom.device.download import Comparison
from heirloom.device.errors import E_LIMIT, E_MIX, E_NOT_FOUND, E_ROLLBACK, E_STATE, UpdateError
from heirloom.device.keys import Delegation
from heirloom.device.roles import Header, MetaFile, verify_file
from heirloom.device.trust import Trust, file_name, no_rollback, required

__all__ = ("Client", "Config", "Document", "file_name")

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Slice
    from heirloom.device.protocols import Fetcher, Store, TableCache
    from heirloom.device.target import Target

    # Role, delegator, slices of its keys and of its delegation in the delegator (none in the root).
    Step = tuple[str, str, Optional[Slice], Optional[Slice]]


class Config:
    """Limits of one client: bytes, and numbers of things. Change them on an instance."""

    max_root_rotations = 256
    root_max_length = 512_000
    timestamp_max_length = 16_384
    snapshot_max_length = 2_000_000
    targets_max_length = 5_000_000
    max_delegations = 32


class Timestamp(Header):
    """What is needed of a timestamp."""

    def __init__(self, document: Document) -> None:
        """Raises UpdateError E_FORMAT."""
        super().__init__(document, "timestamp")
        self.snapshot = MetaFile(document.value("meta", "snapshot.json"), "snapshot")


class Client:
    """Verified metadata of one repository. Every method raises UpdateError and nothing else.

    now: unix seconds (UTC) at the start of this update (TUF 5.1), 0 without a clock; it is raised to the device's
    own lower bound of time. accept_stale: the owner is present and takes expired metadata this once.
    """

    def __init__(
        self,
        store: "Store",
        fetcher: "Fetcher",
        now: int,
        config: "Optional[Config]" = None,
        tables: "Optional[TableCache]" = None,
        accept_stale: bool = False,
    ) -> None:
        self._trust = Trust(store, fetcher, now, config or Config())
        self._trust.tables = tables
        self._trust.accept_stale = accept_stale
        self._timestamp: "Optional[Timestamp]" = None
        self._snapshot: "Optional[Document]" = None  # open while in use
        # Targets roles found to be right under this snapshot: name, digest of the delegator, delegation; own digest.
        self._visited: "dict[tuple[str, bytes, Optional[Slice]], bytes]" = {}

    def poll(self) -> bool:
        """Asks whether anything is new, by one conditional GET of the timestamp, and if so refreshes.

        False: what is here is complete, unexpired and what the repository has; no signature was checked.
        True: the whole workflow ran, and succeeded.
        """
        if self._complete() and self._unchanged():
            return False
        self.refresh()
        return True

    def refresh(self) -> bool:
        """The whole workflow: root, timestamp, snapshot, targets (TUF 5.3 to 5.6).

        Delegated roles come with find_target. Returns whether a file changed. Each file is stored as soon as it is
        verified, so a cut costs only the rest.
        """
        self._close_snapshot()
        self._trust.changed = False
        if self._trust.root is None:
            self._trust.load_root()
        self._update_root()
        self._timestamp = timestamp = self._update_timestamp()
        self._snapshot = self._current("snapshot", timestamp.snapshot, self._trust.by_root("snapshot"))
        self._visit("targets", "root", None, None, {}).close()
        return self._trust.changed

    def believe(self, now: int) -> None:
        """Goes on with a later time, the network's for example, for the rest of this update; it is kept nowhere.

        Needs poll() or refresh() before. Raises UpdateError E_STALE when what they took has expired by it.
        """
        trust = self._trust
        if now <= trust.now:
            return
        trust.now = now
        self._visited = {}
        trust.check_root()
        if self._timestamp:
            trust.check_expiry(self._timestamp, "5.4.4")
        if self._snapshot:
            trust.check_expiry(Header(self._snapshot, "snapshot"), "5.5.6")

    def find_target(self, path: str) -> "Optional[Target]":
        """Looks a target up, delegations pre-order depth first (TUF 5.6.7), fetching the roles on the way as needed.

        None: no role that may speak for the path lists it. Needs poll() or refresh() before. Raises UpdateError E_LIMIT
        when more than max_delegations roles would have to be asked.
        """
        from heirloom.device.delegation import children
        from heirloom.device.target import find

        seen: "dict[str, bytes]" = {}
        steps: "list[Step]" = [("targets", "root", None, None)]
        while steps:
            role, delegator, keys, where = steps.pop()
            if role in seen:  # TUF 5.6.7.1: cycles end here
                continue
            if len(seen) > self._trust.config.max_delegations:
                raise UpdateError(E_LIMIT, f"{path} is delegated over more than {len(seen) - 1} roles (TUF 5.6.7.1)")
            document = self._visit(role, delegator, keys, where, seen)
            found = find(document, path)
            if found is None:
                following, terminating = children(document, path)
                if terminating:  # TUF 5.6.7.2.1
                    steps = []
                for name, keys, where in reversed(following):
                    steps.append((name, role, keys, where))
            document.close()
            if found is not None:
                return found
        return None

    def value(self, role: str, *path: str) -> object:
        """What stands under these names in `signed` of a trusted top-level file; None when it is absent.

        For example "root", "x-heirloom-urls". Only what is looked up is loaded, from the file that lies here, expired
        or not, without network.
        """
        if self._trust.root is None:
            self._trust.load_root()
        if role == "root":
            return self._trust.trusted_root().value(*path)
        document = self._trust.local(role, self._trust.by_root(role))
        if document is None:
            return None
        try:
            return document.value(*path)
        finally:
            document.close()

    def close(self) -> None:
        """Closes the files that are open, and saves the notes. Without it, only time is lost."""
        self._close_files()
        self._trust.notes.save()

    def _close_files(self) -> None:
        self._trust.close_root()
        self._timestamp = None
        self._close_snapshot()

    def _close_snapshot(self) -> None:
        if self._snapshot:
            self._snapshot.close()
        self._snapshot = None
        self._visited = {}

    # TUF 5.3

    def _update_root(self) -> None:
        """Takes the roots after the one here, one at a time, each stored before the next is asked for (TUF 5.3)."""
        trust = self._trust
        for _ in range(trust.config.max_root_rotations):
            version = trust.root_header.version + 1
            try:
                download = trust.download("root", version, trust.config.root_max_length)  # TUF 5.3.3
            except UpdateError as error:
                if error.code != E_NOT_FOUND:
                    raise
                break
            from heirloom.device.rootchain import take

            take(trust, download, version)
        trust.check_root()

    # TUF 5.4

    def _update_timestamp(self) -> Timestamp:
        """The timestamp of now: fetches it and takes it when it is newer than the one here (TUF 5.4)."""
        trust = self._trust
        if trust.changed:  # a new root: what poll() has looked at holds no longer
            self._timestamp = None
        old = self._timestamp or self._stored_timestamp()
        etag = trust.notes.etag if old and trust.notes.etag else None
        download = trust.download("timestamp", None, trust.config.timestamp_max_length, etag)  # TUF 5.4.1
        try:
            document = download.document()
            new = old if old and download.etag is None else self._newer_timestamp(document, old)
            trust.check_expiry(new, "5.4.4")
        except UpdateError:
            download.discard()
            raise
        if new is old:
            download.discard()
        else:
            trust.store_verified(download, document, trust.trusted_root()).close()  # TUF 5.4.5
            trust.notes.etag = download.etag or ""
            trust.learn_time(new)
        return new

    def _stored_timestamp(self) -> "Optional[Timestamp]":
        """The timestamp that lies here, if the trusted root's keys signed it; it may have expired."""
        document = self._trust.local("timestamp", self._trust.by_root("timestamp"))
        if document is None:
            return None
        try:
            stored = Timestamp(document)
        except UpdateError:
            return None
        finally:
            document.close()
        self._trust.learn_time(stored)
        return stored

    def _newer_timestamp(self, document: Document, old: "Optional[Timestamp]") -> Timestamp:
        """Verifies a timestamp; gives the old one when it is of the same version."""
        trust = self._trust
        document.check()
        trust.by_root("timestamp").verify(document, "5.4.2", trust.tables)
        new = Timestamp(document)
        if old:
            if new.version == old.version:  # TUF 5.4.3.1: not an error, whatever else changed
                return old
            no_rollback("timestamp", new.version, old.version, "5.4.3.1")
            no_rollback("snapshot in the timestamp", new.snapshot.version, old.snapshot.version, "5.4.3.2")
        return new

    # TUF 5.5, 5.6

    def _current(self, role: str, meta: MetaFile, delegation: Delegation) -> Document:
        """The snapshot or a targets role as another role describes it: the file here, or a new one."""
        return self._stored(role, meta, delegation) or self._fetched(role, meta, delegation)

    def _stored(self, role: str, meta: MetaFile, delegation: Delegation) -> "Optional[Document]":
        """The file of a role that lies here, if it is the one described, fresh and signed as the delegation wants."""
        trust = self._trust
        document = trust.stored(role)
        if document is not None:
            try:
                header = Header(document, _kind(role))
                if header.version == meta.version and not trust.expired(header) and trust.signed(document, delegation):
                    if role != "snapshot":  # it was the one described when it was stored
                        verify_file(document, meta, "5.6.2")
                    trust.learn_time(header, delegation.delegator.name)
                    return document
            except UpdateError:
                pass
            document.close()
        return None

    def _fetched(self, role: str, meta: MetaFile, delegation: Delegation) -> Document:
        """A new file of a role, verified for this very delegation, and stored (TUF 5.5, 5.6)."""
        trust = self._trust
        section, expiry, by, limit = "5.6", "5.6.5", "snapshot", trust.config.targets_max_length
        if role == "snapshot":
            section, expiry, by, limit = "5.5", "5.5.6", "timestamp", trust.config.snapshot_max_length
        download = trust.versioned(role, meta, limit)  # TUF 5.5.1, 5.6.1
        try:
            document = download.document()
            document.check()
            verify_file(document, meta, section + ".2")
            delegation.verify(document, section + ".3", trust.tables)
            header = Header(document, _kind(role))
            _same_version(header, meta, by, section + ".4")
            if role == "snapshot":
                self._check_roles(document, delegation)
            trust.check_expiry(header, expiry)
        except UpdateError:
            download.discard()
            raise
        trust.learn_time(header, delegation.delegator.name)
        return trust.store_verified(download, document, delegation.delegator)  # TUF 5.5.7, 5.6.6

    def _check_roles(self, snapshot: Document, delegation: Delegation) -> None:
        """Every role that the old snapshot lists must be in the new one, in no older version (TUF 5.5.5)."""
        old = self._trust.local("snapshot", delegation)
        if old:
            try:
                _no_role_back(old, snapshot)
            finally:
                old.close()

    def _visit(
        self, role: str, delegator: str, keys: "Optional[Slice]", where: "Optional[Slice]", seen: "dict[str, bytes]"
    ) -> Document:
        """Opens a targets role, verified for this delegator (TUF 5.6.1 to 5.6.6); takes down its digest in seen.

        keys, where: slices of the delegator's keys and of the delegation; where is None for the root's.
        """
        trust = self._trust
        by = seen.get(delegator) or trust.trusted_root().digest
        digest = self._visited.get((role, by, where))
        if digest:
            document = trust.stored(role)
            if document and document.digest == digest:
                seen[role] = digest
                return document
        meta = self._described(role)
        if where is None:
            document = self._current(role, meta, trust.by_root(role))
        else:
            parent = trust.kept(delegator, by)
            try:
                document = self._current(role, meta, Delegation(parent, keys, where))
            finally:
                parent.close()
        seen[role] = document.digest
        self._visited[role, by, where] = document.digest
        return document

    def _described(self, role: str) -> MetaFile:
        """How the snapshot describes a role. Raises UpdateError E_MIX when it does not list it."""
        if self._snapshot is None:
            raise UpdateError(E_STATE, "no snapshot is trusted yet")
        where = self._snapshot.find(required(self._snapshot, "meta"), role + ".json")
        if where is None:
            raise UpdateError(E_MIX, f"{role} is delegated to, but the snapshot does not list it (TUF 5.6.1)")
        return MetaFile(self._snapshot.load(where), role)

    # A poll

    def _complete(self) -> bool:
        """Whether the files that lie here are all there, fit together and have not expired."""
        trust = self._trust
        self._close_files()
        try:
            trust.load_root()
            trust.check_root()
            self._timestamp = timestamp = self._stored_timestamp()
            if timestamp is None or trust.expired(timestamp):
                return False
            self._snapshot = self._stored("snapshot", timestamp.snapshot, trust.by_root("snapshot"))
            if self._snapshot is None:
                return False
            targets = self._stored("targets", self._described("targets"), trust.by_root("targets"))
            if targets is None:
                return False
            targets.close()
        except UpdateError:
            return False
        return True

    def _unchanged(self) -> bool:
        """Whether the repository still has the timestamp that lies here. Publishing a root changes it, too."""
        trust = self._trust
        stream = trust.store.open("timestamp")
        if stream is None:
            return False
        try:
            limit = trust.config.timestamp_max_length
            sink = Comparison(stream, "timestamp", limit)
            etag = trust.fetcher.fetch("timestamp.json", limit, sink, trust.notes.etag or None)
            same = etag is None or sink.same()
            if same and etag:
                trust.notes.etag = etag
        finally:
            stream.close()
        return same


def _kind(role: str) -> str:
    """The type of file that a role other than root and timestamp has."""
    return "snapshot" if role == "snapshot" else "targets"


def _same_version(header: Header, meta: MetaFile, by: str, section: str) -> None:
    """Mix-and-match: a role must be of the version that the role above it describes."""
    if header.version != meta.version:
        sentence = f"{header.name} is version {header.version}, the {by} wants {meta.version} (TUF {section})"
        raise UpdateError(E_MIX, sentence)


def _no_role_back(old: Document, new: Document) -> None:
    following = new.members(required(new, "meta"))
    name, where = "", (0, 0)
    for wanted, old_where in old.members(required(old, "meta")):
        # Both are in ascending order.
        while name != wanted:
            try:
                name, where = next(following)
            except StopIteration:
                raise UpdateError(E_ROLLBACK, f"snapshot no longer lists {wanted} (TUF 5.5.5)") from None
        if old.read(old_where) == new.read(where):  # most are as they were
            continue
        seen = MetaFile(old.load(old_where), wanted).version
        version = MetaFile(new.load(where), wanted).version
        no_rollback(f"{wanted} in the snapshot", version, seen, "5.5.5")
