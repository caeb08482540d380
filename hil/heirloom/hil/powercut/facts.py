"""What can be said of a device from its flash alone: which releases are whole, and how far it has come."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest

HOME = "/heirloom"
DATA = "/data"
_STATE = f"{HOME}/state"
_NOTES = f"{HOME}/trust/time"
# Written at every start, and nothing depends on them but what a person reads.
_PASSING = (f"{HOME}/log", f"{HOME}/log.old", f"{HOME}/traceback")


@dataclass(frozen=True)
class Facts:
    """A device, from outside.

    Attributes:
        runs: The version that the next start runs; None: none.
        whole: Versions in its slots whose every file is there and right.
        trial: Whether what it runs is on trial.
        failed: Orders that it has recorded as failed.
        marks: What must never go down, by name: versions of metadata, order confirmed, floor, lower bound of time.
        digest: The same for two devices that will do the same.
    """

    runs: str | None
    whole: frozenset[str]
    trial: bool
    failed: tuple[tuple[int, int], ...]
    marks: Mapping[str, tuple[int, ...]]
    digest: bytes
    wrong: tuple[str, ...] = field(default=())

    def went_back(self, before: "Facts") -> list[str]:
        """What is lower here than it was before, as sentences."""
        return [
            f"{name} went from {list(old)} back to {list(self.marks.get(name, ()))}"
            for name, old in before.marks.items()
            if self.marks.get(name, ()) < old
        ]


def read(content: Mapping[str, bytes]) -> Facts:
    """The facts from the files below /heirloom and /data, by absolute path."""
    state, wrong = _state(content.get(_STATE))
    releases = {slot: _release(content, slot) for slot in "ab"}
    slot = next(
        (each for each in (state.get("a"), state.get("f")) if each and f"{HOME}/slots/{each}.cbor" in content), None
    )
    manifest, damaged = releases[slot] if slot else (None, [])
    if slot and manifest is None:
        wrong.append(f"the manifest of slot {slot}, which runs, is damaged")
    if manifest is not None and damaged:
        wrong.append(f"release {manifest.version}, which runs, lacks {len(damaged)} files: {', '.join(damaged)[:200]}")
    return Facts(
        runs=manifest.version if manifest else None,
        whole=frozenset(found.version for found, bad in releases.values() if found and not bad),
        trial=bool(state.get("t")),
        failed=tuple((epoch, sequence) for epoch, sequence in state.get("x", [])),
        marks=_marks(content, state),
        digest=_digest(content, state),
        wrong=tuple(wrong),
    )


def _state(data: bytes | None) -> tuple[dict[str, Any], list[str]]:
    if data is None:
        return {}, []
    line, _, crc = data.partition(b"\n")
    try:
        if int(crc, 16) == zlib.crc32(line):
            return dict(json.loads(line)), []
    except ValueError:
        pass
    return {}, ["the state is damaged"]


def _release(content: Mapping[str, bytes], slot: str) -> tuple[Manifest | None, list[str]]:
    """The release of a slot, and its files that are missing or wrong."""
    try:
        manifest = Manifest.decode(content.get(f"{HOME}/slots/{slot}.cbor", b""))
    except UpdateError:
        return None, []
    return manifest, [
        path
        for path, length, sha256 in manifest.files
        if not _is(content.get(f"{HOME}/blobs/{sha256.hex()}"), length, sha256)
    ]


def _is(data: bytes | None, length: int, sha256: bytes) -> bool:
    return data is not None and len(data) == length and hashlib.sha256(data).digest() == sha256


def _marks(content: Mapping[str, bytes], state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    marks: dict[str, tuple[int, ...]] = {
        f"trusted {role}": (_version(content, role),) for role in ("root", "timestamp", "snapshot", "targets")
    }
    marks |= {name: tuple(state.get(key, (0, 0))) for name, key in (("confirmed order", "o"), ("floor", "l"))}
    marks["highest root"] = (state.get("r", 0),)
    try:
        marks["bound of time"] = tuple(json.loads(content.get(_NOTES, b"{}")).get("time", ()))
    except ValueError:
        marks["bound of time"] = ()
    return marks


def _version(content: Mapping[str, bytes], role: str) -> int:
    try:
        return int(json.loads(content[f"{HOME}/trust/{role}.json"])["signed"]["version"])
    except (KeyError, ValueError):
        return 0


def _digest(content: Mapping[str, bytes], state: Mapping[str, Any]) -> bytes:
    hasher = hashlib.sha256(json.dumps({**state, "n": 0}, sort_keys=True).encode())
    for path in sorted(content):
        if path in (_STATE, *_PASSING):
            continue
        data = content[path]
        if path == f"{HOME}/last":
            data = _without_time(data)
        hasher.update(f"{path}\0{len(data)}\0".encode())
        hasher.update(data)
    return hasher.digest()


def _without_time(data: bytes) -> bytes:
    try:
        last = json.loads(data)
        (last.get("check") or {}).pop("time", None)
        return json.dumps(last, sort_keys=True).encode()
    except (ValueError, AttributeError):
        return data
