"""What the core remembers between updates beside the files: receipts, the bound of time, the timestamp's ETag.

A receipt says that a document was verified under the delegator that was trusted then: a hash over both. So a
file that lies here costs no second signature check, until the delegator changes. Losing the notes costs time,
never safety.
"""

import binascii
import hashlib
import json

from heirloom.device.compat import const
from heirloom.device.timebound import TimeBound

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from heirloom.device.canonical import Document
    from heirloom.device.protocols import Store

MAX_RECEIPTS = const(12)
MAX_ETAG = const(128)
_FORMAT = const(1)


class Notes:
    """The notes in a store. save() writes them when they changed."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.bound = TimeBound()
        self.etag = ""
        self._receipts: "list[str]" = []
        self._used: "set[str]" = set()  # those asked for since
        self._saved = store.load_notes()
        try:
            self._read(json.loads(self._saved))
        except (ValueError, TypeError, KeyError, UnicodeError):
            pass

    def _read(self, value: "Any") -> None:
        offline, online = value["time"]
        if value["v"] == _FORMAT and isinstance(offline, int) and isinstance(online, int):
            self.bound = TimeBound(offline, online)
            self.etag = str(value["etag"])
            self._receipts = [str(receipt) for receipt in value["ok"]]

    def save(self) -> None:
        """Writes the notes to the store if they differ from what it has."""
        value = {
            "v": _FORMAT,
            "time": [self.bound.offline, self.bound.online],
            "etag": self.etag if len(self.etag) <= MAX_ETAG else "",
            "ok": self._receipts,
        }
        data = json.dumps(value).encode()
        if data != self._saved:
            self._store.save_notes(data)
            self._saved = data

    def was_verified(self, document: "Document", delegator: "Document") -> bool:
        """Whether this very document was verified under this very delegator."""
        receipt = _receipt(document, delegator)
        self._used.add(receipt)
        return receipt in self._receipts

    def verified(self, document: "Document", delegator: "Document") -> None:
        """Remembers that the document was verified under the delegator."""
        receipt = _receipt(document, delegator)
        self._used.add(receipt)
        if receipt not in self._receipts:
            self._receipts.append(receipt)
        # The oldest go first, but not those of files that are in use: a root outlives many timestamps.
        for old in list(self._receipts):
            if len(self._receipts) > MAX_RECEIPTS and old not in self._used:
                self._receipts.remove(old)
        del self._receipts[:-MAX_RECEIPTS]
        self._used.intersection_update(self._receipts)  # or a long chain of roots would leave one for each


def _receipt(document: "Document", delegator: "Document") -> str:
    # The role is part of it by the document's name: one delegator may give a role's keys to one role only.
    digest = hashlib.sha256(delegator.digest)
    digest.update(document.digest)
    digest.update(document.name.encode())
    return binascii.hexlify(digest.digest()[:12]).decode()
