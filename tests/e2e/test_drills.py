"""The procedures of docs/drills.md: the thief succeeds, the makers type what stands there, and he does not any more.

Each is a story on the real client: what he can do meanwhile, the procedure, his next try, the makers' next release.
"""

import hashlib
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ceremony_scene import BOARD, PASSPHRASE, Scene
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from e2e_world import CONFIRMED, NewUnit, World
from securesystemslib.signer import CryptoSigner, Signer
from stolen_thief import HUGE, Payload, Plan, Thief, just_before_root_expires, new_own, payloads, wrapped
from stolen_world import CHANNELS, RELEASES, Field, Robbed

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import Workshop, weather
from heirloom.server.serve import serving
from heirloom.signing import keyfile
from heirloom.signing.keys import SCHEME, KeyStore
from heirloom.signing.metadata import to_bytes, utc_now
from heirloom.signing.roles import ROOT, SNAPSHOT, TIMESTAMP
from heirloom.signing.will import sealed, shares

PAGE = Path(__file__).resolve().parents[2] / "docs/drills.md"
ONLINE = (CHANNELS, SNAPSHOT, TIMESTAMP)
SIGNED_BY_OTHERS = ("E_KEYS", "E_THRESHOLD")


def blocks() -> dict[str, list[list[str]]]:
    """Section of the page to its command lines."""
    found = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        for text in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
            lines = text.replace("\\\n", " ").replace("RPI_PICO_W", BOARD).splitlines()
            found[section.partition("\n")[0]] = [shlex.split(line, comments=True)[1:] for line in lines]
    return found


def follow(section: str, heirloom: Callable[..., Any]) -> list[Any]:
    """Type the block of a section; returns what each command said."""
    return [heirloom(*argv) for argv in blocks()[section]]


@dataclass
class Drill:
    """One device with 1.1.0, the makers' workshop at the moment of the theft, and a thief."""

    robbed: Robbed
    field: Field
    scene: Scene
    folder: Path
    keys: dict[str, Signer]
    state: str = "device"
    own: Signer = field(default_factory=new_own)
    _count: int = 0

    def _next(self) -> str:
        self._count += 1
        return f"{self.folder.parent.name}-{self._count}"

    def rob(self, *stolen: str, **plan: Any) -> list[Path]:
        """What the thief serves: his files over those that are published now."""
        made = self.folder / self._next()
        thief = Thief(frozenset(stolen), self.keys, made, self.own, self.robbed.began)
        published = self.folder / self._next()
        shutil.copytree(self.scene.repository.path, published)
        return [thief.publish(replace(Plan(published), **plan)), published]

    def check(self, *served: Path, days: float = 0) -> dict[str, Any]:
        """The device looks for an update; without `served`, at what the makers publish."""
        folders = [str(folder) for folder in served or (self.scene.repository.path,)]
        now = int(self.robbed.began.timestamp()) + 600 + int(days * 86400)
        after = self._next()
        (outcome,) = self.field.live(self.state, [{"serve": folders, "now": now}], keep=after)
        self.state = after
        return outcome

    def payload(self, goal: str) -> Payload:
        """His own code, or what else he wants installed."""
        return payloads(self.robbed)[goal][0]

    def follow(self, section: str) -> list[Any]:
        return follow(section, self.scene.heirloom)

    def updates(self, version: str = "2.0.0") -> None:
        """The makers' next release arrives."""
        self.scene.publish(version)
        outcome = self.check()
        assert (outcome["code"], outcome["installed"]) == (None, version), outcome

    def refuses(self, *served: Path, codes: tuple[str, ...] = SIGNED_BY_OTHERS) -> None:
        outcome = self.check(*served)
        assert outcome["installed"] is None
        assert outcome["code"] in codes, outcome

    def would_refuse(self, *stolen: str, **plan: Any) -> None:
        """The same of a copy of the device: what is tried here needs more than the thief has in this story."""
        before = self.state
        self.refuses(*self.rob(*stolen, **plan))
        self.state = before


@pytest.fixture
def drill(robbed: Robbed, field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drill:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
    field.provision("blank", robbed.seen / "metadata/1.root.json")
    field.live("blank", [{"serve": [str(robbed.seen)], "now": int(robbed.began.timestamp()) + 600}], keep="device")
    return Drill(robbed, field, robbed.at_theft(tmp_path / "scene"), tmp_path, robbed.signers())


def test_every_section_with_commands_is_drilled() -> None:
    """And its commands are there for other reasons than to be skipped."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(blocks()) == 10
    for section, commands in blocks().items():
        assert f'follow("{section}"' in text, section
        assert commands


def test_snapshot_and_timestamp(drill: Drill) -> None:
    assert drill.check(*drill.rob("snapshot", "timestamp", base=drill.robbed.seen), days=80)["code"] is None
    drill.check(*drill.rob("snapshot", "timestamp", versions="huge"))
    drill.scene.publish("1.4.0")
    drill.refuses(codes=("E_ROLLBACK",))
    drill.follow("Snapshot and timestamp")
    assert drill.check()["installed"] == "1.4.0"
    drill.refuses(*drill.rob("snapshot", "timestamp", versions="huge"))
    drill.updates()


def test_a_far_date_of_the_timestamp(drill: Drill) -> None:
    late = just_before_root_expires(drill.robbed.latest)
    drill.check(*drill.rob("timestamp", dated=late, all_dated=True))
    drill.scene.publish("1.4.0")
    drill.refuses(codes=("E_STALE",))
    drill.follow("Snapshot and timestamp")
    drill.updates()


def test_channels(drill: Drill) -> None:
    beta = drill.payload("choose")
    assert drill.check(*drill.rob(*("channels", "snapshot", "timestamp"), payload=beta))["installed"] == "1.2.0"
    *_, shown = drill.follow("Channels")
    assert shown["boards"][BOARD]["stable"] == "1.3.0"
    drill.refuses(*drill.rob("channels", "snapshot", "timestamp", payload=beta))
    drill.updates()


def test_one_releases_key_of_several(drill: Drill) -> None:
    code = drill.payload("code")
    drill.would_refuse("one releases key", "channels", "snapshot", "timestamp", payload=code)
    drill.follow("One releases key of several")
    # Then he gets the second one, which still counts, and that is not enough any more.
    drill.would_refuse("all releases keys", "channels", "snapshot", "timestamp", payload=code)
    drill.updates()


def test_a_far_date_of_all_releases_keys(drill: Drill) -> None:
    """He needs no channel for it (docs/adr/0009)."""
    late = just_before_root_expires(drill.robbed.latest)
    drill.check(*drill.rob("all releases keys", "snapshot", "timestamp", dated=late))
    drill.scene.publish("1.4.0")
    drill.refuses(codes=("E_STALE",))
    drill.follow("Snapshot and timestamp")
    drill.updates()


def test_an_epoch_that_targets_has_not_opened(drill: Drill) -> None:
    evil = drill.payload("code")
    files = [("main.py", len(evil.blobs[0]), bytes(32))]
    absurd = replace(evil, manifest=wrapped(files, epoch=HUGE, sequence=HUGE, floor=HUGE))
    stolen = ("all releases keys", "channels", "snapshot", "timestamp")
    drill.refuses(*drill.rob(*stolen, payload=absurd), codes=("E_MIX",))


def test_targets(drill: Drill) -> None:
    stolen, code = ("targets", "snapshot", "timestamp"), drill.payload("code")
    assert drill.check(*drill.rob(*stolen, payload=code))["installed"] == code.version
    drill.follow("Targets")
    drill.refuses(*drill.rob(*stolen, payload=replace(code, version="6.6.7")))
    drill.updates()


def test_root_threshold_when_the_makers_are_first(drill: Drill) -> None:
    drill.follow("Root threshold")
    drill.updates()
    drill.refuses(*drill.rob("root", payload=drill.payload("code")))
    drill.updates("2.1.0")


def test_root_threshold_when_the_thief_is_first(drill: Drill) -> None:
    """Only somebody beside the device can help."""
    assert drill.check(*drill.rob("root", payload=drill.payload("code")))["installed"]
    drill.follow("Root threshold")
    drill.scene.publish("2.0.0")
    drill.refuses()
    newest = drill.scene.repository.path / f"metadata/{drill.scene.repository.root().signed.version}.root.json"
    drill.field.provision("provisioned again", newest)
    drill.state = "provisioned again"
    assert drill.check()["installed"] == "2.0.0"


def test_the_publishing_server(drill: Drill) -> None:
    assert drill.check()["installed"] == "1.3.0"
    repository = drill.scene.repository.path
    shutil.rmtree(repository)
    shutil.copytree(drill.robbed.seen, repository)
    drill.scene.heirloom("renew", "--all")
    drill.refuses(codes=("E_ROLLBACK",))
    shutil.rmtree(repository)
    shutil.copytree(drill.robbed.latest, repository)  # the backup
    drill.follow("The publishing server")
    drill.refuses(*drill.rob("channels", "snapshot", "timestamp", payload=drill.payload("choose")))
    drill.updates()


def pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_ci_key(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, machine = drill.scene, Ed25519PrivateKey.generate()
    for variable, key in (("CI_KEY", machine), ("CI_KEY_2", Ed25519PrivateKey.generate())):
        monkeypatch.setenv(variable, pem(key))
    scene.heirloom("key", "import", "env:CI_KEY", "--name", "ci", "--ci")
    scene.hold("--replace-key", f"{RELEASES}-2=ci")
    # He has the key and the right to upload, and waits for a second signature.
    scene.heirloom("release", "build", "--version", "6.6.6", "--board", BOARD)
    scene.heirloom("release", "sign", "6.6.6", "--key", "ci")
    with pytest.raises(HeirloomError, match="carries 1 of 2 signatures"):
        scene.heirloom("release", "publish", "6.6.6", "--channel", "stable")
    # Not even with all online keys.
    drill.keys[f"{RELEASES}-1"] = CryptoSigner(machine)
    code = drill.payload("code")
    drill.would_refuse("one releases key", "channels", "snapshot", "timestamp", payload=code)
    drill.follow("A CI key")
    # Now a person's key as well: still one.
    drill.keys[f"{RELEASES}-2"] = drill.robbed.signers()[f"{RELEASES}-1"]
    drill.would_refuse("all releases keys", "channels", "snapshot", "timestamp", payload=code)
    drill.updates()


def test_a_trustees_shares(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = drill.scene
    monkeypatch.chdir(scene.directory)
    people = []
    for name in ("eva", "fay"):
        shutil.copy(scene.new_key(name, folder=f"of-{name}"), scene.directory)
        people += ["--successor", f"{name}={name}.pub.json"]
    people += [word for name in ("ada", "ben", "cyd") for word in ("--trustee", name)]
    scene.heirloom("will", "write", *people, "--needed", "2", "--shares", "shares-1")
    # Two shares open the seal; the root in it is the makers', and devices want the successors' signatures.
    (path,) = (scene.directory / "weather/will").glob("*.will.json")
    old = sealed.read(path)
    leaked = [shares.read(file) for file in sorted((scene.directory / "shares-1").iterdir())[:2]]
    opened = to_bytes(old.open(shares.join(leaked, old.header.identifier, old.header.needed)))
    served = scene.directory / "leak"
    (served / "metadata").mkdir(parents=True)
    (served / "metadata/2.root.json").write_bytes(opened)
    drill.refuses(served, scene.repository.path)
    *_, checked = drill.follow("A trustee's shares")
    assert checked["live"]
    drill.updates()
    # Whoever opens it now, with the successors' keys too, is told that it is void; and devices are past it.
    words = [word for file in sorted((scene.directory / "shares-1").iterdir())[:2] for word in ("--share", file)]
    words += [
        "--maker",
        "Eva",
        "--contact",
        "eva@example.org",
        "--url",
        "https://a.example/",
        "--url",
        "https://b.test/",
    ]
    with pytest.raises(HeirloomError, match="void"):
        scene.heirloom("will", "open", *words, "--will", path, keys="of-eva")
    assert drill.check(served, scene.repository.path)["code"] is None


# On whole simulated devices.

APP = b"""import asyncio
print('the thief was here')
async def live():
    await asyncio.sleep(1000)
asyncio.run(live())
"""


@dataclass
class House:
    """A whole device with 1.0.0, and a thief between it and the makers."""

    world: World
    shop: Workshop
    unit: Any
    folder: Path
    count: int = 0

    @property
    def keys(self) -> Mapping[str, Signer]:
        store = KeyStore(self.shop.keys_dir)
        return {name: store.signer(f"{SCHEME}:{name}", lambda _: self.shop.passphrase) for name in store.names()}

    def rob(self, held: dict[str, list[Signer]], own: Signer, plan: Plan) -> Path:
        """The repository of the thief, whole."""
        self.count += 1
        made, whole = self.folder / f"thief-{self.count}", self.folder / f"whole-{self.count}"
        thief = Thief(frozenset(), {}, made, own, utc_now())
        thief.held |= held
        thief.publish(plan)
        shutil.copytree(plan.base, whole)
        for path in (path for path in made.rglob("*") if path.is_file()):
            (whole / path.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, whole / path.relative_to(made))
            Path(f"{whole / path.relative_to(made)}.z").unlink(missing_ok=True)
        return whole

    def serve(self, folder: Path) -> Any:
        """Devices get these files from now on."""
        self.count += 1
        copy = self.folder / f"served-{self.count}"
        shutil.copytree(folder, copy)
        return serving(copy)

    def sees(self, folder: Path, *patterns: str) -> dict[str, Any]:
        """Power on, wait for these lines, and report."""
        with self.serve(folder) as url:
            self.world.wire.upstream = url
            self.unit.power_on()
            for pattern in patterns:
                self.unit.wait_for(pattern)
            return dict(self.unit.report())


@pytest.fixture
def house(world: World, shop: Workshop, new_unit: NewUnit, tmp_path: Path) -> House:
    unit = new_unit("1.0.0")
    return House(world, shop, unit, tmp_path / "thefts")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_releases_keys_on_a_whole_device(house: House) -> None:
    """His code runs there, confirmed, at the highest sequence and floor; then the makers' release takes its place."""
    shop, keys, own = house.shop, house.keys, new_own()
    files = [("main.py", len(APP), hashlib.sha256(APP).digest())]
    payload = Payload(wrapped(files, sequence=HUGE, floor=HUGE), "6.6.6", blobs=(APP,))
    held = {RELEASES: [keys[f"{RELEASES}-1"]], **{role: [keys[role]] for role in ONLINE}}
    thieves = house.rob(held, own, Plan(shop.repository_dir, payload))
    report = house.sees(thieves, "the thief was here", CONFIRMED)
    assert report["active"]["version"] == "6.6.6"

    follow("All releases keys", shop.heirloom)
    shop.publish("2.0.0", weather("1.1.0"))
    report = house.sees(shop.repository_dir, r"weather 1\.1\.0 starting", CONFIRMED)
    assert (report["active"]["version"], report["active"]["epoch"]) == ("2.0.0", 1)
    again = house.rob(held, own, Plan(shop.repository_dir, replace(payload, version="6.6.7")))
    report = house.sees(again, "E_KEYS|E_THRESHOLD")
    assert report["active"]["version"] == "2.0.0"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_one_root_key_on_a_whole_device(house: House) -> None:
    """Refused before; and after the drill the next stolen key does not complete the threshold."""
    shop, keys, own = house.shop, house.keys, new_own()
    thieves = house.rob({ROOT: [keys["root-1"]]}, own, Plan(shop.repository_dir))
    report = house.sees(thieves, "E_THRESHOLD")
    assert (report["active"]["version"], report["metadata"]["root"]) == ("1.0.0", 1)

    follow("One root key", shop.heirloom)
    shop.publish("1.1.0", weather("1.1.0"))
    report = house.sees(shop.repository_dir, r"weather 1\.1\.0 starting", CONFIRMED)
    assert (report["active"]["version"], report["metadata"]["root"]) == ("1.1.0", 2)
    thieves = house.rob({ROOT: [keys["root-1"], keys["root-2"]]}, own, Plan(shop.repository_dir))
    report = house.sees(thieves, "E_THRESHOLD")
    assert report["metadata"]["root"] == 2
    shop.publish("1.2.0", weather("1.1.0"))
    report = house.sees(shop.repository_dir, CONFIRMED)
    assert report["active"]["version"] == "1.2.0"
