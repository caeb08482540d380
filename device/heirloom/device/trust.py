"""The ground the client workflow stands on: stored files, downloads, expiry, and who signs what by the root."""

from heirloom.device.canonical import Document, tidy
from heirloom.device.compat import const
from heirloom.device.download import Download
from heirloom.device.errors import E_NETWORK, E_ROLLBACK, E_STALE, E_STATE, UpdateError
from heirloom.device.keys import Delegation
from heirloom.device.notes import Notes
from heirloom.device.roles import Header, escaped

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.canonical import Slice
    from heirloom.device.protocols import Fetcher, Store, Stream, TableCache
    from heirloom.device.roles import MetaFile
    from heirloom.device.tuf import Config

TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
_RESERVED = ("provisioned", "time", "tables")  # what else a store may keep beside the roles


class Trust:
    """Files of a store that are trusted, and how one becomes it."""

    root_header: Header  # of the trusted root

    def __init__(self, store: "Store", fetcher: "Fetcher", now: int, config: "Config") -> None:
        self.store = store
        self.fetcher = fetcher
        self.now = now
        self.config = config
        self.tables: "Optional[TableCache]" = None
        self.accept_stale = False
        self.notes = Notes(store)
        self.root: "Optional[Document]" = None  # open while in use
        self.consistent = True
        self._delegations: "dict[str, Delegation]" = {}  # by the trusted root
        self._known: "dict[str, Document]" = {}  # what is known of stored files that were read whole already
        self.changed = False  # whether a file was stored since start

    def trust_root(self, document: Document) -> None:
        """Takes a verified root for the trusted one. Raises UpdateError E_FORMAT when its roles are not in order."""
        header, self._delegations = root_parts(document)
        self.close_root()
        self.root = document
        self.root_header = header
        self.consistent = document.value("consistent_snapshot") is True  # TUF 5.3.12
        self.learn_time(header)

    def close_root(self) -> None:
        """Closes the file of the trusted root."""
        if self.root:
            self.root.close()
        self.root = None

    def trusted_root(self) -> Document:
        """The trusted root. Raises UpdateError E_STATE when there is none yet."""
        if not self.root:
            raise UpdateError(E_STATE, "no root of trust is loaded")
        return self.root

    def load_root(self) -> None:
        """Takes the root stored last, or, when that is damaged, the one this device was provisioned with (TUF 5.2).

        Raises UpdateError E_STATE when neither is intact.
        """
        self.close_root()
        for stream in (self.store.open("root"), self.store.provisioned_root()):
            document = None if stream is None else checked("root", stream)
            if document is not None and self._load(document):
                return
        raise UpdateError(E_STATE, "no root of trust on this device is intact")

    def _load(self, document: Document) -> bool:
        try:
            if self.signed(document, by_root(document, "root")):
                self.trust_root(document)
                return True
        except UpdateError:
            pass
        document.close()
        return False

    def check_root(self) -> None:
        """Whether the trusted root is one to go on with: no older than ever seen here, not expired (TUF 5.3.10)."""
        version = self.root_header.version
        no_rollback("root", version, self.store.highest_root(), "5.3.5")
        self.store.remember_root(version)  # the power may have failed between the two when this root was taken
        self.check_expiry(self.root_header, "5.3.10")

    def by_root(self, role: str) -> Delegation:
        """Who signs a top-level role by the trusted root."""
        self.trusted_root()
        return self._delegations[role]

    def stored(self, role: str) -> "Optional[Document]":
        """The stored file of a role, read and in order but not verified; None when it is absent or damaged."""
        stream = self.store.open(file_name(role))
        if stream is None:
            return None
        known = self._known.get(role)
        if known:
            return known.again(stream)
        document = checked(role, stream)
        if document:
            self._remember(document)
        return document

    def kept(self, role: str, digest: bytes) -> Document:
        """The stored file of a role that has this digest. Raises UpdateError E_STATE when it has another."""
        document = self.stored(role)
        if document is None or document.digest != digest:
            raise UpdateError(E_STATE, f"{role} changed on flash while it was in use")
        return document

    def _remember(self, document: Document) -> None:
        self._known.pop(document.name, None)
        if document.ordered:
            self._known[document.name] = document.again(None)  # an open or closed file would hold 1 KB of buffer

    def local(self, role: str, delegation: Delegation) -> "Optional[Document]":
        """The stored file of a role if it is signed as the delegation wants; else None."""
        document = self.stored(role)
        if document is None or self.signed(document, delegation):
            return document
        document.close()
        return None

    def signed(self, document: Document, delegation: Delegation) -> bool:
        """Whether a stored file is signed as the delegation wants.

        Files were verified before they were stored, but for whom is a matter of their delegator, and that may have
        changed or be another one: so either its receipt says it or the signatures do.
        """
        if not self.notes.was_verified(document, delegation.delegator):
            try:
                delegation.verify(document, "5.6.3", self.tables)
            except UpdateError:
                return False
            self.notes.verified(document, delegation.delegator)
        return True

    def download(self, role: str, version: "Optional[int]", limit: int, etag: "Optional[str]" = None) -> Download:
        """Fetches the file of a role. Its own etag is None when the place says that it has not changed.

        version: in the file's name, None for a name without. Raises UpdateError of the fetcher, or E_LENGTH.
        """
        tidy()
        prefix = "" if version is None else f"{version}."
        download = Download(self.store, role, limit)
        try:
            download.etag = self.fetcher.fetch(f"{prefix}{escaped(role)}.json", limit, download, etag)
            if download.etag is None and not etag:
                raise UpdateError(E_NETWORK, f"nothing came for {role}")
        except UpdateError:
            download.discard()
            raise
        return download

    def versioned(self, role: str, meta: "MetaFile", limit: int) -> Download:
        """Fetches the file of a role in the version that another role describes (TUF 5.5.1, 5.6.1).

        limit: bytes, when the description has no length.
        """
        return self.download(role, meta.version if self.consistent else None, meta.length or limit)

    def store_verified(self, download: Download, document: Document, delegator: "Optional[Document]") -> Document:
        """Stores a verified file, atomically, and gives it as it now lies there.

        delegator: None for a root, which is its own. Raises UpdateError of the store, E_STATE when flash does
        not keep it.
        """
        role = document.name
        self.store.commit(file_name(role), download.temporary())
        self.changed = True
        # It was read from the very file that has its name now, and whatever reads it in another check hashes it again.
        self._remember(document)
        kept = self.kept(role, document.digest)
        self.notes.verified(kept, delegator or kept)
        return kept

    def check_expiry(self, header: Header, section: str) -> None:
        """Freeze attack check. Raises UpdateError E_STALE unless the owner takes what is stale."""
        if self.expired(header):
            raise UpdateError(E_STALE, f"{header.name} has expired on {header.expires_text} (TUF {section})")

    def expired(self, header: Header) -> bool:
        """Whether a role has expired by the clock or by the bound of time (docs/adr/0006)."""
        bound = self.notes.bound.lower(self.root_header.expires)
        return header.expires <= max(self.now, bound) and not self.accept_stale

    def learn_time(self, header: Header, delegator: str = "root") -> None:
        """Raises the bound of time by when a verified role was signed. delegator: the role that delegates to it."""
        if not self.accept_stale:
            expires = self.root_header.expires
            self.notes.bound.raise_by(header.name, delegator, header.signed_at, header.expires, expires)


def no_rollback(what: str, version: int, seen: int, section: str) -> None:
    """Rollback attack check. Raises UpdateError E_ROLLBACK."""
    if version < seen:
        raise UpdateError(E_ROLLBACK, f"{what} is version {version}, this device has seen {seen} (TUF {section})")


def checked(role: str, stream: "Stream") -> "Optional[Document]":
    """The document in a stream, or None (and the stream closed) when it is damaged."""
    document = Document(role, stream, stream.seek(0, 2))
    try:
        document.check()
    except UpdateError:
        document.close()
        return None
    return document


def root_parts(document: Document) -> "tuple[Header, dict[str, Delegation]]":
    """The header of a root, and who signs its four roles, all in order. Raises UpdateError E_FORMAT."""
    header = Header(document, "root")
    for role, _ in document.members(required(document, "roles")):
        if role not in TOP_LEVEL:
            raise document.malformed(f"names a role {role}")
    delegations = {}
    for role in TOP_LEVEL:
        delegations[role] = by_root(document, role)
    if document.value("consistent_snapshot") not in (None, False, True):
        raise document.malformed("has a consistent_snapshot that is neither true nor false")
    return header, delegations


def by_root(root: Document, role: str) -> Delegation:
    """Who signs a top-level role by this root. Raises UpdateError E_FORMAT."""
    where = root.find(required(root, "roles"), role)
    if where is None:
        raise root.malformed(f"does not name the role {role}")
    return Delegation(root, required(root, "keys"), where)


def required(document: Document, name: str) -> "Slice":
    """The slice of a field. Raises UpdateError E_FORMAT when there is none."""
    where = document.field(name)
    if where is None:
        raise document.malformed(f"has no {name}")
    return where


def file_name(role: str) -> str:
    """The name of a role in the store: escaped, and never one that means something else there."""
    name = escaped(role)
    return f"%{ord(name[0]):02X}{name[1:]}" if name in _RESERVED else name
