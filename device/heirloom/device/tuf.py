"""The client workflow of the TUF specification 1.0.34, section 5.

    client = Client(store, fetcher, now)
    client.poll()                      # cheap: one conditional GET when nothing is new
    target = client.find_target("channels/RPI_PICO_W/stable")

Pure: files come from a Store, the network from a Fetcher (protocols.py), the time from the caller.
"""

from heirloom.device import keys
from heirloom.device.canonical import Document
from heirloom.device.compat import const
from heirloom.device.download import Comparison
from heirloom.device.errors import E_LIMIT, E_MIX, E_ROLLBACK, E_STATE, UpdateError
from heirloom.device.roles import Header, MetaFile, verify_file
from heirloom.device.trust import TOP_LEVEL, Trust, file_name, required

__all__ = ("Client", "Config", "file_name")

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Slice
    from heirloom.device.protocols import Fetcher, Store, TableCache
    from heirloom.device.target import Target

    Step = tuple[str, str, Optional[Slice]]  # role, delegator, slice of its delegation in the delegator


class Config:
    """Limits of one client: bytes, and numbers of things. Change them on an instance."""

    max_root_rotations = 256
    root_max_length = 512_000
    timestamp_max_length = 16_384
    snapshot_max_length = 2_000_000
    targets_max_length = 5_000_000
    max_delegations = 32


class Timestamp:
    """What is needed of a timestamp."""

    def __init__(self, document: Document) -> None:
        """Raises UpdateError E_FORMAT."""
        self.header = Header(document, "timestamp")
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
        self.close()
        self._trust.changed = False
        try:
            self._trust.load_root()
            self.update_root()
            self.update_timestamp()
            self.update_snapshot()
            self.update_targets()
        finally:
            self._trust.notes.save()
        return self._trust.changed

    def believe(self, now: int) -> None:
        """Goes on with a later time, the network's for example, for the rest of this update; it is kept nowhere.

        Needs poll() or refresh() before. Raises UpdateError E_STALE when what they took has expired by it.
        """
        trust = self._trust
        if now <= trust.now:
            return
        trust.now = now
        trust.check_root()
        trust.check_expiry(self._trusted_timestamp().header, "5.4.4")
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
        steps: "list[Step]" = [("targets", "root", None)]
        try:
            while steps:
                role, delegator, where = steps.pop()
                if role in seen:  # TUF 5.6.7.1: cycles end here
                    continue
                if len(seen) > self._trust.config.max_delegations:
                    raise UpdateError(
                        E_LIMIT, f"{path} is delegated over more than {len(seen) - 1} roles (TUF 5.6.7.1)"
                    )
                document = self._visit(role, delegator, where, seen)
                found = find(document, path)
                if found is None:
                    following, terminating = children(document, path)
                    if terminating:  # TUF 5.6.7.2.1
                        steps = []
                    for name, slice_ in reversed(following):
                        steps.append((name, role, slice_))
                document.close()
                if found is not None:
                    return found
        finally:
            self._trust.notes.save()
        return None

    def value(self, role: str, *path: str) -> object:
        """What stands under these names in `signed` of a trusted top-level file; None when it is absent.

        For example "root", "x-heirloom-urls". Only what is looked up is loaded, from the file that lies here, expired
        or not, without network.
        """
        if self._trust.root is None:
            self._trust.load_root()
        if role == "root":
            return self._trust.trusted_root()[0].value(*path)
        document = self._trust.local(role, self._trust.by_root(role))
        if document is None:
            return None
        try:
            return document.value(*path)
        finally:
            document.close()

    def versions(self) -> "dict[str, int]":
        """Versions of the top-level files that lie here, for status reports: {"root": 1, "timestamp": 4, ...}."""
        if self._trust.root is None:
            self._trust.load_root()
        found = {"root": self._trust.trusted_root()[1].version}
        for role in TOP_LEVEL[1:]:
            document = self._trust.stored(role)
            if document is not None:
                try:
                    found[role] = Header(document, role).version
                except UpdateError:
                    pass
                document.close()
        return found

    def close(self) -> None:
        """Closes the files that are open."""
        self._trust.close_root()
        if self._snapshot:
            self._snapshot.close()
        self._snapshot = None

    # TUF 5.3

    def update_root(self) -> None:
        """Takes the roots after the one here, one at a time (TUF 5.3)."""
        from heirloom.device.rootchain import update

        update(self._trust)

    # TUF 5.4

    def update_timestamp(self) -> None:
        """Fetches the timestamp and takes it when it is newer (TUF 5.4)."""
        trust = self._trust
        self._timestamp = old = self._stored_timestamp()
        etag = trust.notes.etag if old and trust.notes.etag else None
        download = trust.download("timestamp", None, trust.config.timestamp_max_length, etag)  # TUF 5.4.1
        if download:
            try:
                document = download.document()
                new = self._newer_timestamp(document, old)
            except UpdateError:
                download.discard()
                raise
            if new:
                trust.store_verified(download, document, trust.trusted_root()[0]).close()  # TUF 5.4.5
                trust.notes.etag = download.etag
                trust.learn_time(new.header)
                self._timestamp = new
                return
            download.discard()
        trust.check_expiry(self._trusted_timestamp().header, "5.4.4")

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
        self._trust.learn_time(stored.header)
        return stored

    def _trusted_timestamp(self) -> Timestamp:
        if not self._timestamp:
            raise UpdateError(E_STATE, "there is no trusted timestamp")
        return self._timestamp

    def _newer_timestamp(self, document: Document, old: "Optional[Timestamp]") -> "Optional[Timestamp]":
        """Verifies a timestamp; None when it is of the version that is here already."""
        trust = self._trust
        document.check()
        keys.verify(document, trust.by_root("timestamp"), "5.4.2", trust.tables)
        new = Timestamp(document)
        if old:
            if new.header.version == old.header.version:  # TUF 5.4.3.1: not an error, whatever else changed
                return None
            _no_rollback("timestamp", new.header.version, old.header.version, "5.4.3.1")
            _no_rollback("snapshot in the timestamp", new.snapshot.version, old.snapshot.version, "5.4.3.2")
        trust.check_expiry(new.header, "5.4.4")
        return new

    # TUF 5.5

    def update_snapshot(self) -> None:
        """Fetches the snapshot that the timestamp describes, if it is not here (TUF 5.5)."""
        if self._have_snapshot():
            return
        trust = self._trust
        meta = self._trusted_timestamp().snapshot
        delegation = trust.by_root("snapshot")
        # TUF 5.5.1; the length of the timestamp, or the limit when it gives none.
        download = trust.versioned("snapshot", meta, trust.config.snapshot_max_length)
        old = trust.local("snapshot", delegation)
        try:
            document = download.document()
            document.check()
            verify_file(document, meta.length, meta.hashes, "5.5.2")
            keys.verify(document, delegation, "5.5.3", trust.tables)
            header = Header(document, "snapshot")
            _same_version(header, meta, "timestamp", "5.5.4")
            if old:
                _no_role_back(old, document)
            trust.check_expiry(header, "5.5.6")
        except UpdateError:
            download.discard()
            raise
        finally:
            if old:
                old.close()
        self._snapshot = trust.store_verified(download, document, delegation.delegator)  # TUF 5.5.7

    def _have_snapshot(self) -> bool:
        """Opens the snapshot that lies here, if it is the one that the timestamp describes."""
        version = self._trusted_timestamp().snapshot.version
        self._snapshot = self._have("snapshot", "snapshot", version, self._trust.by_root("snapshot"))
        return self._snapshot is not None

    def _have(self, role: str, kind: str, version: int, delegation: keys.Delegation) -> "Optional[Document]":
        """The file of a role that lies here, if it is of this version, fresh and signed as the delegation wants."""
        trust = self._trust
        document = trust.stored(role)
        if document is None:
            return None
        try:
            header = Header(document, kind)
            if header.version == version and not trust.expired(header) and trust.signed(document, delegation):
                trust.learn_time(header, delegation.delegator.name)
                return document
        except UpdateError:
            pass
        document.close()
        return None

    # TUF 5.6

    def update_targets(self) -> None:
        """Fetches the top-level targets role that the snapshot lists, if it is not here (TUF 5.6.1 to 5.6.6)."""
        self._visit("targets", "root", None, {}).close()

    def _visit(self, role: str, delegator: str, where: "Optional[Slice]", seen: "dict[str, bytes]") -> Document:
        """Opens a targets role, verified for this delegator; takes down its digest in seen.

        where: slice of the delegation in the delegator; None for the root's.
        """
        trust = self._trust
        if where is None:
            document = self._targets(role, trust.by_root(role))
        else:
            parent = trust.stored(delegator)
            if parent is None or parent.digest != seen[delegator]:
                raise UpdateError(E_STATE, f"{delegator} changed on flash while it was in use")
            try:
                delegation = keys.Delegation(parent, parent.field("delegations", "keys"), where)
                document = self._targets(role, delegation)
            finally:
                parent.close()
        seen[role] = document.digest
        return document

    def _targets(self, role: str, delegation: keys.Delegation) -> Document:
        """A targets role, the one here or a new one, verified for this very delegation (TUF 5.6.1 to 5.6.6)."""
        trust = self._trust
        meta = self._described(role)
        stored = self._have(role, "targets", meta.version, delegation)
        if stored is not None:
            if _is(stored, meta):
                return stored
            stored.close()
        download = trust.versioned(role, meta, trust.config.targets_max_length)  # TUF 5.6.1
        try:
            document = download.document()
            document.check()
            verify_file(document, meta.length, meta.hashes, "5.6.2")
            keys.verify(document, delegation, "5.6.3", trust.tables)
            header = Header(document, "targets")
            _same_version(header, meta, "snapshot", "5.6.4")
            trust.check_expiry(header, "5.6.5")
        except UpdateError:
            download.discard()
            raise
        trust.learn_time(header, delegation.delegator.name)
        return trust.store_verified(download, document, delegation.delegator)  # TUF 5.6.6

    def _described(self, role: str) -> MetaFile:
        """How the snapshot describes a role. Raises UpdateError E_MIX when it does not list it."""
        if self._snapshot is None:
            raise UpdateError(E_STATE, "there is no trusted snapshot")
        where = self._snapshot.find(required(self._snapshot, "meta"), role + ".json")
        if where is None:
            raise UpdateError(E_MIX, f"{role} is delegated to, but the snapshot does not list it (TUF 5.6.1)")
        return MetaFile(self._snapshot.load(where), role)

    # A poll

    def _complete(self) -> bool:
        """Whether the files that lie here are all there, fit together and have not expired."""
        trust = self._trust
        self.close()
        try:
            trust.load_root()
            trust.check_root()
            self._timestamp = self._stored_timestamp()
            if self._timestamp is None or trust.expired(self._timestamp.header) or not self._have_snapshot():
                return False
            meta = self._described("targets")
            targets = self._have("targets", "targets", meta.version, trust.by_root("targets"))
            if targets is None:
                return False
            same = _is(targets, meta)
            targets.close()
            return same
        except UpdateError:
            return False

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
            trust.notes.save()
        return same


def _is(document: Document, meta: MetaFile) -> bool:
    """Whether a stored file has the length and the hashes that the snapshot gives."""
    try:
        verify_file(document, meta.length, meta.hashes, "5.6.2")
    except UpdateError:
        return False
    return True


def _no_rollback(what: str, version: int, seen: int, section: str) -> None:
    if version < seen:
        raise UpdateError(E_ROLLBACK, f"{what} is version {version}, this device has seen {seen} (TUF {section})")


def _same_version(header: Header, meta: MetaFile, by: str, section: str) -> None:
    """Mix-and-match: a role must be of the version that the role above it describes."""
    if header.version != meta.version:
        sentence = f"{header.name} is version {header.version}, the {by} wants {meta.version} (TUF {section})"
        raise UpdateError(E_MIX, sentence)


def _no_role_back(old: Document, new: Document) -> None:
    """Every role that the old snapshot lists must be in the new one, in no older version (TUF 5.5.5)."""
    following = new.members(required(new, "meta"))
    name, where = "", (0, 0)
    for wanted, old_where in old.members(required(old, "meta")):
        # Both are in ascending order.
        while name != wanted:
            try:
                name, where = next(following)
            except StopIteration:
                raise UpdateError(E_ROLLBACK, f"snapshot no longer lists {wanted} (TUF 5.5.5)") from None
        seen = MetaFile(old.load(old_where), wanted).version
        version = MetaFile(new.load(where), wanted).version
        _no_rollback(f"{wanted} in the snapshot", version, seen, "5.5.5")
