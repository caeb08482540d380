"""The product that is robbed in the table of stolen keys: its history, its people's keys, and one device in the field.

Two places that a thief may choose from: what the device has seen (1.1.0) and what is published now (1.3.0).
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ceremony_scene import BOARD, OTHER, PASSPHRASE, Scene, make_scene
from securesystemslib.signer import Signer

from heirloom.signing.keys import SCHEME, KeyStore
from heirloom.signing.metadata import utc_now
from heirloom.signing.roles import channels_role, releases_role

RELEASES, CHANNELS = releases_role(BOARD), channels_role(BOARD)
DEVICE = Path(__file__).resolve().parents[2] / "device"
_WORKER = Path(__file__).with_name("stolen_worker.py")
_HEAP = "4m"

# What can be stolen, and which private keys that is.
LOOT: dict[str, list[str]] = {
    "root below threshold": ["root-1"],
    "root": ["root-1", "root-2"],
    "targets": ["targets-1", "targets-2"],
    "one releases key": [f"{RELEASES}-1"],
    "all releases keys": [f"{RELEASES}-1", f"{RELEASES}-2"],
    "channels": [CHANNELS],
    "snapshot": ["snapshot"],
    "timestamp": ["timestamp"],
    "publishing server": [],  # write access to its files
    "API token": [],  # no API takes one: server/README.md
}
# Whoever has the one has the other.
CONTAINS = {"root": "root below threshold", "all releases keys": "one releases key"}


class Field:
    """Devices on MicroPython.

    What a device does depends on its flash, its clock, and what it is answered. So when it would be answered again what
    it was answered before, it need not run again: the outcome is known.

    Args:
        micropython: The interpreter.
        folder: For the devices' flash; empty.
        client: The source of the client.
    """

    def __init__(self, micropython: Path, folder: Path, client: Path = DEVICE) -> None:
        self.folder = folder
        self.ran = 0
        self._states: dict[str, str] = {}
        self._known: dict[str, list[tuple[dict[str, str | None], dict[str, Any], str]]] = {}
        command = [str(micropython), "-X", f"heapsize={_HEAP}", str(_WORKER), str(client)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def provision(self, name: str, root: Path, channel: str = "stable") -> None:
        """Make a device that trusts this root."""
        identity = {"product": "weather", "board": BOARD, "urls": ["http://1/"], "channel": channel}
        self._states[name] = self._run(device=identity, root=str(root))["then"]

    def live(self, name: str, steps: Iterable[Mapping[str, Any]], keep: str = "") -> list[dict[str, Any]]:
        """What a copy of a device says to these steps, those of stolen_worker.py; it is kept under another name."""
        outcomes, state = [], self._states[name]
        for step in steps:
            outcome, state = self._step(state, step)
            outcomes.append(outcome)
        if keep:
            self._states[keep] = state
        return outcomes

    def _step(self, state: str, step: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        served = step["serve"]
        circumstances = json.dumps([state, {key: value for key, value in step.items() if key != "serve"}])
        known = self._known.setdefault(circumstances, [])
        for answers, outcome, then in known:
            if all(_digest(served, path) == digest for path, digest in answers.items()):
                return outcome, then
        self.ran += 1
        answer = self._run(flash=str(self.folder / f"{state}.flash"), step=step)
        outcome, then = answer["outcome"], answer["then"]
        answers = {path: _digest(served, path) for path in outcome.pop("asked")}
        known.append((answers, outcome, then))
        return outcome, then

    def _run(self, **command: object) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({**command, "folder": str(self.folder)}) + "\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line.startswith("=> "):
                return dict(json.loads(line[3:]))
            said.append(line)
        raise AssertionError(f"MicroPython stopped ({self._process.wait(20)}):\n" + "".join(said))

    def close(self) -> None:
        """Stop MicroPython."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def _digest(folders: Sequence[str], path: str) -> str | None:
    """Of what the worker's network answers."""
    for folder in folders:
        file = Path(folder) / path
        if file.is_file():
            return hashlib.sha256(file.read_bytes()).hexdigest()
        if file.suffix == ".z" and file.with_suffix("").is_file():
            break
    return None


@dataclass
class Robbed:
    """The product before the theft and after.

    Attributes:
        scene: Its people's workshop, after the recovery.
        seen: The repository when the device last looked: 1.1.0 is on the channel and on the device.
        latest: The repository at the theft: 1.2.0 on `beta`, 5.0.0 for another board, 1.3.0 on `stable`.
        later: One honest release after it, 1.4.0, with the keys as they were.
        recovered: All keys replaced that could be stolen, a new epoch, and 2.0.0.
        foreign: The repository of another product of the same makers, with 9.0.0 for the same board.
        began: When it was made.
    """

    directory: Path
    scene: Scene
    foreign: Path
    began: datetime

    @property
    def seen(self) -> Path:
        return self.directory / "seen"

    @property
    def latest(self) -> Path:
        return self.directory / "latest"

    @property
    def later(self) -> Path:
        return self.directory / "later"

    @property
    def recovered(self) -> Path:
        return self.directory / "recovered"

    def at_theft(self, directory: Path) -> Scene:
        """A copy of the makers' workshop as it was at the theft, made once."""
        return Scene(directory) if directory.exists() else Scene(self.directory / "project").copy(directory)

    def signers(self) -> dict[str, Signer]:
        """Every key of before the theft, by name."""
        store = KeyStore(self.directory / "scene/keys")
        names = {name for group in LOOT.values() for name in group}
        return {name: store.signer(f"{SCHEME}:{name}", lambda _: PASSPHRASE) for name in names}


def make_robbed(directory: Path) -> Robbed:
    """Live through the whole history by the program's own commands. The passphrase is set; key files are cheap."""
    began = utc_now()
    foreign = make_scene(directory / "foreign", product="sauna")
    for version in ("9.0.0", "9.1.0", "9.2.0"):
        foreign.publish(version)
    scene = make_scene(directory / "scene")
    scene.new_key(f"{RELEASES}-2")
    scene.hold("--add-key", f"{RELEASES}={RELEASES}-2", "--threshold", f"{RELEASES}=2")
    robbed = Robbed(directory, scene, foreign.repository.path, began)
    scene.publish("1.1.0")
    _keep(scene, robbed.seen)
    scene.publish("1.2.0", channel="beta")
    for version in ("3.0.0", "4.0.0", "5.0.0"):
        scene.publish(version, board=OTHER)
    scene.publish("1.3.0")
    _keep(scene, robbed.latest)
    scene.copy(directory / "project")  # as it was at the theft, for whoever serves it
    scene.publish("1.4.0")
    _keep(scene, robbed.later)
    scene.hold(*_everything_anew(scene))
    scene.publish("2.0.0")
    _keep(scene, robbed.recovered)
    return robbed


def _keep(scene: Scene, folder: Path) -> None:
    shutil.copytree(scene.repository.path, folder)


def _everything_anew(scene: Scene) -> list[str]:
    """The ceremony after the worst theft that leaves the root with its owners."""
    words = ["--epoch", "1"]
    for names in LOOT.values():
        for name in names:
            if not scene.keys().has(f"{SCHEME}:{name}-new"):
                scene.new_key(f"{name}-new")
                words += ["--replace-key", f"{name}={name}-new", "--stolen", name]
    return words
