"""What somebody on the network tries: each attack changes the answers that pass the wire (`heirloom.hil.demo.wire`).

None of them needs more than the wire, except the last one, which has stolen a key. An attacker knows the formats: where
a file has a compressed twin, the twin lies in the same way.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom.hil.demo.wire import Attack, Response
from heirloom.signing import twins

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

_COMPLETE = 200
_PARTIAL = 206


def tamper(part: str, change: Callable[[bytes], bytes]) -> Attack:
    """Applies `change` to every answer whose path contains `part`, also inside of a twin."""

    def attack(path: str, truth: Response) -> Response:
        if part not in path or truth.status not in (_COMPLETE, _PARTIAL) or not truth.body:
            return truth
        if path.endswith(twins.SUFFIX):
            return replace(truth, body=twins.twin(change(zlib.decompress(truth.body))))
        return replace(truth, body=change(truth.body))

    return attack


def replace_blobs() -> Attack:
    """Changes one bit in the middle of every blob: the length stays, the content does not."""
    return tamper("/blobs/", _flip_middle)


def replace_metadata(name: str, changes: Mapping[str, object]) -> Attack:
    """Answers for the metadata file `name` with the true one, `changes` written into its signed part."""

    def change(body: bytes) -> bytes:
        document = json.loads(body)
        document["signed"].update(changes)
        # As python-tuf writes it, so that only the content differs.
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    return tamper(f"/{name}", change)


def serve_instead(files: Mapping[str, bytes]) -> Attack:
    """Answers with `files` (file name to content) where a name matches: a replay, or forged metadata."""
    lies = {**files, **{name + twins.SUFFIX: twins.twin(data) for name, data in files.items()}}

    def attack(path: str, truth: Response) -> Response:
        lie = lies.get(path.rpartition("/")[2])
        return truth if lie is None else truth.with_body(lie)

    return attack


def forge_with(stolen: "Signer", metadata: Path) -> dict[str, bytes]:
    """Metadata of someone who has stolen the timestamp key, and only that one.

    The forged snapshot announces new versions of every role. It is signed with the stolen key, for want of the right
    one, and the timestamp vouches for it.

    Args:
        stolen: The key of the timestamp.
        metadata: The folder of the true metadata.

    Returns:
        File names and contents, for `serve_instead`.
    """
    from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    known = timestamp.signed.snapshot_meta.version
    snapshot = Metadata[Snapshot].from_file(str(metadata / f"{known}.snapshot.json"))
    snapshot.signed.version += 1
    for meta in snapshot.signed.meta.values():
        meta.version += 1
    snapshot.sign(stolen)
    forged = snapshot.to_bytes()
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = MetaFile.from_data(snapshot.signed.version, forged, ["sha256"])
    timestamp.sign(stolen)
    return {"timestamp.json": timestamp.to_bytes(), f"{snapshot.signed.version}.snapshot.json": forged}


def _flip_middle(body: bytes) -> bytes:
    changed = bytearray(body)
    changed[len(changed) // 2] ^= 0x01
    return bytes(changed)
