"""Every shape of key change, followed from the first root by python-tuf's client and by that of devices."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ceremony_scene import BOARD, OTHER, PASSPHRASE, STABLE, Board, Scene, handover_file, make_scene, successors

from heirloom.server.serve import serving
from heirloom.signing import keyfile
from heirloom.signing.ceremony.holders import keys_of


@pytest.fixture(scope="module", autouse=True)
def _cheap_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "SCRYPT_N", 2)
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="module")
def _original(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
        patch.setenv("HEIRLOOM_KEYS", "")
        return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def scene(_original: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
    return _original.copy(tmp_path / "scene")


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    link = tmp_path_factory.mktemp("served") / "repository"
    with serving(link) as url:
        yield link, url


@pytest.fixture
def url(_served: tuple[Path, str], scene: Scene) -> Iterator[str]:
    link, url = _served
    link.symlink_to(scene.repository.path)
    yield url
    link.unlink()


@pytest.fixture
def _board_of_old(micropython: Path, scene: Scene, url: str, tmp_path: Path) -> Board:
    """A board that has checked for updates before the ceremony."""
    board = Board(tmp_path / "board", url).provision(scene.first_root)
    assert board.stable() == ""
    return board


def one_holder(scene: Scene) -> list[str]:
    scene.new_key("dora")
    return ["--replace-key", "root-1=dora", "--holder", "dora=Dora"]


def same_holder_new_key(scene: Scene) -> list[str]:
    scene.new_key("targets-1-2026")
    return ["--replace-key", "targets-1=targets-1-2026", "--holder", "targets-1-2026=targets-1"]


def all_root_holders(scene: Scene) -> list[str]:
    return [word for n in (1, 2, 3) for word in ("--replace-key", f"root-{n}={_new(scene, f'new-root-{n}')}")]


def all_targets_holders(scene: Scene) -> list[str]:
    return [word for n in (1, 2, 3) for word in ("--replace-key", f"targets-{n}={_new(scene, f'new-targets-{n}')}")]


def _new(scene: Scene, name: str, kind: str = "ed25519") -> str:
    return scene.new_key(name, kind).name.removesuffix(".pub.json")


def threshold_up(_scene: Scene) -> list[str]:
    return ["--threshold", "root=3", "--threshold", "targets=3"]


def threshold_down(_scene: Scene) -> list[str]:
    return ["--threshold", "root=1", "--threshold", "targets=1"]


def root_to_ecdsa(scene: Scene) -> list[str]:
    return [f"--replace-key=root-{n}={_new(scene, f'e{n}', 'ecdsa')}" for n in (1, 2, 3)]


def releases_to_rsa(scene: Scene) -> list[str]:
    return [f"--replace-key=releases-{BOARD}-1={_new(scene, 'rsa', 'rsa')}"]


def online_keys(scene: Scene) -> list[str]:
    names = ("snapshot", "timestamp", f"channels-{BOARD}")
    return [f"--replace-key={name}={_new(scene, f'new-{name}', 'ecdsa')}" for name in names]


def lost_key(_scene: Scene) -> list[str]:
    return ["--lost", "root-3"]


def stolen_releases_key(scene: Scene) -> list[str]:
    new = _new(scene, "fresh")
    return ["--stolen", f"releases-{BOARD}-1", "--add-key", f"releases-{BOARD}={new}", "--epoch", "1"]


def stolen_timestamp_key(scene: Scene) -> list[str]:
    return ["--stolen", "timestamp", "--add-key", f"timestamp={_new(scene, 'fresh-timestamp')}"]


def new_board(scene: Scene) -> list[str]:
    board = "RPI_PICO_W"
    for name in (f"releases-{board}-1", f"channels-{board}"):
        scene.new_key(name)
    return ["--board", board]


def new_epoch(_scene: Scene) -> list[str]:
    return ["--epoch", "4"]


def new_places(_scene: Scene) -> list[str]:
    return ["--url", "https://a.example.com/", "--url", "https://b.example.org/", "--contact", "new@example.com"]


def renewal(_scene: Scene) -> list[str]:
    return [word for role in ("root", "targets", f"releases-{BOARD}") for word in ("--renew", role)]


SHAPES = [
    one_holder,
    same_holder_new_key,
    all_root_holders,
    all_targets_holders,
    threshold_up,
    threshold_down,
    root_to_ecdsa,
    releases_to_rsa,
    online_keys,
    lost_key,
    stolen_releases_key,
    stolen_timestamp_key,
    new_board,
    new_epoch,
    new_places,
    renewal,
]


AT_WORK = [releases_to_rsa, online_keys, stolen_releases_key]


@pytest.mark.parametrize("shape", SHAPES)
def test_everybody_follows(scene: Scene, shape, _board_of_old: Board, url: str, tmp_path: Path) -> None:  # noqa: PT019
    before, fresh = scene.reader("before"), scene.reader("fresh")
    manifest = before.stable()
    finished = scene.hold(*shape(scene))
    assert finished["files"], "nothing was published"
    for reader in (before, fresh):
        assert reader.stable() == manifest
    assert _board_of_old.stable() == ""
    assert (_board_of_old.folder / "root.json").read_bytes() == scene.repository.read(
        f"{scene.repository.root().signed.version}.root.json"
    )
    if shape in AT_WORK:  # work goes on with the keys that heirloom.toml names now
        scene.publish("1.1.0")
        assert before.stable() != manifest
        assert _board_of_old.stable() == ""
    shown = scene.heirloom("ceremony", "status")["ceremonies"]
    assert [one["state"] for one in shown] == ["finished"]


def test_a_board_that_missed_them_all(scene: Scene, micropython: Path, url: str, tmp_path: Path) -> None:
    """Five ceremonies and a release while it was in a drawer."""
    sleeper = Board(tmp_path / "sleeper", url).provision(scene.first_root)
    for shape in (one_holder, root_to_ecdsa_again, online_keys, all_targets_holders, stolen_releases_key):
        scene.hold(*shape(scene))
    scene.publish("2.0.0")
    assert scene.repository.root().signed.version == 5
    assert sleeper.stable() == ""
    assert scene.reader("late").stable() == next((sleeper.folder / "targets").iterdir()).read_bytes()


def root_to_ecdsa_again(scene: Scene) -> list[str]:
    return [f"--replace-key={old}={_new(scene, f'e-{old}', 'ecdsa')}" for old in ("Dora", "root-2", "root-3")]


def test_a_product_changes_hands_twice(scene: Scene, micropython: Path, url: str, tmp_path: Path) -> None:
    """The old keys are gone, the successors publish by themselves, and who slept through both follows."""
    sleeper = Board(tmp_path / "sleeper", url).provision(scene.first_root)
    awake, reader = Board(tmp_path / "awake", url).provision(scene.first_root), scene.reader("reader")
    assert awake.stable() == ""
    holders = "keys"
    for heirs in ("heirs", "grandchildren"):
        held = successors(scene, heirs)
        shutil.copy(scene.directory / "keys/trusted-root.json", scene.directory / heirs)
        places = [f"https://{heirs}.example.org/", "https://copy.example.net/"]
        file = handover_file(
            scene.directory / f"{heirs}.toml", held, places, maker=heirs, contact=f"{heirs}@example.org"
        )
        old = every_keyid(scene)
        started = scene.heirloom("ceremony", "start", "--handover", file, keys=holders)
        assert any("gains a signature for root" in change["sentence"] for change in started["changes"])
        scene.heirloom("ceremony", "sign", keys=holders)
        scene.heirloom("ceremony", "sign", keys=heirs)
        scene.heirloom("ceremony", "finish", keys=heirs)
        assert not old & every_keyid(scene)
        assert awake.stable() == ""
        reader.stable()
        scene.publish(f"{len(heirs)}.0.0", keys=heirs)
        assert awake.stable() == ""
        status = scene.heirloom("status", keys=heirs)
        assert f"https://{heirs}.example.org/" in status["urls"]
        assert scene.project.product.contact == f"{heirs}@example.org"
        holders = heirs
    assert scene.repository.root().signed.version == 3
    assert sleeper.stable() == ""
    assert reader.stable() == scene.reader("late").stable()


def every_keyid(scene: Scene) -> set[str]:
    root, targets = scene.repository.root().signed, scene.repository.targets().signed
    delegated = targets.delegations.roles if targets.delegations else None
    held = [keys_of(root, role) for role in root.roles] + [keys_of(targets, role) for role in delegated or {}]
    return {key.keyid for keys in held for key in keys}


def test_a_board_changes_hands(scene: Scene, _board_of_old: Board) -> None:  # noqa: PT019
    """One board's roles pass on; the other board and the root stay."""
    roles = (f"releases-{BOARD}", f"channels-{BOARD}")
    held = {role: {"Heir": scene.new_key(f"heir-{role}", folder="heirs")} for role in roles}
    shutil.copy(scene.directory / "keys/trusted-root.json", scene.directory / "heirs")
    file = handover_file(scene.directory / "board.toml", held)
    scene.heirloom("ceremony", "start", "--handover", file)
    scene.heirloom("ceremony", "sign")
    scene.heirloom("ceremony", "sign", keys="heirs")
    # The channel's key is the heir's, the timestamp's the maker's: one machine needs both for a moment.
    for path in (scene.directory / "heirs").glob(f"heir-channels-{BOARD}*"):
        shutil.copy(path, scene.directory / "keys")
    scene.heirloom("ceremony", "finish")
    assert scene.repository.root().signed.version == 1
    assert _board_of_old.stable() == ""
    assert scene.repository.role(f"releases-{OTHER}").signed.version == 1
    assert STABLE in scene.repository.role(f"channels-{BOARD}").signed.targets


def test_a_board_follows_a_key_change_of_a_product_with_an_archive(
    scene: Scene, micropython: Path, url: str, tmp_path: Path
) -> None:
    """It reads no bin; a new one that starts from the first root takes the same way, and a TUF client finds the old."""
    old = Board(tmp_path / "old-board", url).provision(scene.first_root)
    assert old.stable() == ""
    for number in range(2, 7):
        scene.publish(f"{number}.0.0")
    role = f"releases-{BOARD}"
    assert len(scene.repository.archive(BOARD)) == 16
    assert old.stable() == ""
    scene.new_key("new-releases")
    scene.hold("--replace-key", f"{role}-1=new-releases")
    scene.publish("7.0.0")
    for board in (old, Board(tmp_path / "new-board", url).provision(scene.first_root)):
        assert board.stable() == ""
        assert not [path.name for path in board.folder.rglob("*") if "archive" in path.name]
    assert b"7.0.0" in scene.reader("reader").stable()
    assert b"1.0.0" in scene.reader("reader").stable(f"releases/{BOARD}/1.0.0.cbor")
