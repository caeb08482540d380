"""A sealed will as a file: the signed root under AES-256-GCM, and what may be known about it without opening it."""

import base64
import dataclasses
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tuf.api.metadata import Metadata, Root

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.signing import roles
from heirloom.signing.metadata import file_name, parse

FORMAT = "heirloom-will-1"
_NONCE_BYTES = 12
_MAX_FILE_BYTES = 256 * 1024


def digest(root: Metadata[Root]) -> str:
    """SHA-256 of what the signatures of a root cover, hexadecimal: the same however many have signed."""
    return hashlib.sha256(root.signed_bytes).hexdigest()


@dataclass(frozen=True)
class Header:
    """What stands on the envelope; the seal binds all of it.

    Attributes:
        format: Of this file.
        product: The product.
        version: Of the root inside.
        follows: `digest` of the root that it follows, which is one version lower.
        root: `digest` of the root inside.
        written: When (RFC 3339).
        needed: Shares that open it.
        trustees: Names of those who hold a share.
        identifier: SLIP-39's number of these shares.
        successors: Name to key id.
        threshold: How many successors must sign together.
    """

    format: str
    product: str
    version: int
    follows: str
    root: str
    written: str
    needed: int
    trustees: list[str]
    identifier: int
    successors: dict[str, str]
    threshold: int

    def bound(self) -> bytes:
        """The associated data of the seal."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class SealedWill:
    """A will as it lies in a file."""

    header: Header
    nonce: bytes
    content: bytes

    def open(self, key: bytes) -> Metadata[Root]:
        """The root inside.

        Raises:
            HeirloomError: The key is another one, or the file was changed.
        """
        try:
            data = AESGCM(key).decrypt(self.nonce, self.content, self.header.bound())
        except InvalidTag as exc:
            raise HeirloomError(
                "the seal does not open: the will was changed since it was sealed", "find an unchanged copy of the file"
            ) from exc
        root = parse(Root, data, f"the sealed {file_name(roles.ROOT, self.header.version)}")
        if root.signed.version != self.header.version or digest(root) != self.header.root:
            raise HeirloomError("the root inside is not the one that the envelope names", "find another copy")
        return root

    def to_bytes(self) -> bytes:
        """The file."""
        document = {
            **dataclasses.asdict(self.header),
            "cipher": "AES-256-GCM",
            "nonce": base64.b64encode(self.nonce).decode(),
            "content": base64.b64encode(self.content).decode(),
        }
        return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def seal(header: Header, root: bytes, key: bytes) -> SealedWill:
    """Seal the signed root file under a key that is used for nothing else."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return SealedWill(header, nonce, AESGCM(key).encrypt(nonce, root, header.bound()))


def read(path: Path) -> SealedWill:
    """A will from its file.

    Raises:
        HeirloomError: It is none, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise os_error(exc, f"cannot read the will {path}") from exc
    try:
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError("it is too long")
        return _parse(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise HeirloomError(f"{path} is no will of this program, or is damaged", "find an unchanged copy") from exc


def _parse(document: Mapping[str, object]) -> SealedWill:
    fields = dict(document)
    nonce, content = (base64.b64decode(str(fields.pop(key)), validate=True) for key in ("nonce", "content"))
    if fields.pop("cipher") != "AES-256-GCM" or len(nonce) != _NONCE_BYTES or fields["format"] != FORMAT:
        raise ValueError("unknown format")
    kinds = {field.name: field.type for field in dataclasses.fields(Header)}
    if fields.keys() != kinds.keys():
        raise ValueError("unknown fields")
    plain = {str: str, int: int, list[str]: list, dict[str, str]: dict}
    for name, kind in kinds.items():
        if type(fields[name]) is not plain[kind]:  # type: ignore[index]
            raise TypeError(f"{name} is of the wrong type")
    return SealedWill(Header(**fields), nonce, content)  # type: ignore[arg-type]
