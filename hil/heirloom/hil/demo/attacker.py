"""What somebody on the network tries: each attack changes the answers that pass the wire (`heirloom.hil.demo.wire`).

None of them needs more than the wire, except the last one, which has stolen a key.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom.hil.demo.wire import Attack, Response

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

_TWIN = ".z"


def replace_blobs(path: str, truth: Response) -> Response:
    """Changes one bit in the middle of every blob: the length stays, the content does not."""
    if "/blobs/" not in path or truth.status not in (200, 206) or not truth.body:
        return truth
    body = bytearray(truth.body)
    body[len(body) // 2] ^= 0x01
    return Response(truth.status, truth.headers, bytes(body))


def replace_metadata(name: str, change: Mapping[str, object]) -> Attack:
    """Answers for the metadata file `name` with the true one, `change` written into its signed part."""

    def attack(path: str, truth: Response) -> Response:
        if _file_name(path) == name + _TWIN:
            return Response.not_found()
        if _file_name(path) != name or truth.status != 200:
            return truth
        document = json.loads(truth.body)
        document["signed"].update(change)
        return truth.with_body(_compact(document))

    return attack


def serve_instead(files: Mapping[str, bytes]) -> Attack:
    """Answers with `files` (file name to content) where a name matches: a replay, or forged metadata."""

    def attack(path: str, truth: Response) -> Response:
        name = _file_name(path)
        if name in files:
            return truth.with_body(files[name])
        if name.removesuffix(_TWIN) in files:
            return Response.not_found()
        return truth

    return attack


def forge_with(stolen: "Signer", metadata: Path) -> dict[str, bytes]:
    """Metadata of someone who has stolen the timestamp key, and only that one.

    Arguments: the stolen key, and the folder of the true metadata. The forged snapshot announces new releases of every
    role; it is signed with the stolen key, for want of the right one, and the timestamp vouches for it.

    Returns: file names and contents, for `serve_instead`.
    """
    from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp
    from tuf.api.serialization.json import JSONSerializer

    serializer = JSONSerializer(compact=True)
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    known = timestamp.signed.snapshot_meta.version
    snapshot = Metadata[Snapshot].from_file(str(metadata / f"{known}.snapshot.json"))
    snapshot.signed.version += 1
    for meta in snapshot.signed.meta.values():
        meta.version += 1
    snapshot.sign(stolen)
    forged = snapshot.to_bytes(serializer)
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = MetaFile.from_data(snapshot.signed.version, forged, ["sha256"])
    timestamp.sign(stolen)
    return {
        "timestamp.json": timestamp.to_bytes(serializer),
        f"{snapshot.signed.version}.snapshot.json": forged,
    }


def _file_name(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2]


def _compact(document: object) -> bytes:
    """As python-tuf writes it, so that only the content differs from the true file."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
