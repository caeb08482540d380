"""What can be said of a device from its flash alone: which releases are whole, and how far it has come."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from heirloom.device import cbor
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest
from heirloom.hil.powercut.firmware import Firmware

HOME = "/heirloom"
DATA = "/data"
STATE = f"{HOME}/state"
_NOTES = f"{HOME}/trust/time"
_MIGRATION = f"{HOME}/migrated/note"
_SETTINGS = f"{DATA}/settings.json"
# Written at every start, and nothing depends on them but what a person reads.
_PASSING = (f"{HOME}/log", f"{HOME}/log.old", f"{HOME}/traceback")
_FAILED_KEPT = 4  # the oldest is forgotten then
_STARTED = 1  # the third number of a trial, as in heirloom_boot

Order = tuple[int, int]


@dataclass(frozen=True)
class Facts:
    """A device, from outside.

    Attributes:
        runs: The version that the next start runs; None: none.
        whole: Versions in its slots whose every file is there and right.
        trial: What is on trial; None: nothing.
        started: Whether a start of the trial is written down and not yet ended.
        failed: Orders that it has recorded as failed.
        weak: The order that it has recorded as having lost power too often.
        owner: The owner's switch for updates, as the client reads it.
        secret: What signs its reports.
        owed: Whether something is written down and still to be done: the owner's word, or a migration.
        migrated: How often a migration has changed the application's settings, for good.
        marks: What must never go down, by name: versions of metadata, order confirmed, floor, lower bound of time.
        digest: The same for two devices that will do the same.
        application: The same when the application has written nothing.
        wrong: What is wrong whatever came before.
        strange: What is wrong, except where the device has come to trust another root.
        firmware: The partition that its bootloader would start; "" where there is no bootloader.
    """

    runs: str | None
    whole: frozenset[str]
    trial: Order | None
    started: bool
    failed: tuple[Order, ...]
    weak: Order | None
    owner: str
    secret: str
    owed: bool
    migrated: int
    marks: Mapping[str, tuple[int, ...]]
    digest: bytes
    application: bytes
    wrong: tuple[str, ...] = field(default=())
    strange: tuple[str, ...] = ()
    firmware: str = ""

    def on(self, found: Firmware) -> "Facts":
        """The same of a chip with that firmware."""
        digest = hashlib.sha256(self.digest + found.digest).digest()
        return replace(self, firmware=found.starts, digest=digest, wrong=(*self.wrong, *found.wrong))

    def went_back(self, before: "Facts") -> list[str]:
        """What is lower here than it was before, as sentences."""
        return [
            f"{name} went from {list(old)} back to {list(self.marks.get(name, ()))}"
            for name, old in before.marks.items()
            if self.marks.get(name, ()) < old
        ]

    def follows(self, before: "Facts", forgets: bool = False) -> list[str]:
        """What cannot have happened between two flashes that are one flash operation apart, as sentences.

        forgets: what was known of one publisher is being given up, for another.
        """
        wrong = [] if forgets else self.went_back(before)
        verdicts = (self.marks["confirmed order"], self.weak, *self.failed)
        if before.trial and not self.trial and before.trial not in verdicts:
            wrong.append(f"the trial of {list(before.trial)} has ended, and nothing says how")
        if self.trial and not self.started and self.application != before.application:
            wrong.append("the application runs on trial, and no start of it is written down")
        if self.migrated < before.migrated:
            wrong.append("settings that were migrated are as they were before that")
        if before.secret and not self.secret:
            wrong.append("the device does not know who it is")
        if not forgets and len(self.failed) < _FAILED_KEPT and not set(before.failed) <= set(self.failed):
            wrong.append(f"of the releases that failed, {before.failed}, only {self.failed} are remembered")
        return wrong


def read(content: Mapping[str, bytes], others: Mapping[str, int] | None = None) -> Facts:
    """The facts from the files below /heirloom and /data, by absolute path. others: what else there is, by length."""
    state, wrong = _state(content.get(STATE))
    releases = {slot: _release(content, slot) for slot in "ab"}
    slot = next(
        (each for each in (state.get("a"), state.get("f")) if each and f"{HOME}/slots/{each}.cbor" in content), None
    )
    manifest, damaged = releases[slot] if slot else (None, [])
    if slot and manifest is None:
        wrong.append(f"the manifest of slot {slot}, which runs, is damaged")
    if manifest is not None and damaged:
        wrong.append(f"release {manifest.version}, which runs, lacks {len(damaged)} files: {', '.join(damaged)[:200]}")
    if manifest is not None:
        wrong += _seeded(content, manifest)
    if state.get("t") and not state.get("y"):
        wrong.append("something is on trial, and nothing says what")
    strange = _settled(state, manifest, releases)
    root, highest = _version(content.get(f"{HOME}/trust/root.json", b"")), state.get("r", 0)
    if root < highest:
        strange.append(f"root {root} is trusted, and root {highest} has been")
    return Facts(
        runs=manifest.version if manifest else None,
        whole=frozenset(found.version for found, bad in releases.values() if found and not bad),
        trial=_order(state["y"]) if state.get("t") and state.get("y") else None,
        started=bool(state.get("t")) and state["t"][2] == _STARTED,
        failed=tuple(_order(one) for one in state.get("x", [])),
        weak=_order(state["w"]) if state.get("w") else None,
        owner=_owner(content),
        secret=_secret(content.get(f"{HOME}/device.json", b"")),
        owed=f"{HOME}/owed" in content or _MIGRATION in content,
        migrated=_migrated(content.get(_SETTINGS, b"")),
        marks=_marks(content, state),
        digest=_digest(content, state, others or {}),
        application=_application(content),
        wrong=tuple(wrong),
        strange=tuple(strange),
    )


def read_state(data: bytes | None) -> dict[str, Any]:
    """The state, or an empty one where it is missing or damaged."""
    return _state(data)[0]


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


def _order(numbers: Any) -> Order:
    return int(numbers[0]), int(numbers[1])


def _release(content: Mapping[str, bytes], slot: str) -> tuple[Manifest | None, list[str]]:
    """The release of a slot, and its files that are missing or wrong."""
    manifest = _manifest(content.get(f"{HOME}/slots/{slot}.cbor", b""))
    if manifest is None:
        return None, []
    return manifest, [
        path
        for path, length, sha256 in manifest.files
        if not _is(content.get(f"{HOME}/blobs/{sha256.hex()}"), length, sha256)
    ]


@lru_cache(64)
def _manifest(data: bytes) -> Manifest | None:
    try:
        return Manifest.decode(data)
    except UpdateError:
        return None


def _is(data: bytes | None, length: int, sha256: bytes) -> bool:
    return data is not None and len(data) == length and _sha256(data) == sha256


@lru_cache(512)
def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _seeded(content: Mapping[str, bytes], manifest: Manifest) -> list[str]:
    """A file of the application's own that the release brings is never found empty."""
    return [
        f"{DATA}/{path} is empty, and release {manifest.version} brings {length} bytes"
        for path, length, _ in manifest.files
        if length and content.get(f"{DATA}/{path}") == b""
    ]


def _settled(
    state: Mapping[str, Any], runs: Manifest | None, releases: Mapping[str, tuple[Manifest | None, list[str]]]
) -> list[str]:
    """What must hold while nothing is on trial: what runs is confirmed, with its floor, and the fallback is, too."""
    if not state or state.get("t"):
        return []
    confirmed, floor = tuple(state.get("o", (0, 0))), tuple(state.get("l", (0, 0)))
    wrong = []
    if runs is not None and tuple(runs.order) > confirmed:
        wrong.append(f"release {runs.version}, {list(runs.order)}, runs, neither confirmed nor on trial")
    elif runs is not None and tuple(runs.order) == confirmed and floor < (runs.epoch, runs.floor):
        wrong.append(f"release {runs.version} is confirmed, and its floor {runs.floor} is not")
    slot = state.get("f")
    back = releases[slot][0] if slot else None
    if back is not None and tuple(back.order) < floor:
        wrong.append(f"release {back.version} is kept to fall back to, below the floor {list(floor)}")
    elif back is not None and tuple(back.order) > confirmed:
        wrong.append(f"release {back.version} is kept to fall back to, and was never confirmed")
    return wrong


def _owner(content: Mapping[str, bytes]) -> str:
    """The switch for updates as owner.py reads it: the file, its copy, else off; on where nobody said anything."""
    files = [content.get(f"{HOME}/owner.{suffix}", b"") for suffix in ("cbor", "bak")]
    if not any(files):
        return "on"
    for data in files:
        try:
            values = cbor.decode(data)
        except cbor.CborError:
            continue
        if isinstance(values, dict) and values.get(1) in ("on", "ask", "off"):
            return str(values[1])
    return "off, because nothing can be read"


def _marks(content: Mapping[str, bytes], state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    marks: dict[str, tuple[int, ...]] = {
        f"trusted {role}": (_version(content.get(f"{HOME}/trust/{role}.json", b"")),)
        for role in ("root", "timestamp", "snapshot", "targets")
    }
    marks |= {name: tuple(state.get(key, (0, 0))) for name, key in (("confirmed order", "o"), ("floor", "l"))}
    marks["highest root"] = (state.get("r", 0),)
    marks["starts counted"] = (state.get("n", 0),)
    try:
        marks["bound of time"] = tuple(json.loads(content.get(_NOTES, b"{}")).get("time", ()))
    except ValueError:
        marks["bound of time"] = ()
    return marks


@lru_cache(64)
def _secret(document: bytes) -> str:
    """A device that forgets who it is is wrong, and shows as one that has no secret."""
    try:
        return str(json.loads(document)["secret"])
    except (KeyError, ValueError):
        return ""


@lru_cache(64)
def _migrated(document: bytes) -> int:
    try:
        return int(json.loads(document).get("migrated", 0))
    except (AttributeError, ValueError):
        return 0


@lru_cache(64)
def _version(document: bytes) -> int:
    try:
        return int(json.loads(document)["signed"]["version"])
    except (KeyError, ValueError):
        return 0


def _application(content: Mapping[str, bytes]) -> bytes:
    hasher = hashlib.sha256()
    for path in sorted(content):
        if path.startswith(f"{DATA}/"):
            hasher.update(f"{path}\0{len(content[path])}\0".encode())
            hasher.update(content[path])
    return hasher.digest()


def _digest(content: Mapping[str, bytes], state: Mapping[str, Any], others: Mapping[str, int]) -> bytes:
    hasher = hashlib.sha256(json.dumps([{**state, "n": 0}, dict(others)], sort_keys=True).encode())
    for path in sorted(content):
        if path in (STATE, *_PASSING):
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
