"""Delegations by the hash of a path: prefixes (TUF 4.5) and succinct hash bins (TAP 15). Loaded when there are any."""

import binascii
import hashlib

from heirloom.device.delegation import string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heirloom.device.canonical import Document, Slice


def has_prefix(document: "Document", prefixes: "Slice", path: str) -> bool:
    """Whether the hash of a path begins with one of the strings in an array. Raises UpdateError E_FORMAT."""
    digest = _digest(path)
    for prefix in document.elements(prefixes):  # noqa: SIM110 - any() needs more code
        if digest.startswith(string(document, document.load(prefix))):
            return True
    return False


def bin_of(document: "Document", where: "Slice", path: str) -> str:
    """The hash bin of a path: prefix, hyphen, number of the bin in hexadecimal. Raises UpdateError E_FORMAT."""
    prefix = string(document, document.load(document.find(where, "name_prefix")))
    bits = document.load(document.find(where, "bit_length"))
    if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= 32:
        raise document.malformed("has hash bins without a proper bit_length")
    number = int(_digest(path)[:8], 16) >> (32 - bits)
    digits = (bits + 3) // 4
    return prefix + "-" + ("%08x" % number)[-digits:]


def _digest(path: str) -> str:
    return binascii.hexlify(hashlib.sha256(path.encode()).digest()).decode()
