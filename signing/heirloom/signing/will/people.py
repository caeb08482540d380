"""Public keys that people hand over as files."""

import json
from pathlib import Path

from securesystemslib.signer import Key

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error


def public_key(path: Path) -> Key:
    """The key in a NAME.pub.json, as `heirloom key new` writes it.

    Raises:
        HeirloomError: It is none, or a secret one.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read the public key {path}") from exc
    if b"PRIVATE KEY" in data:
        raise HeirloomError(f"{path} is a private key", "ask its holder for NAME.pub.json; nobody else needs the other")
    try:
        fields = json.loads(data)
        return Key.from_dict(fields.pop("keyid"), fields)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise HeirloomError(f"{path} is no public key", "it should be a NAME.pub.json, as key new makes it") from exc
