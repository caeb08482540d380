"""What a unit is to be provisioned with, and what of its old life it keeps."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.boards import Board
from heirloom.hil import provision
from heirloom.hil.provision import NETWORK, ROOT, Identity, Network

_SECRET = re.compile(r"[0-9a-f]{64}")
_CLIENT = "/lib/heirloom/device/"
_OURS = ("/heirloom/", "/lib/heirloom")


@dataclass(frozen=True)
class Order:
    """What every unit of a batch gets.

    Attributes:
        board: What it must be.
        product: Name of the product.
        root_json: The root metadata that it trusts from the start.
        urls: Base URLs of the repository.
        channel: The channel that it follows.
        timing: As for `provision.content`.
        networks: Wi-Fi networks; None: those that it has.
        build_dir: As for `provision.content`.
        erase: Keep nothing of what is on it.
    """

    board: Board
    product: str
    root_json: bytes
    urls: Sequence[str]
    channel: str
    timing: Mapping[str, float]
    networks: Sequence[Network] | None
    build_dir: Path
    erase: bool = False

    def content(self, identity: Identity) -> dict[str, bytes]:
        """The files of a unit that had nothing before."""
        return provision.content(
            self.board,
            self.product,
            self.root_json,
            self.urls,
            self.channel,
            identity,
            self.timing,
            networks=self.networks or (),
            build_dir=self.build_dir,
        )


@dataclass(frozen=True)
class Before:
    """What was on a unit before.

    Attributes:
        paths: All of its files.
        device: Its device.json, if it can be read; else empty.
        network: Its network.json, or None.
        root: Its trusted root metadata, or None.
    """

    paths: frozenset[str] = frozenset()
    device: bytes = b""
    network: bytes | None = None
    root: bytes | None = None

    def belongs_to(self, product: str) -> bool:
        """Whether it is a device of this product."""
        return _object(self.device).get("product") == product

    @property
    def is_blank(self) -> bool:
        """Whether nobody misses what is on it: at most the boot.py that MicroPython itself writes."""
        return self.paths <= {"/boot.py"}

    def secret(self, id: str) -> str | None:
        """The secret of the unit with this id, if it has one."""
        said = _object(self.device)
        secret = said.get("secret")
        return secret if said.get("id") == id and isinstance(secret, str) and _SECRET.fullmatch(secret) else None


@dataclass(frozen=True)
class Plan:
    """What is to be done to the files of a unit.

    Attributes:
        files: What must be there, by absolute path, in the order in which it is to be written.
        unwanted: What must go.
        kept: Whether the unit keeps releases, trust and data.
    """

    files: Mapping[str, bytes]
    unwanted: frozenset[str]
    kept: bool


def plan(order: Order, before: Before, identity: Identity) -> Plan:
    """What to change.

    A device of this product keeps its trust, releases and /data, and gets back what is damaged: a repair. Another one
    keeps only files that are none of ours.
    """
    files = order.content(identity)
    if order.erase:
        return Plan(_in_order(files), before.paths - set(files), kept=False)
    if order.networks is None and before.network is not None and _object(before.network):
        files[NETWORK] = before.network
    if not before.belongs_to(order.product):
        unwanted = {path for path in before.paths if path.startswith(_OURS)}
        return Plan(_in_order(files), frozenset(unwanted - set(files)), kept=False)
    if before.root is not None and _root_version(before.root) >= _root_version(order.root_json):
        files[ROOT] = before.root  # it may have followed more roots than this machine has seen
    unwanted = {path for path in before.paths if path.startswith(_CLIENT)}
    return Plan(_in_order(files), frozenset(unwanted - set(files)), kept=True)


def _in_order(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What starts the client comes last: cut short before that, the unit does what it did."""
    last = ("/lib/heirloom_boot.py", "/main.py", "/boot.py")
    return {path: files[path] for path in [*sorted(set(files) - set(last)), *(p for p in last if p in files)]}


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _root_version(data: bytes) -> int:
    """The version of root metadata that its own keys signed; 0: it is none."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    try:
        metadata: Metadata[Root] = Metadata[Root].from_bytes(data)
        metadata.verify_delegate(Root.type, metadata)
    except (RepositoryError, ValueError):
        return 0
    return metadata.signed.version
