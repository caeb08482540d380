"""What signatures cover: a metadata file's `signed` part as canonical JSON (TUF 4.2.1).

The encoder of securesystemslib is written in Python and takes milliseconds for every hundred targets; that of the
standard library is written in C and gives the same bytes for all that needs no escape. Its bytes are used where they
are the same, and else those of securesystemslib.
"""

import json
import re

from tuf.api.metadata import Signed
from tuf.api.serialization import SignedSerializer
from tuf.api.serialization.json import CanonicalJSONSerializer

_SLOW = CanonicalJSONSerializer()
# A number that is not whole has no canonical form. In a string this may be anything: then the slow encoder decides.
_FLOAT = re.compile(r"[:,\[]-?[0-9]+[.eE]")
_SIGNED = b',"signed":{'


class FastSerializer(SignedSerializer):
    """For python-tuf's functions that take a serializer, for several signers of one document that does not change."""

    def __init__(self) -> None:
        self._last: tuple[Signed, bytes] | None = None

    def serialize(self, signed_obj: Signed) -> bytes:
        """The canonical form; SerializationError if there is none."""
        if self._last is None or self._last[0] is not signed_obj:
            self._last = signed_obj, encode(signed_obj)
        return self._last[1]


def encode(signed: Signed) -> bytes:
    """The canonical form.

    Raises:
        SerializationError: There is none, as with a number that is not whole.
    """
    try:
        text = json.dumps(signed.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError):
        return _SLOW.serialize(signed)
    # All that JSON escapes is written with a backslash; canonical JSON escapes less.
    return _SLOW.serialize(signed) if "\\" in text or _FLOAT.search(text) else text.encode()


def cut(data: bytes) -> bytes | None:
    """What the signatures in a metadata file cover, cut out of it; None where it does not lie there as it was signed.

    Nothing is parsed. It is for a file whose signed part has a known hash: the last member of the file is what every
    parser takes for `signed`, whatever stands before it.
    """
    _, found, tail = data.rpartition(_SIGNED)
    return b"{" + tail[:-1] if found and tail.endswith(b"}}") and data.isascii() and b"\\" not in data else None
