"""Following the root of trust through all its rotations (TUF 5.3)."""

from heirloom.device import keys
from heirloom.device.canonical import Document
from heirloom.device.errors import E_NOT_FOUND, E_ROLLBACK, UpdateError
from heirloom.device.trust import Trust, by_root, root_header

ONLINE = ("timestamp", "snapshot")


def update(trust: Trust) -> None:
    """Takes the roots after the trusted one, one at a time, each stored before the next is asked for (TUF 5.3).

    Raises UpdateError; what was stored before stays, and the next update goes on from there.
    """
    for _ in range(trust.config.max_root_rotations):
        if not _next(trust):
            break
    trust.check_root()


def _next(trust: Trust) -> bool:
    """Takes the next root; False when the repository has none."""
    version = trust.trusted_root()[1].version + 1
    try:
        download = trust.download("root", version, trust.config.root_max_length)  # TUF 5.3.3
    except UpdateError as error:
        if error.code == E_NOT_FOUND:
            return False
        raise
    if download is None:
        return False
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
    return True


def _verify(trust: Trust, document: Document, version: int) -> None:
    document.check()
    # TUF 5.3.4: by the keys of the old root and by its own.
    keys.verify(document, trust.by_root("root"), "5.3.4", trust.tables)
    keys.verify(document, by_root(document, "root"), "5.3.4", trust.tables)
    header = root_header(document)
    # TUF 5.3.5: exactly the next, or roots in between could be skipped. 5.3.6: its expiry does not matter yet.
    if header.version != version:
        sentence = f"the root published as version {version} is version {header.version} (TUF 5.3.5)"
        raise UpdateError(E_ROLLBACK, sentence)


def _recover(trust: Trust, document: Document, version: int) -> None:
    """Recovers from fast-forward attacks (TUF 5.3.11).

    A thief of online keys can sign version numbers (and here: a time) that nothing honest ever exceeds. When a root
    changes the keys of timestamp or snapshot, both files and the online bound of time are forgotten: before that
    root is stored, so that no power cut can keep them. Not for roots that this device had already seen.
    """
    if version <= trust.store.highest_root():
        return
    for role in ONLINE:
        if trust.by_root(role).identity() != by_root(document, role).identity():
            trust.notes.bound.discard_online()
            trust.notes.etag = ""
            trust.notes.save()
            for name in ONLINE:
                trust.store.remove(name)
            return
