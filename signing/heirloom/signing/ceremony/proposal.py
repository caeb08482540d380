"""The proposal of a ceremony: one immutable file whose SHA-256 is the ceremony's name."""

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256

from heirloom.cli.errors import HeirloomError
from heirloom.signing.metadata import parse_file_name

FORMAT = 1
MAX_DOCUMENTS = 256  # a board's archive alone has 16
_ADVICE = "get a fresh copy of the folder from whoever started the ceremony"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEYS = {"format", "product", "created", "purpose", "base", "documents", "uris", "lost", "stolen"}


@dataclass(frozen=True)
class Proposal:
    """What a ceremony is about.

    Attributes:
        purpose: In the words of whoever started it; nobody relies on it.
        created: TUF time.
        base: Role to version and SHA-256 of the signed file that the ceremony builds on.
        documents: File name to the SHA-256 of the canonical bytes that get signed.
        uris: Keyid to where its private half is, for heirloom.toml.
        lost, stolen: Keyids that go for that reason.
    """

    product: str
    created: str
    purpose: str
    base: dict[str, tuple[int, str]]
    documents: dict[str, str]
    uris: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    stolen: list[str] = field(default_factory=list)

    def encode(self) -> bytes:
        """The file."""
        fields = {"format": FORMAT, **vars(self)}
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def identity(data: bytes) -> str:
    """The ceremony that the proposal file `data` names."""
    return sha256(data).hexdigest()


def decode(data: bytes, name: str) -> Proposal:
    """Read the file `name`.

    Raises:
        HeirloomError: It is no proposal, or of a later format.
    """
    try:
        fields = json.loads(data)
        if fields["format"] != FORMAT:
            raise HeirloomError(f"{name} is of format {fields['format']}", "a newer heirloom is needed")
        if set(fields) != _KEYS:
            raise ValueError(f"its fields are {', '.join(sorted(fields))}")
        return Proposal(
            **{key: _text(fields[key]) for key in ("product", "created", "purpose")},
            base={_text(role): _version(entry) for role, entry in fields["base"].items()},
            documents={_document(key): _digest(value) for key, value in fields["documents"].items()},
            uris={_text(keyid): _text(uri) for keyid, uri in fields["uris"].items()},
            lost=[_text(keyid) for keyid in fields["lost"]],
            stolen=[_text(keyid) for keyid in fields["stolen"]],
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise HeirloomError(f"{name} is no proposal of a ceremony: {exc}", _ADVICE) from exc


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _digest(value: object) -> str:
    text = _text(value)
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is no SHA-256")
    return text


def _version(entry: object) -> tuple[int, str]:
    if not (isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is int and entry[0] > 0):
        raise ValueError(f"{entry!r} is no version with its SHA-256")
    return entry[0], _digest(entry[1])


def _document(name: str) -> str:
    parse_file_name(name)
    return name
