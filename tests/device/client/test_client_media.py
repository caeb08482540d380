"""Installing from a folder and from a bundle file: what the network does, without one, and the same refusals."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from client_world import BOARD, NOW, Product
from tuf_repository import unix

from heirloom.server.offline import _write_file

LATE = NOW + timedelta(days=550)
Make = Callable[[Product, Path], Path]
ON_TIME = ["clock", unix(NOW)]


def as_folder(product: Product, place: Path) -> Path:
    """The whole repository as plain files."""
    shutil.rmtree(place, ignore_errors=True)
    names = [f"metadata/{path.name}" for path in product.repository.folder.iterdir()]
    for name in (*names, *(f"{name}.z" for name in names), *product.files):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(product.find(name) or b"")
    return place


def as_file(product: Product, place: Path) -> Path:
    """The same as one file, made as `heirloom bundle --file` makes it."""
    folder = as_folder(product, place.with_name("unpacked"))
    return packed(folder, place.with_name(f"{place.name}.tar"))


def packed(folder: Path, out: Path) -> Path:
    out.unlink(missing_ok=True)
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    _write_file(out, files, {3: "weather", 4: [BOARD], 5: 0}, lambda _: None)
    return out


@pytest.fixture(params=[as_folder, as_file])
def make(request: Any) -> Make:
    """Each of these is true of folders and of single files."""
    found: Make = request.param
    return found


@pytest.fixture
def product(product: Product) -> Product:
    product.server.answer = lambda _: None  # no network anywhere
    product.release("1.0.0", 1)
    return product


def status(unit: Any) -> dict[str, Any]:
    (said,) = unit.live(["status"])
    assert isinstance(said, dict)
    return said


def test_an_install_an_update_and_the_same_again(product: Product, new_unit: Any, make: Make, tmp_path: Path) -> None:
    unit = new_unit(product)
    stick = make(product, tmp_path / "stick")
    assert unit.live(ON_TIME, ["media", "install", str(stick)], ["media", "check", str(stick)]) == ["1.0.0"]
    product.release("1.1.0", 2)
    stick = make(product, tmp_path / "stick")
    assert unit.live(ON_TIME, ["media", "install", str(stick)]) == ["1.1.0"]
    report = status(unit)
    assert report["active"]["version"] == "1.1.0"
    assert report["metadata"]["timestamp"] == product.repository.md["timestamp"].signed.version
    assert product.server.requests == []


def test_a_file_by_its_custom_name_is_found_in_its_folder(product: Product, new_unit: Any, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    made = as_file(product, tmp_path / "bundle")
    stick.mkdir()
    made.rename(stick / "heirloom.tar")
    assert new_unit(product).live(ON_TIME, ["media", "install", str(stick)]) == ["1.0.0"]


def test_the_network_is_asked_as_before_afterwards(product: Product, new_unit: Any, tmp_path: Path) -> None:
    """A medium does not become a place to look for good, and says nothing of what the network has."""
    unit = new_unit(product)
    stick = as_folder(product, tmp_path / "stick")
    unit.live(ON_TIME, ["media", "install", str(stick)])
    product.release("1.1.0", 2)
    product.server.answer = product.answer
    looked, checked = unit.live(ON_TIME, ["look_beside"], ["install"])
    assert (looked, checked) == (200, "1.1.0")


def test_stale_after_eighteen_months_until_the_owner_takes_it_once(
    product: Product, new_unit: Any, tmp_path: Path
) -> None:
    late = ["clock", unix(LATE)]
    unit = new_unit(product)
    take = ["media", "install", str(as_folder(product, tmp_path / "stick")), True]
    (said,) = unit.live(late, take)
    assert said.startswith("E_STALE: "), said
    unit.live(["accept_stale"])
    assert unit.live(late, take) == ["1.0.0"]
    product.release("1.1.0", 2)
    as_folder(product, tmp_path / "stick")
    (said,) = unit.live(late, take)
    assert said.startswith("E_STALE: "), said
    product.live(LATE)
    as_folder(product, tmp_path / "stick")
    assert unit.live(late, take) == ["1.1.0"]


def test_an_older_bundle_brings_nothing_back(product: Product, new_unit: Any, tmp_path: Path) -> None:
    """The attack on rugix (#121): what is on the stick was rightly signed, but before."""
    unit = new_unit(product)
    old = as_folder(product, tmp_path / "old")
    product.release("1.1.0", 2, floor=2)
    new = as_folder(product, tmp_path / "new")
    assert unit.live(ON_TIME, ["media", "install", str(new)]) == ["1.1.0"]
    for present in (False, True):
        (said,) = unit.live(["accept_stale"], ON_TIME, ["media", "install", str(old), present])
        assert said.startswith("E_ROLLBACK: "), said
    # Fresh metadata, signed by everybody, that points back: below the floor.
    product.release("1.0.1", 1)
    (said,) = unit.live(
        ["accept_stale"], ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "new")), True]
    )
    assert said.startswith("E_FLOOR: "), said
    assert status(unit)["floor"] == [0, 2]
    product.release("1.2.0", 3)
    assert unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "new"))]) == ["1.2.0"]


def test_a_failed_release_stays_failed(product: Product, new_unit: Any, tmp_path: Path) -> None:
    unit = new_unit(product)
    unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "stick"))])
    product.release("1.1.0", 2)
    take = ["media", "install", str(as_folder(product, tmp_path / "stick")), True]
    (said,) = unit.live(ON_TIME, ["state", {"x": [[0, 2]]}], take)
    assert said.startswith("E_FAILED: "), said


def test_what_the_owner_says_holds(product: Product, new_unit: Any, tmp_path: Path) -> None:
    unit = new_unit(product)
    stick = str(as_folder(product, tmp_path / "stick"))
    there, alone = ["media", "install", stick, True], ["media", "check", stick]
    (said,) = unit.live(ON_TIME, ["owner", {"updates": "off"}], alone)
    assert said.startswith("E_OWNER: the owner has switched updates off"), said
    (said,) = unit.live(ON_TIME, ["owner", {"updates": "on", "pinned": "7.7"}], there)
    assert said.startswith("E_OWNER: the owner pinned 7.7"), said
    (said,) = unit.live(ON_TIME, ["owner", {"pinned": None, "channel": "beta"}], there)
    assert said.startswith("E_NOT_FOUND: "), said
    (said,) = unit.live(ON_TIME, ["owner", {"channel": None, "updates": "ask"}], ["media", "install", stick])
    assert status(unit)["waiting"]["version"] == "1.0.0"
    assert status(unit)["active"] is None
    unit.live(["owner", {"updates": "off", "network": False}])
    assert unit.live(ON_TIME, there) == ["1.0.0"], "who stands there with a stick has the last word"


def test_nothing_there(product: Product, new_unit: Any, tmp_path: Path) -> None:
    unit = new_unit(product)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no bundle")
    (tmp_path / "nothing").write_bytes(b"")
    for name, code in (
        ("missing", "E_NETWORK"),
        ("empty", "E_NOT_FOUND"),
        ("text", "E_NETWORK"),
        ("nothing", "E_NETWORK"),
    ):
        (said,) = unit.live(ON_TIME, ["media", "check", str(tmp_path / name)])
        assert said.startswith(code + ": "), said


# -- what a stranger puts on a stick


def damage_every_file(stick: Path, change: Callable[[bytes], bytes]) -> None:
    for path in stick.rglob("*"):
        if path.is_file():
            path.write_bytes(change(path.read_bytes()))


def big(stick: Path) -> None:
    """Files of 3 MB, more than there is of memory and of flash."""
    damage_every_file(stick, lambda data: data + bytes(3 << 20))


def folders(stick: Path) -> None:
    """Folders in place of files."""
    for path in [path for path in stick.rglob("*") if path.is_file()]:
        path.unlink()
        path.mkdir()


def swapped(stick: Path) -> None:
    """Each blob under the name of another one."""
    blobs = sorted((stick / "blobs").iterdir())
    contents = [blob.read_bytes() for blob in blobs]
    for blob, data in zip(blobs, contents[1:] + contents[:1], strict=True):
        blob.write_bytes(data)


def linked(stick: Path) -> None:
    """Links to what has no end, in place of blobs."""
    for path in (stick / "blobs").iterdir():
        path.unlink()
        path.symlink_to("/dev/zero")


def shorter(stick: Path) -> None:
    damage_every_file(stick, lambda data: data[: len(data) // 2])


def empty(stick: Path) -> None:
    damage_every_file(stick, lambda _: b"")


def noise(stick: Path) -> None:
    damage_every_file(stick, lambda data: hashlib.sha256(data).digest() * (len(data) // 32 + 1))


def no_blobs(stick: Path) -> None:
    shutil.rmtree(stick / "blobs")


ATTACKS = [big, folders, swapped, linked, shorter, empty, noise, no_blobs]


def test_a_hostile_stick_changes_nothing(product: Product, new_unit: Any, tmp_path: Path) -> None:
    """An update, each attack, the device resists and says why, the next honest stick works."""
    unit = new_unit(product)
    unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "stick"))])
    product.release("1.1.0", 2, {"main.py": b"print('new')\n" * 50, "lib/new.py": b"# new\n" * 99})
    steps: list[list[object]] = [ON_TIME]
    for attack in ATTACKS:
        stick = as_folder(product, tmp_path / attack.__name__)
        attack(stick)
        steps.append(["media", "install", str(stick), True])
    before = status(unit)
    said = unit.live(*steps)
    assert [one[:2] for one in said] == ["E_"] * len(ATTACKS), said
    after = status(unit)
    for kept in ("active", "confirmed", "floor", "failed", "owner", "trial"):
        assert after[kept] == before[kept], kept
    assert unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "stick"))]) == ["1.1.0"]


def test_names_never_leave_the_folder(product: Product, new_unit: Any, tmp_path: Path) -> None:
    """Whoever holds channels and releases keys can sign a path; it is looked for inside only."""
    unit = new_unit(product)
    unit.live(ON_TIME, ["media", "install", str(as_folder(product, tmp_path / "stick"))])
    secret = b"not on the stick"
    path = f"releases/{BOARD}/../../../../outside/x.cbor"
    name = f"{hashlib.sha256(secret).hexdigest()}.x.cbor"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / name).write_bytes(secret)
    repository = product.repository
    repository.add_target(f"releases-{BOARD}", path, secret, version="1.1.0", epoch=0, sequence=2)
    repository.add_target(f"channels-{BOARD}", f"channels/{BOARD}/stable", secret, release=path)
    product.publish()
    stick = as_folder(product, tmp_path / "stick")
    (stick / "targets" / "releases" / BOARD).mkdir(parents=True, exist_ok=True)
    (said,) = unit.live(ON_TIME, ["media", "install", str(stick), True])
    assert not said.startswith("E_MANIFEST"), "it was read"
    assert said.startswith("E_"), said


HEADER = 512


def test_a_hostile_bundle_file(product: Product, new_unit: Any, tmp_path: Path) -> None:
    """Cut at many places, and with bytes of its index changed: refused with a code, or whole all the same."""
    unit = new_unit(product)
    unit.live(ON_TIME, ["media", "install", str(as_file(product, tmp_path / "stick"))])
    product.release("1.1.0", 2)
    good = as_file(product, tmp_path / "stick").read_bytes()
    bad = [good[:size] for size in (1, 511, 512, 600, 1024, 4096, len(good) // 2)]
    bad += [good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in (*range(124, 136), *range(512, 530))]
    index_bytes = int(good[124:135], 8)
    bad.append(good[:124] + b"77777777777" + good[135:])
    bad.append(good[:512] + b"\xa5\x01\x01\x02\xb9\xff\xff" + b"\x60\x82\x00\x00" * (index_bytes // 4) + good[512:])
    bad.append(good[:516] + b"\xff" * (index_bytes - 4) + good[512 + index_bytes :])
    steps: list[list[object]] = [ON_TIME]
    for number, data in enumerate(bad):
        path = tmp_path / f"bad{number}.tar"
        path.write_bytes(data)
        steps.append(["media", "check", str(path), True])
    said = unit.live(*steps)
    assert len(said) == len(bad)
    assert all(one == "1.1.0" or one.startswith("E_") for one in said), said
    assert sum(one.startswith("E_") for one in said) > 10
    assert status(unit)["active"]["version"] == "1.0.0"
    assert unit.live(ON_TIME, ["media", "install", str(as_file(product, tmp_path / "stick"))]) == ["1.1.0"]
