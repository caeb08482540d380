"""Taking the next root of trust (TUF 5.3.4 to 5.3.8, 5.3.11). Rare, so loaded when there is one."""

from heirloom.device.errors import E_ROLLBACK, UpdateError
from heirloom.device.trust import Trust, by_root, root_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.canonical import Document
    from heirloom.device.download import Download
    from heirloom.device.keys import Delegation

ONLINE = ("timestamp", "snapshot")


def take(trust: Trust, download: "Download", version: int) -> None:
    """Makes what was downloaded the trusted root, if it may be, and stores it.

    version: the one after the trusted root's. Raises UpdateError; the trusted root is then what it was.
    """
    try:
        document = download.document()
        _verify(trust, document, version)
        _recover(trust, document, version)
    except UpdateError:
        download.discard()
        raise
    trust.close_root()
    trust.trust_root(trust.store_verified(download, document, None))  # TUF 5.3.7, 5.3.8
    trust.store.remember_root(version)


def _verify(trust: Trust, document: "Document", version: int) -> None:
    document.check()
    # TUF 5.3.4: by the keys of the old root and by its own.
    trust.by_root("root").verify(document, "5.3.4", trust.tables)
    by_root(document, "root").verify(document, "5.3.4", trust.tables)
    header, _ = root_parts(document)
    # TUF 5.3.5: exactly the next, or roots in between could be skipped. 5.3.6: its expiry does not matter yet.
    if header.version != version:
        sentence = f"the root published as version {version} is version {header.version} (TUF 5.3.5)"
        raise UpdateError(E_ROLLBACK, sentence)


def _recover(trust: Trust, document: "Document", version: int) -> None:
    """Recovers from fast-forward attacks (TUF 5.3.11).

    A thief of online keys can sign version numbers (and here: a time) that nothing honest ever exceeds. When a root
    changes the keys of timestamp or snapshot, both files and the online bound of time are forgotten: before that
    root is stored, so that no power cut can keep them. Not for roots that this device had already seen.
    """
    if version <= trust.store.highest_root():
        return
    for role in ONLINE:
        if _identity(trust.by_root(role)) != _identity(by_root(document, role)):
            trust.notes.bound.discard_online()
            trust.notes.etag = ""
            trust.notes.save()
            for name in ONLINE:
                trust.store.remove(name)
            return


def _identity(delegation: "Delegation") -> "list[object]":
    """The threshold and the keys, to be compared with another delegation's."""
    names: "list[object]" = [delegation.threshold]
    for key_id in sorted(delegation.key_ids):
        key = delegation.key(key_id)
        names.append((key_id, key.name if key else ""))
    return names
