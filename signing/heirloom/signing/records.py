"""The public half of a key as a file: NAME.pub.json, the key as TUF metadata has it, and where its private half is."""

import json
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic

SUFFIX = ".pub.json"
_URI, _CI, _RIG = "uri", "ci", "rig"


@dataclass(frozen=True)
class Record:
    """A public key.

    Attributes:
        uri: Of the private half, if it is no file beside this one.
        ci: A machine signs with it, with no person present.
        rig: A rig signs with it what it tested, and nothing else; such a key is a CI key, too.
    """

    public: SSlibKey
    uri: str | None = None
    ci: bool = False
    rig: bool = False


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        FileNotFoundError: There is none.
        HeirloomError: It cannot be read or is no record.
    """
    try:
        fields = json.loads(path.read_bytes())
        uri, ci, rig = fields.pop(_URI, None), fields.pop(_CI, False), fields.pop(_RIG, False)
        key = Key.from_dict(fields.pop("keyid"), fields)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise HeirloomError(f"{path} is no public key", "restore it from a copy") from exc
    if not isinstance(key, SSlibKey):
        raise HeirloomError(f"{path} is of an unknown kind: {key.keytype}")
    if not (isinstance(uri, str | None) and isinstance(ci, bool) and isinstance(rig, bool)):
        raise HeirloomError(f"{path} is no public key", "restore it from a copy")
    return Record(key, uri, ci or rig, rig)


def write(path: Path, record: Record) -> None:
    """Write the record; HeirloomError if that fails."""
    fields = {"keyid": record.public.keyid, **record.public.to_dict()}
    fields |= {_URI: record.uri} if record.uri else {}
    fields |= {_CI: True} if record.ci else {}
    fields |= {_RIG: True} if record.rig else {}
    write_atomic(path, json.dumps(fields, indent=1).encode() + b"\n")


def read_if_elsewhere(path: Path) -> Record | None:
    """The record in a file if its private half is behind a URI; None for other files, damaged ones, or none."""
    try:
        record = read(path)
    except (FileNotFoundError, HeirloomError):
        return None
    return record if record.uri else None
