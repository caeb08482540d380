"""Making TUF metadata: the first version of each role, the next one, signatures, bytes and file names.

Everything is python-tuf's Metadata API. The `x-heirloom-*` fields are inside `signed`, where TUF clients
carry fields that they do not know.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles
from heirloom.signing.canonical import FastSerializer

SIGNED_AT = "x-heirloom-signed-at"
URLS = "x-heirloom-urls"
PRODUCT = "x-heirloom-product"
EPOCH = "x-heirloom-epoch"
MAKER = "x-heirloom-maker"

AnyMetadata = Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]
T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

_FILE_NAME = re.compile(r"([1-9][0-9]*)\.([A-Za-z0-9._-]+)\.json")


def utc_now() -> datetime:
    """The clock of the host in whole seconds, as metadata carries it."""
    return datetime.now(UTC).replace(microsecond=0)


def time_text(moment: datetime) -> str:
    """`moment` (UTC) as TUF writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def file_name(role: str, version: int) -> str:
    """Where that version lies under metadata/, with consistent snapshots (TUF 3.6)."""
    return "timestamp.json" if role == roles.TIMESTAMP else f"{version}.{role}.json"


def parse_file_name(name: str) -> tuple[int, str]:
    """(version, role) of a versioned metadata file name; ValueError for anything else."""
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a name like 3.targets.json")
    return int(match[1]), match[2]


def meta_name(role: str) -> str:
    """The name of `role` in the `meta` of snapshot and timestamp."""
    return f"{role}.json"


def first_root(product: str, urls: Sequence[str], keys: Mapping[str, Sequence[Key]], now: datetime) -> Metadata[Root]:
    """Version 1 of root, unsigned.

    Args:
        product: The product's name.
        urls: Where devices look for the repository; base URLs.
        keys: Role name to its keys, for the four top-level roles.
        now: Time of signing (UTC).
    """
    all_keys = {key.keyid: key for role in roles.TOP_LEVEL for key in keys[role]}
    holders = {role: Role([key.keyid for key in keys[role]], roles.rule(role).threshold) for role in roles.TOP_LEVEL}
    custom = {PRODUCT: product, URLS: list(urls)}
    root = Root(keys=all_keys, roles=holders, consistent_snapshot=True, unrecognized_fields=custom)
    return _dated(Metadata(root), roles.ROOT, now)


def first_targets(
    maker: Mapping[str, object], boards: Iterable[str], keys: Mapping[str, Sequence[Key]], now: datetime
) -> Metadata[Targets]:
    """Version 1 of targets, unsigned: epoch 0, one releases and one channels role for each board.

    Args:
        maker: The `x-heirloom-maker` field: who stands behind the product.
        boards: Names of the boards.
        keys: Role name to its keys, for the roles of all boards.
        now: Time of signing (UTC).
    """
    delegated = [role for board in boards for role in roles.board_roles(board)]
    all_keys = {key.keyid: key for role in delegated for key in keys[role]}
    delegations = Delegations(all_keys, {role: _delegation(role, keys[role]) for role in delegated})
    targets = Targets(delegations=delegations, unrecognized_fields={EPOCH: 0, MAKER: dict(maker)})
    return _dated(Metadata(targets), roles.TARGETS, now)


def _delegation(role: str, keys: Sequence[Key]) -> DelegatedRole:
    keyids = [key.keyid for key in keys]
    return DelegatedRole(role, keyids, roles.rule(role).threshold, terminating=True, paths=roles.paths(role))


def first_role(role: str, now: datetime) -> Metadata[Targets]:
    """Version 1 of a board's role, empty and unsigned."""
    return _dated(Metadata(Targets()), role, now)


def first_snapshot(meta: Mapping[str, MetaFile], now: datetime) -> Metadata[Snapshot]:
    """Version 1 of snapshot, unsigned. `meta` maps names like "targets.json" to what is known of them."""
    return _dated(Metadata(Snapshot(meta=dict(meta))), roles.SNAPSHOT, now)


def first_timestamp(snapshot: MetaFile, now: datetime) -> Metadata[Timestamp]:
    """Version 1 of timestamp, unsigned."""
    return _dated(Metadata(Timestamp(snapshot_meta=snapshot)), roles.TIMESTAMP, now)


def next_role(current: Metadata[T], role: str, now: datetime) -> Metadata[T]:
    """A copy of `current` one version up, with a fresh expiry and no signatures. The caller changes it and signs it."""
    copy: Metadata[T] = Metadata.from_bytes(to_bytes(current))
    return advance(copy, role, now)


def advance(metadata: Metadata[T], role: str, now: datetime) -> Metadata[T]:
    """`metadata` itself, made one version higher, with a fresh expiry and no signatures."""
    metadata.signed.version += 1
    metadata.signatures.clear()
    return _dated(metadata, role, now)


def _dated(metadata: Metadata[T], role: str, now: datetime) -> Metadata[T]:
    rule = roles.rule(role)
    metadata.signed.expires = now + rule.lifetime
    if rule.dated:
        metadata.signed.unrecognized_fields[SIGNED_AT] = time_text(now)
    return metadata


def sign(metadata: Metadata[T], signers: Iterable[Signer]) -> None:
    """Add the signature of each signer; earlier signatures stay.

    Raises:
        HeirloomError: A key or token refused to sign.
    """
    serializer = FastSerializer()
    for signer in signers:
        try:
            metadata.sign(signer, append=True, signed_serializer=serializer)
        except UnsignedMetadataError as exc:
            reason = exc.__cause__ or exc
            if isinstance(reason, HeirloomError):
                raise reason from exc
            raise HeirloomError(f"cannot sign with key {signer.public_key.keyid[:8]}: {reason}") from exc


def to_bytes(metadata: AnyMetadata) -> bytes:
    """The file: compact JSON with sorted keys, so that a device can hash it as it streams."""
    return metadata.to_bytes()


def parse(kind: type[T], data: bytes, name: str) -> Metadata[T]:
    """Read the metadata file `name`, which must be of that type.

    Raises:
        HeirloomError: It is not; names the file.
    """
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
    except DeserializationError as exc:
        raise HeirloomError(f"{name} is not TUF metadata: {exc.__cause__ or exc}") from exc
    if not isinstance(metadata.signed, kind):
        raise HeirloomError(f"{name} is of type {metadata.signed.type}, expected {kind.type}")
    return metadata


def describe(version: int, data: bytes) -> MetaFile:
    """What snapshot or timestamp says about the metadata file `data`: version, length and SHA-256."""
    return MetaFile.from_data(version, data, [roles.HASH])
