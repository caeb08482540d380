"""What an adversary tries: every attack of the TUF specification, of Uptane, and of advisories, as files to be served.

An adversary is a server, a mirror, somebody in the middle, or a stick; what he stole besides is given. Each attack is
mounted in the ways that he has; what comes of the best of them is the cell of the table.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ceremony_scene import BOARD
from stolen_heist import Heist, Loot
from stolen_thief import EVIL, Payload, Plan, Thief, just_before_root_expires
from stolen_world import CHANNELS, RELEASES, Robbed
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Signature

from heirloom.device.manifest import Manifest
from heirloom.signing.metadata import file_name, to_bytes
from heirloom.signing.repository import Repository
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

ENDLESS = 300_000
TUF, UPTANE = "TUF 1.5.2", "Uptane 4.3"
FALSE_TIME = "a time that is not"


@dataclass(frozen=True)
class Mount:
    """One way to attack.

    Attributes:
        serve: Folders that answer, those of the first one first.
        wins: Versions whose installing is the attack's success.
        before: What the device saw before the attack, besides what it has seen.
        date: What the place says that the time is.
    """

    serve: tuple[Path, ...]
    wins: frozenset[str] = frozenset()
    before: Path | None = None
    date: str = ""


@dataclass(frozen=True)
class Attack:
    """One row for each stolen set.

    Attributes:
        source: Where it is described.
        goal: What it would have installed, by the promises' name; empty if it is not after installing.
        codes: By which a device may refuse it.
        signs: He signs what he can with what he stole; where not, stolen keys make it no better.
        freezes: It is after holding back news.
        poisons: It is after having the maker refused when it is over.
        networks: It needs a network: on a stick there is no such thing.
    """

    name: str
    source: str
    mounts: Callable[["Quarters", Loot], Iterable[Mount]]
    goal: str = ""
    codes: frozenset[str] = frozenset()
    signs: bool = True
    freezes: bool = False
    poisons: bool = False
    networks: bool = False


@dataclass
class Quarters:
    """Where the adversary works.

    Attributes:
        heist: The product, its keys, and devices in the field.
        folder: Empty.
    """

    heist: Heist
    folder: Path
    made: int = field(default=0)

    @property
    def robbed(self) -> Robbed:
        return self.heist.robbed

    def new(self) -> Path:
        """An empty folder."""
        self.made += 1
        folder = self.folder / f"{self.made}"
        folder.mkdir(parents=True)
        return folder

    def overlay(self, files: dict[str, bytes]) -> Path:
        """A folder with these files."""
        folder = self.new()
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def thief(self, kind: type[Thief], used: Loot) -> Thief:
        """A thief of a kind, who holds these things."""
        return kind(used, self.heist.keys, self.folder / f"theft-{self._next()}", self.heist.own, self.robbed.began)

    def _next(self) -> int:
        self.made += 1
        return self.made


def current(base: Path, role: str) -> tuple[str, bytes]:
    """The path and the content of a role's file as it is published."""
    repository = Repository(base)
    if role == TIMESTAMP:
        path = "metadata/timestamp.json"
    else:
        metadata = {ROOT: repository.root, TARGETS: repository.targets, SNAPSHOT: repository.snapshot}.get(
            role, partial(repository.role, role)
        )()
        path = f"metadata/{file_name(role, metadata.signed.version)}"
    return path, (base / path).read_bytes()


# -- by keys


def _after(goal: str, quarters: Quarters, used: Loot) -> Iterator[Mount]:
    for plan in quarters.heist.plans(goal, used):
        assert plan.payload
        yield Mount((quarters.heist.rob(used, plan), plan.base), frozenset({plan.payload.version}))


def _signed_twice(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    """A root that is signed twice is refused as a whole, so who holds its keys signs it as it should be."""
    for lie in ("twice", "twice but root"):
        plan = Plan(quarters.robbed.latest, quarters.heist.payloads["code"][0], lie=lie)
        yield Mount((quarters.heist.rob(used, plan), plan.base), frozenset({"6.6.6"}))


def _stepping_stone(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    """A release that needs another one first, which nobody signed as a release."""
    files = quarters.heist.payloads["code"][0].manifest
    found = Manifest.decode(files)
    made = Manifest(
        product="weather",
        board=BOARD,
        version="6.6.6",
        epoch=0,
        sequence=1000,
        files=list(found.files),
        requires=999,
        via="6.6.5",
    )
    plan = Plan(quarters.robbed.latest, Payload(made.encode(), "6.6.6", blobs=(EVIL,)))
    yield Mount((quarters.heist.rob(used, plan), plan.base), frozenset({"6.6.6", "6.6.5"}))


def _fast_forward(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    plan = Plan(quarters.robbed.latest)
    for poison in (replace(plan, versions="huge"), replace(plan, versions="huge", broken=True)):
        yield Mount((quarters.heist.rob(used, poison), plan.base))


def _false_time(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    plan, late = Plan(quarters.robbed.latest), just_before_root_expires(quarters.robbed.latest)
    for poison in (replace(plan, dated=late, all_dated=True), replace(plan, dated=late)):
        yield Mount((quarters.heist.rob(used, poison), plan.base))


def _freeze(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    yield Mount((quarters.heist.rob(used, Plan(quarters.robbed.seen)), quarters.robbed.seen))


def _old_metadata(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    """The device has seen the newest; now it is shown what was before."""
    seen = Plan(quarters.robbed.seen)
    for plan in (seen, replace(seen, versions="huge")):
        folder = quarters.heist.rob(used, plan)
        yield Mount((folder, seen.base), frozenset({"1.1.0", "1.0.0"}), before=quarters.robbed.latest)


class _NoThreshold(Thief):
    """Delegates with a threshold of 0 (go-tuf, GHSA-fphv-w9fq-2525)."""

    def _fill_targets(self, targets: Any, plan: Plan, made: object, before: object) -> None:
        super()._fill_targets(targets, plan, made, before)
        for role in (RELEASES, CHANNELS):
            targets.delegations.roles[role].threshold = 0


class _Delegator(Thief):
    """Lets the channels role delegate to the name of the releases role, with a key of his own (tuf-conformance)."""

    def _makes(self, role: str, plan: Plan, made: Any) -> bool:
        return super()._makes(role, plan, made) or (role == RELEASES and bool(self.held[CHANNELS]))

    def _fill_channels(self, channels: Any, plan: Plan, made: object, before: object) -> None:
        super()._fill_channels(channels, plan, made, before)
        role = DelegatedRole(RELEASES, [self.own.public_key.keyid], 1, terminating=False, paths=[f"releases/{BOARD}/*"])
        channels.delegations = Delegations({self.own.public_key.keyid: self.own.public_key}, {RELEASES: role})

    def _signed(self, role: str, metadata: Any, plan: Plan, made: Any, before: Any) -> bytes:
        data = super()._signed(role, metadata, plan, made, before)
        if role == RELEASES and not self.held[RELEASES]:
            metadata.sign(self.own, append=True)
            data = to_bytes(metadata)
        return data


def _by(kind: type[Thief], lie: str, quarters: Quarters, used: Loot) -> Iterator[Mount]:
    plan = Plan(quarters.robbed.latest, quarters.heist.payloads["code"][0], lie=lie)
    yield Mount((quarters.thief(kind, used).publish(plan), plan.base), frozenset({"6.6.6"}))


def _false_root(quarters: Quarters, used: Loot) -> Iterator[Mount]:
    """A root of his own, signed with what root keys he has, his own, and one signature under the names of all."""
    if "root" in used:
        yield from _after("code", quarters, used)
        return
    base, own = quarters.robbed.latest, quarters.heist.own
    metadata: Metadata[Root] = Metadata.from_bytes(current(base, ROOT)[1])
    wanted = list(metadata.signed.roles[ROOT].keyids)
    metadata.signed.version += 1
    for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        metadata.signed.add_key(own.public_key, role)
        metadata.signed.roles[role].threshold = 1
    metadata.signatures.clear()
    if "root below threshold" in used:
        metadata.sign(quarters.heist.keys["root-1"], append=True)
    metadata.sign(own, append=True)
    path = f"metadata/{file_name(ROOT, metadata.signed.version)}"
    yield Mount((quarters.overlay({path: to_bytes(metadata)}), base))
    first = next(iter(metadata.signatures.values())).signature
    for keyid in wanted:
        metadata.signatures.setdefault(keyid, Signature(keyid, first))
    yield Mount((quarters.overlay({path: to_bytes(metadata)}), base))


# -- without any key: what he has stolen makes it no better


def _endless(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    base = quarters.robbed.latest
    for role in (TIMESTAMP, SNAPSHOT, RELEASES):
        path, data = current(base, role)
        yield Mount((quarters.overlay({path: data + b" " * ENDLESS}), base))
    repository = Repository(base)
    manifest = next((base / "targets/releases" / BOARD).glob("*.1.3.0.cbor"))
    yield Mount((quarters.overlay({str(manifest.relative_to(base)): manifest.read_bytes() + b"\0" * ENDLESS}), base))
    yield Mount((quarters.overlay(_blobs(repository, lambda data: data + b"\n" * ENDLESS)), base))


def _blobs(repository: Repository, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    names = [f"blobs/{sha256.hex()}" for _, _, sha256 in repository.manifest(BOARD, "1.3.0").files]
    return {name: change((repository.path / name).read_bytes()) for name in names}


def _silent(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    yield Mount((quarters.new(),))


def _mixed(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    """Roles of one moment under the names of another."""
    base, before = quarters.robbed.latest, quarters.robbed.seen
    for role in (SNAPSHOT, RELEASES, CHANNELS):
        yield Mount((quarters.overlay({current(base, role)[0]: current(before, role)[1]}), base), frozenset({"1.1.0"}))


def _withheld(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    folder = quarters.new() / "latest"
    shutil.copytree(quarters.robbed.latest, folder)
    for name in _blobs(Repository(folder), bytes):
        (folder / name).unlink()
        (folder / f"{name}.z").unlink(missing_ok=True)
    yield Mount((folder,), frozenset({"1.3.0"}))


def _other_content(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    base = quarters.robbed.latest
    flipped = _blobs(Repository(base), lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    yield Mount((quarters.overlay(flipped), base), frozenset({"1.3.0"}))


def _second_member(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    """A signature over a part of the file (RAUC CVE-2026-34155): a second signed member on either side of the true."""
    base = quarters.robbed.latest
    for role in (RELEASES, CHANNELS, TIMESTAMP):
        path, data = current(base, role)
        document = json.loads(data)
        false = json.dumps(
            {**document["signed"], "version": document["signed"]["version"] + 1}, sort_keys=True
        ).encode()
        behind = data.rstrip()[:-1] + b',"signed":' + false + b"}"
        ahead = b'{"signed":' + false + b"," + data.lstrip()[1:]
        for forged in (behind, ahead, data + b'\n{"signed":' + false + b"}"):
            yield Mount((quarters.overlay({path: forged}), base))


def _false_clock(quarters: Quarters, _: Loot) -> Iterator[Mount]:
    yield Mount((quarters.robbed.latest,), date="Fri, 01 Jan 2106 00:00:00 GMT")


# Wrong signatures; or, where he lays his own file under the name of the one that was signed, another hash or length.
_SIGNED = frozenset({"E_KEYS", "E_THRESHOLD", "E_MIX", "E_HASH", "E_LENGTH", "E_STALE"})
_WRAPPED = _SIGNED | {"E_FLOOR", "E_PRODUCT", "E_REQUIRES", "E_MANIFEST", "E_NOT_FOUND"}
ATTACKS = [
    Attack("arbitrary software", TUF, partial(_after, "code"), "code", _SIGNED | {"E_FORMAT"}),
    Attack("wrong software", TUF, partial(_after, "other"), "other", _WRAPPED),
    Attack("rollback of a release", TUF, partial(_after, "old"), "old", _WRAPPED),
    Attack("another signed release", "Uptane: control", partial(_after, "choose"), "choose", _SIGNED),
    Attack("rollback of metadata", TUF, _old_metadata, "rollback", _SIGNED | {"E_ROLLBACK", "E_FLOOR"}, poisons=True),
    Attack("fast-forward", TUF, _fast_forward, codes=_SIGNED | {"E_NOT_FOUND", "E_ROLLBACK"}, poisons=True),
    Attack(FALSE_TIME, "ADR 6", _false_time, codes=_SIGNED | {"E_FORMAT"}, poisons=True),
    Attack("indefinite freeze", TUF, _freeze, codes=_SIGNED, freezes=True),
    Attack("extraneous dependencies", TUF, _stepping_stone, "never", _WRAPPED),
    Attack("endless data", TUF, _endless, signs=False, codes=frozenset({"E_LENGTH", "E_STALE"})),
    Attack("a mirror that has nothing", TUF, _silent, signs=False, codes=frozenset({"E_NOT_FOUND", "E_NETWORK"})),
    Attack(
        "mix-and-match",
        TUF,
        _mixed,
        "never",
        frozenset({"E_MIX", "E_HASH", "E_LENGTH", "E_ROLLBACK", "E_STALE"}),
        signs=False,
    ),
    Attack("partial bundle", UPTANE, _withheld, "never", frozenset({"E_NOT_FOUND", "E_STALE"}), signs=False),
    Attack("mixed bundle", UPTANE, _other_content, "never", frozenset({"E_HASH", "E_STALE"}), signs=False),
    Attack("a threshold of 0", "go-tuf, 2026", partial(_by, _NoThreshold, "own"), "never", _SIGNED | {"E_FORMAT"}),
    Attack("one signature twice", "CVE-2020-15093, CVE-2020-6174", _signed_twice, "never", _SIGNED | {"E_FORMAT"}),
    Attack(
        "a second signed member",
        "CVE-2026-34155",
        _second_member,
        signs=False,
        codes=frozenset({"E_FORMAT", "E_MIX", "E_HASH", "E_LENGTH", "E_STALE"}),
    ),
    Attack("a root that the old keys did not sign", "CVE-2020-15163", _false_root, "false root", _SIGNED),
    Attack("a role under another delegator", "tuf-conformance", partial(_by, _Delegator, ""), "code", _SIGNED),
    Attack(
        "a lying clock of the network", "ADR 6", _false_clock, signs=False, codes=frozenset({"E_STALE"}), networks=True
    ),
]
