"""A thief: out of what is published and what he stole, he makes the best repository that he can.

He knows the program and every file that was ever public. He signs with what he holds; where that is not enough, he
replays what others signed, or lies: his own signatures under the names of keys that he lacks, or one signature twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ceremony_scene import BOARD, OTHER
from securesystemslib.signer import CryptoSigner, Signature, Signer
from stolen_world import CHANNELS, LOOT, RELEASES, Robbed
from tuf.api.metadata import Metadata, Root, TargetFile

from heirloom.device.manifest import Manifest
from heirloom.signing.metadata import SIGNED_AT, URLS, describe, file_name, meta_name, time_text, to_bytes
from heirloom.signing.repository import Repository, channel_path, release_path, target_file
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

FAR = datetime(2090, 1, 1, tzinfo=UTC)
HUGE = 0x7FFFFFFF
_ROLES = (ROOT, TARGETS, RELEASES, CHANNELS, SNAPSHOT, TIMESTAMP)  # each before the one that describes it
# What wrecks the device as soon as it runs: its roots of trust go.
EVIL = b"import os\nfor name in ('root', 'provisioned'):\n    os.remove('/heirloom/trust/' + name + '.json')\n"


@dataclass(frozen=True)
class Payload:
    """What the channel shall point to.

    Attributes:
        manifest: Its bytes.
        version: The name under which it is listed.
        listed: The releases role lists it already; it must not be touched for it.
        blobs: Contents that are not published yet.
    """

    manifest: bytes
    version: str
    listed: bool = False
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What the thief does with the roles that he can sign.

    Attributes:
        base: The repository that he replays.
        payload: What he wants installed, or None.
        lie: What he does about roles that he needs and cannot sign: "" (replay), "own" or "twice" (lie); "twice but
            root" leaves the root as it should be.
        direct: With the targets keys, he lists everything in targets itself, and delegates nothing.
        versions: "next" or "huge".
        dated: The time that he says he signed at; None for now.
        all_dated: Also in the timestamp, which comes first.
        broken: What he signs cannot be used: no channel, no release, a snapshot that names what is absent.
    """

    base: Path
    payload: Payload | None = None
    lie: str = ""
    direct: bool = False
    versions: str = "next"
    dated: datetime | None = None
    all_dated: bool = False
    broken: bool = False


class Thief:
    """Holds `stolen` things, by their names in LOOT, and works in an empty folder."""

    def __init__(
        self, stolen: frozenset[str], keys: Mapping[str, Signer], folder: Path, own: Signer, now: datetime
    ) -> None:
        names = {name for thing in stolen for name in LOOT[thing]}
        self.held = {role: [keys[name] for name in sorted(names) if _role_of(name) == role] for role in _ROLES}
        self.folder = folder
        self.own = own
        self.now = now
        self._bytes: dict[str, bytes] = {}

    def publish(self, plan: Plan) -> Path:
        """Make the files that a plan replaces or adds."""
        (self.folder / "metadata").mkdir(parents=True)
        before = _current(plan.base, (plan.base / "metadata/timestamp.json").read_bytes())
        made: dict[str, Metadata[Any]] = {}
        for role in _ROLES:
            if self._makes(role, plan, made):
                made[role] = self._role(role, before, plan, made)
        self._place_payload(plan.payload)
        return self.folder

    def _makes(self, role: str, plan: Plan, made: Mapping[str, object]) -> bool:
        """Whether he signs a new version: he holds keys, has given the role to himself, or lies."""
        if plan.lie and role != ROOT:
            return True
        if plan.direct and role in (RELEASES, CHANNELS):
            return False
        return bool(self.held[role]) or ROOT in made or (role in (RELEASES, CHANNELS) and TARGETS in made)

    def _role(self, role: str, before: Mapping[str, Metadata[Any]], plan: Plan, made: dict[str, Any]) -> Metadata[Any]:
        metadata = Metadata.from_bytes(to_bytes(before[role]))
        signed = metadata.signed
        signed.version = HUGE if plan.versions == "huge" and role != ROOT else signed.version + 1
        signed.expires = FAR
        if SIGNED_AT in signed.unrecognized_fields:
            dated = plan.dated if role != TIMESTAMP or plan.all_dated else None
            signed.unrecognized_fields[SIGNED_AT] = time_text(dated or self.now)
        getattr(self, f"_fill_{role.partition('-')[0]}")(signed, plan, made, before)
        data = self._signed(role, metadata, plan, made, before)
        self._put(role, signed.version, data)
        # Where nobody says that there is a new version, he lays it over the old one.
        if role in (RELEASES, CHANNELS, TARGETS, SNAPSHOT):
            self._put(role, before[role].signed.version, data, unless=self._makes(_describer(role), plan, made))
        return metadata

    def _fill_root(self, root: Root, _plan: Plan, _made: object, _before: object) -> None:
        for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(self.own.public_key, role)
            root.roles[role].threshold = 1
        root.unrecognized_fields[URLS] = ["http://1/", "http://2/"]

    def _fill_targets(self, targets: Any, plan: Plan, _made: object, _before: object) -> None:
        for role in (RELEASES, CHANNELS):
            for keyid in list(targets.delegations.roles[role].keyids):
                targets.revoke_key(keyid, role)
            targets.add_key(self.own.public_key, role)
            targets.delegations.roles[role].threshold = 1
        if plan.direct and plan.payload:
            self._list(targets, plan.payload)
            self._point(targets, plan.payload)

    def _fill_releases(self, releases: Any, plan: Plan, _made: object, _before: object) -> None:
        if plan.broken:
            releases.targets.clear()
        if plan.payload and not plan.payload.listed:
            self._list(releases, plan.payload)

    def _fill_channels(self, channels: Any, plan: Plan, _made: object, _before: object) -> None:
        if plan.broken:
            channels.targets.clear()
        if plan.payload:
            self._point(channels, plan.payload)

    def _fill_snapshot(self, snapshot: Any, plan: Plan, made: dict[str, Any], before: Mapping[str, Any]) -> None:
        for role in (TARGETS, RELEASES, CHANNELS):
            if role in made:
                data = self._bytes[role]
                snapshot.meta[meta_name(role)] = describe(made[role].signed.version, data)
            elif plan.broken:
                snapshot.meta[meta_name(role)].version = HUGE

    def _fill_timestamp(self, timestamp: Any, plan: Plan, made: dict[str, Any], before: Mapping[str, Any]) -> None:
        if SNAPSHOT in made:
            timestamp.snapshot_meta = describe(made[SNAPSHOT].signed.version, self._bytes[SNAPSHOT])

    @staticmethod
    def _list(role: Any, payload: Payload) -> None:
        path = release_path(BOARD, payload.version)
        target = TargetFile.from_data(path, payload.manifest, ["sha256"])
        manifest = Manifest.decode(payload.manifest)
        custom = {"version": payload.version, "epoch": manifest.epoch, "sequence": manifest.sequence}
        target.unrecognized_fields["custom"] = custom
        role.targets[path] = target

    @staticmethod
    def _point(role: Any, payload: Payload) -> None:
        path = channel_path(BOARD, "stable")
        target = TargetFile.from_data(path, payload.manifest, ["sha256"])
        target.unrecognized_fields["custom"] = {"release": release_path(BOARD, payload.version)}
        role.targets[path] = target

    def _signed(self, role: str, metadata: Metadata[Any], plan: Plan, made: Any, before: Mapping[str, Any]) -> bytes:
        metadata.signatures.clear()
        for signer in self.held[role]:
            metadata.sign(signer, append=True)
        if role == ROOT or ROOT in made or (role in (RELEASES, CHANNELS) and TARGETS in made):
            metadata.sign(self.own, append=True)
        if plan.lie == "own":
            self._pretend(role, metadata, before)
        data = to_bytes(metadata)
        if plan.lie == "twice" or (plan.lie == "twice but root" and role != ROOT):
            document = json.loads(data)
            document["signatures"] *= 2
            data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return data

    def _pretend(self, role: str, metadata: Metadata[Any], before: Mapping[str, Any]) -> None:
        """His own signature, and those that he can make, under the names of the keys that are wanted."""
        delegator = before[TARGETS if role in (RELEASES, CHANNELS) else ROOT].signed
        mine = self.own.sign(metadata.signed_bytes).signature
        true = [signature.signature for signature in metadata.signatures.values()]
        for keyid in delegator.get_delegated_role(role).keyids:
            if keyid not in metadata.signatures:
                metadata.signatures[keyid] = Signature(keyid, (true or [mine])[0])

    def _put(self, role: str, version: int, data: bytes, *, unless: bool = False) -> None:
        if unless:
            return
        self._bytes[role] = data
        (self.folder / "metadata" / file_name(role, version)).write_bytes(data)

    def _place_payload(self, payload: Payload | None) -> None:
        if payload is None or payload.listed:
            return
        path = self.folder / "targets" / target_file(release_path(BOARD, payload.version), _hash(payload.manifest))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload.manifest)
        (self.folder / "blobs").mkdir()
        for blob in payload.blobs:
            (self.folder / "blobs" / _hash(blob)).write_bytes(blob)


def _role_of(name: str) -> str:
    return name if name in _ROLES else name.rpartition("-")[0]


def _describer(role: str) -> str:
    return TIMESTAMP if role == SNAPSHOT else SNAPSHOT


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _current(base: Path, _timestamp: bytes) -> dict[str, Metadata[Any]]:
    repository = Repository(base)
    top = {ROOT: repository.root(), TARGETS: repository.targets()}
    below = {role: repository.role(role) for role in (RELEASES, CHANNELS)}
    return {**top, **below, SNAPSHOT: repository.snapshot(), TIMESTAMP: repository.timestamp()}


def payloads(robbed: Robbed) -> dict[str, list[Payload]]:
    """What he tries to have installed, by what he gains: each a release as others signed it, or wrapped anew."""
    latest, foreign = Repository(robbed.latest), Repository(robbed.foreign)
    old, sauna = latest.manifest(BOARD, "1.0.0"), foreign.manifest(BOARD, "9.2.0")
    blobs = {path.name: path.read_bytes() for folder in (robbed.latest, robbed.foreign) for path in _blobs(folder)}
    evil = (("main.py", len(EVIL), hashlib.sha256(EVIL).digest()),)
    return {
        "code": [Payload(wrapped(evil), "6.6.6", blobs=(EVIL,))],
        "old": [
            Payload(latest.manifest_bytes(BOARD, "1.0.0"), "1.0.0", listed=True),
            Payload(wrapped(list(old.files)), "6.6.6"),
        ],
        "other": [
            Payload(latest.manifest_bytes(OTHER, "5.0.0"), "5.0.0"),
            Payload(foreign.manifest_bytes(BOARD, "9.2.0"), "9.2.0", blobs=_contents(sauna, blobs)),
            Payload(wrapped(list(sauna.files)), "6.6.6", blobs=_contents(sauna, blobs)),
        ],
        "choose": [Payload(latest.manifest_bytes(BOARD, "1.2.0"), "1.2.0", listed=True)],
    }


def _blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file() and not path.suffix]


def _contents(manifest: Manifest, blobs: Mapping[str, bytes]) -> tuple[bytes, ...]:
    return tuple(blobs[sha256.hex()] for _, _, sha256 in manifest.files)


def wrapped(files: Any, *, epoch: int = 0, sequence: int = 1000, floor: int = 0, version: str = "6.6.6") -> bytes:
    """A manifest of his own for these files."""
    made = Manifest(
        product="weather", board=BOARD, version=version, epoch=epoch, sequence=sequence, floor=floor, files=files
    )
    return made.encode()


def new_own() -> Signer:
    """A key of his own."""
    return CryptoSigner.generate_ed25519()


def just_before_root_expires(base: Path) -> datetime:
    """The latest time that a device would believe."""
    return Repository(base).root().signed.expires - timedelta(hours=1)
