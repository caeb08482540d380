"""Every attack, with every set of stolen keys, for every way in which a device is connected: what came of it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from adversary_attacks import ATTACKS, Attack, Mount, Quarters, current
from stolen_heist import DAY_S, Heist, Loot
from stolen_world import CHANNELS, RELEASES
from tuf.api.metadata import Metadata

from heirloom.signing.keys import SCHEME
from heirloom.signing.metadata import SIGNED_AT, describe, file_name, meta_name, time_text, to_bytes
from heirloom.signing.repository import Repository
from heirloom.signing.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, rule

ONLINE, OFFLINE, NO_CLOCK, STICK, OLD_STICK = "online", "long offline", "no clock", "stick", "old stick"
# How many days after the theft; all that the thief did not sign is from then.
DAYS = {ONLINE: 0, OFFLINE: 400, NO_CLOCK: 0, STICK: 0, OLD_STICK: 540}
CONNECTIONS = tuple(DAYS)
STICKS = (STICK, OLD_STICK)
_ONLINE_KEYS = frozenset({"channels", "snapshot", "timestamp"})
STOLEN: dict[str, Loot] = {
    "nothing": frozenset(),
    "timestamp": frozenset({"timestamp"}),
    "snapshot + timestamp": frozenset({"snapshot", "timestamp"}),
    "all online keys": _ONLINE_KEYS,
    "one releases key + all online keys": _ONLINE_KEYS | {"one releases key"},
    "all releases keys": frozenset({"all releases keys"}),
    "all releases keys + all online keys": _ONLINE_KEYS | {"all releases keys"},
    "targets": frozenset({"targets"}),
    "targets + snapshot + timestamp": frozenset({"targets", "snapshot", "timestamp"}),
    "one root key": frozenset({"root below threshold"}),
    "root": frozenset({"root"}),
}
_PARTS = frozenset({"one releases key", "root below threshold"})
# The makers go on: by so many versions they are ahead of a thief who signed one.
_AHEAD = 50


@dataclass(frozen=True)
class Cell:
    """What came of an attack.

    Attributes:
        installs: The device took what it must not.
        held_back: It believes that there is nothing new.
        jams: It refuses the maker afterwards, until a ceremony replaces keys.
        locks: It refuses the maker after that.
        codes: By which it refused.
    """

    installs: bool
    held_back: bool
    jams: bool
    locks: bool
    codes: frozenset[str]

    def text(self) -> str:
        """For the table."""
        if self.installs:
            return "**installs**"
        after = "**locked out**" if self.locks else "**jams**" if self.jams else ""
        said = "held back" if self.held_back else ", ".join(sorted(self.codes)) or "no effect"
        return f"{said}; {after}" if after else said


class Table:
    """Mounts attacks on devices."""

    def __init__(self, heist: Heist, folder: Path) -> None:
        self.heist, self.folder = heist, folder
        self.quarters = Quarters(heist, folder / "adversary")
        self.mounted = 0
        self._honest: dict[tuple[Path, int], Path] = {}
        self._stuck: dict[tuple[Path, ...], Path] = {}

    def cell(self, attack: Attack, stolen: Loot, connection: str) -> Cell | None:
        """What the best way of an attack does; None where there is no such thing."""
        if attack.networks and connection in STICKS:
            return None
        # He need not use all that he has: what is below a threshold only makes a device refuse the rest.
        ways = dict.fromkeys((stolen, stolen - _PARTS)) if attack.signs else (stolen,)
        found = [self._mount(mount, connection) for used in ways for mount in self._mounts(attack, used)]
        return Cell(
            any(cell.installs for cell in found),
            any(cell.held_back for cell in found),
            any(cell.jams for cell in found),
            any(cell.locks for cell in found),
            frozenset().union(*(cell.codes for cell in found)),
        )

    def rows(self) -> Iterator[tuple[Attack, str, dict[str, Cell | None]]]:
        """The whole table, as it is made."""
        for attack in ATTACKS:
            for name, stolen in STOLEN.items():
                yield attack, name, {connection: self.cell(attack, stolen, connection) for connection in CONNECTIONS}

    @cache  # noqa: B019 - as long as the table
    def _mounts(self, attack: Attack, stolen: Loot) -> list[Mount]:
        return list(attack.mounts(self.quarters, stolen))

    def _mount(self, mount: Mount, connection: str) -> Cell:
        self.mounted += 1
        before = [self._step(connection, mount.before)] if mount.before else []
        at = self.heist.began + DAYS[connection] * DAY_S
        after = [
            self._step(connection, *self._makers(base, at))
            for base in (self.heist.robbed.later, self.heist.robbed.recovered)
        ]
        if mount.before and DAYS[connection]:
            before = [self.heist.step(mount.before)]  # it was online then
        steps = [*before, self._step(connection, *mount.serve, date=mount.date), *after]
        _, attacked, later, recovered = [None, *self.heist.field.live("device", steps)][-4:]
        assert attacked
        assert later
        assert recovered
        if attacked["installed"] in mount.wins:
            return Cell(True, False, False, False, frozenset())
        held_back = not attacked["code"] and not attacked["installed"]
        codes = frozenset({attacked["code"]} - {None})
        # Whoever is jammed needs the ceremony; whoever is not takes the next release, and the one after it.
        jams = later["installed"] != "1.4.0"
        return Cell(False, held_back, jams, recovered["installed"] != "2.0.0", codes)

    def _step(self, connection: str, *folders: Path, date: str = "") -> dict[str, Any]:
        step: dict[str, Any] = self.heist.step(*folders, days=DAYS[connection])
        if date:
            step["date"] = date
        if connection == NO_CLOCK:
            step["now"] = 0
        if connection in STICKS:
            step["stick"] = str(self._on_a_stick(folders))
        return step

    def _on_a_stick(self, folders: tuple[Path, ...]) -> Path:
        """One folder with what several would serve, the first one on top; a twin of what was replaced is gone."""
        if folders not in self._stuck:
            stick = self._stuck[folders] = self.folder / f"stick-{len(self._stuck)}"
            stick.mkdir(parents=True)
            for folder in reversed(folders):
                shutil.copytree(folder, stick, dirs_exist_ok=True)
                for path in folder.rglob("*"):
                    if path.is_file() and not path.with_name(f"{path.name}.z").exists():
                        (stick / path.relative_to(folder)).with_name(f"{path.name}.z").unlink(missing_ok=True)
        return self._stuck[folders]

    def _makers(self, base: Path, at: int) -> tuple[Path, Path]:
        """What the makers serve by then: the same releases, signed by them in all roles that expire."""
        if (base, at) not in self._honest:
            self._honest[base, at] = self._signed_anew(base, datetime.fromtimestamp(at, UTC))
        return self._honest[base, at], base

    def _signed_anew(self, base: Path, now: datetime) -> Path:
        repository, made = Repository(base), {}
        delegators = {role: repository.root().signed for role in (TARGETS, SNAPSHOT, TIMESTAMP)}
        delegators |= {role: repository.targets().signed for role in (RELEASES, CHANNELS)}  # type: ignore[dict-item]
        for role in (TARGETS, RELEASES, CHANNELS, SNAPSHOT, TIMESTAMP):
            metadata: Metadata[Any] = Metadata.from_bytes(current(base, role)[1])
            signed = metadata.signed
            signed.version += _AHEAD
            signed.expires = now + timedelta(days=rule(role).lifetime.days)
            if SIGNED_AT in signed.unrecognized_fields:
                signed.unrecognized_fields[SIGNED_AT] = time_text(now)
            if role == SNAPSHOT:
                for other in (TARGETS, RELEASES, CHANNELS):
                    signed.meta[meta_name(other)] = describe(*made[other])
            if role == TIMESTAMP:
                signed.snapshot_meta = describe(*made[SNAPSHOT])
            metadata.signatures.clear()
            for keyid in delegators[role].get_delegated_role(role).keyids:
                metadata.sign(self._signer(keyid), append=True)
            made[role] = signed.version, to_bytes(metadata)
        names = {role: "timestamp.json" if role == TIMESTAMP else file_name(role, made[role][0]) for role in made}
        return self.quarters.overlay({f"metadata/{names[role]}": data for role, (_, data) in made.items()})

    @cache  # noqa: B019 - as long as the table
    def _signer(self, keyid: str) -> Any:
        from ceremony_scene import PASSPHRASE

        store = self.heist.robbed.scene.keys()
        name = next(name for name in store.names() if store.public(name).keyid == keyid)
        return store.signer(f"{SCHEME}:{name}", lambda _: PASSPHRASE)


__all__ = ["CONNECTIONS", "ROOT", "STOLEN", "Cell", "Table"]
