"""Patches of a release: for whom they are made, what they save, and what never becomes one."""

import json
import random
from pathlib import Path

import cbor2
import pytest
from signing_product import BOARD, Product, write_app

from heirloom.cli.errors import HeirloomError
from heirloom.device.manifest import MAX_LENGTH
from heirloom.signing import build, endorse, overview, patching, wholeness
from heirloom.signing.built import BuiltRelease
from heirloom.signing.repository import Repository

TEXT = "".join(f"{number}: what stands on this line is long enough to matter\n" for number in range(100))


@pytest.fixture
def app(product: Product) -> Path:
    return product.project.app.source


def publish(product: Product, version: str) -> BuiltRelease:
    return product.release(version)


def write(app: Path, text: str) -> None:
    write_app(app, {"notes.txt": text})


def content(built: BuiltRelease, path: str) -> bytes:
    sha256 = next(sha256 for name, _, sha256 in built.manifest.files if name == path)
    return (built.directory / "blobs" / sha256.hex()).read_bytes()


def bodies(built: BuiltRelease) -> dict[bytes, bytes]:
    """SHA-256 of the old file to the patch."""
    return {
        old: (built.directory / "blobs" / patch.hex()).read_bytes() for old, _, patch, _, _ in built.manifest.patches
    }


def test_a_changed_file_gets_a_patch(product: Product, app: Path) -> None:
    write(app, TEXT)
    first = publish(product, "1.0.0")
    assert list(first.manifest.patches) == []
    write(app, TEXT.replace("50:", "fifty:"))
    second = publish(product, "1.1.0")
    ((old, new, patch, length, algorithm),) = second.manifest.patches
    lengths = {sha256: size for _, size, sha256 in second.manifest.files}
    assert algorithm == "detools-deflate"
    assert length + 125 < lengths[new]
    assert old in {sha256 for _, _, sha256 in first.manifest.files}
    body = bodies(second)[old]
    assert len(body) == length
    assert patching.apply(body, content(first, "notes.txt"), lengths[new]) == content(second, "notes.txt")
    assert patch.hex() in {path.name for path in second.blobs}
    assert (product.repository.path / "blobs" / patch.hex()).read_bytes() == body
    wholeness.check_contents(product.repository)


def test_a_patch_that_saves_nothing_is_not_made(product: Product, app: Path) -> None:
    noise = random.Random(1)
    write_app(app, {"noise": noise.randbytes(5000), "short": b"a few bytes", "gone": b"x" * 500})
    publish(product, "1.0.0")
    write_app(app, {"noise": noise.randbytes(5000), "short": b"a few bytes more", "new": b"y" * 500})
    (app / "gone").unlink()
    assert list(product.build("1.1.0").manifest.patches) == []


def test_what_the_base_has_elsewhere_needs_no_patch(product: Product, app: Path) -> None:
    write_app(app, {"a.txt": TEXT, "b.txt": TEXT + "more"})
    publish(product, "1.0.0")
    write_app(app, {"a.txt": TEXT + "more"})
    assert list(product.build("1.1.0").manifest.patches) == []


def test_bases_are_the_newest_and_what_channels_point_to(
    product: Product, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching, "NEWEST", 1)
    for number in range(3):
        write(app, TEXT.replace("50:", f"line {number}:"))
        publish(product, f"1.{number}.0")
    assert [base.version for base in patching.bases(product.repository, BOARD)] == ["1.2.0"]
    monkeypatch.setattr(Repository, "channels", lambda *_: {"stable": "1.2.0", "slow": "1.0.0"})
    assert [base.version for base in patching.bases(product.repository, BOARD)] == ["1.0.0", "1.2.0"]
    write(app, TEXT)
    assert len(list(product.build("2.0.0").manifest.patches)) == 2
    assert len(list(product.build("2.1.0", patch_from=["1.0.0", "1.1.0", "1.2.0"]).manifest.patches)) == 3
    assert list(product.build("2.2.0", patch_from=[]).manifest.patches) == []
    with pytest.raises(HeirloomError, match=r"no release 9\.9"):
        product.build("2.3.0", patch_from=["9.9"])


def test_the_same_input_gives_the_same_patches(product: Product, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    write(app, TEXT)
    publish(product, "1.0.0")
    write(app, TEXT.replace("50:", "fifty:"))
    first = product.build("1.1.0")
    data, blobs = first.manifest_bytes, bodies(first)
    assert blobs
    for path in first.directory.rglob("*"):
        path.unlink() if path.is_file() else None
    again = product.build("1.1.0")
    assert again.manifest_bytes == data
    assert bodies(again) == blobs


def test_building_again_follows_the_channels_until_it_is_signed(product: Product, app: Path) -> None:
    write(app, TEXT)
    publish(product, "1.0.0")
    write(app, TEXT.replace("50:", "fifty:"))
    assert len(list(product.build("1.2.0", sequence=9).manifest.patches)) == 1
    write(app, TEXT.replace("51:", "fifty-one:"))
    product.release("1.1.0", sequence=5)
    write_app(app, {"notes.txt": TEXT.replace("50:", "fifty:"), "version.txt": "1.0.0"})
    built = product.build("1.2.0", sequence=9)
    assert len(list(built.manifest.patches)) == 2
    endorse.sign(product.project, built)
    again = product.build("1.2.0", sequence=9, patch_from=[])
    assert again.manifest_bytes == built.manifest_bytes
    again.check()


def test_the_most_useful_patches_are_kept(product: Product, app: Path) -> None:
    """As many as the manifest has room for, which stays within its bounds."""
    numbers = range(180)
    write_app(app, {f"file-with-a-long-name-{number:03}.txt": TEXT[: 800 + number] for number in numbers})
    publish(product, "1.0.0")
    write_app(app, {f"file-with-a-long-name-{number:03}.txt": "new\n" + TEXT[: 800 + number] for number in numbers})
    built = product.build("1.1.0")
    patches = list(built.manifest.patches)
    assert 0 < len(patches) < 34
    assert len(built.manifest_bytes) <= MAX_LENGTH
    lengths = {sha256: length for _, length, sha256 in built.manifest.files}
    assert min(lengths[new] for _, new, _, _, _ in patches) > sorted(lengths.values())[-40]


def test_a_full_manifest_has_no_room_for_patches(product: Product, app: Path) -> None:
    names = [f"{'long-' * 4}{number:03}.txt" for number in range(180)]
    write_app(app, {name: f"{name}\n" + TEXT[:900] for name in names})
    publish(product, "1.0.0")
    write_app(app, {name: f"{name} is new\n" + TEXT[:900] for name in names})
    notes = "n" * (MAX_LENGTH - len(product.build("1.1.0", patch_from=[]).manifest_bytes) - 400)
    built = product.build("1.2.0", notes=notes)
    assert len(list(built.manifest.patches)) < 4
    assert MAX_LENGTH - 130 < len(built.manifest_bytes) <= MAX_LENGTH


def test_a_base_whose_content_is_lost_is_left_out(
    product: Product, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(app, TEXT)
    first = publish(product, "1.0.0")
    for path in first.blobs:
        (product.repository.path / "blobs" / path.name).unlink()
    write(app, TEXT + "more")
    assert list(product.build("1.1.0").manifest.patches) == []
    assert "no patch for it" in capsys.readouterr().err


def test_a_patch_is_part_of_what_must_be_whole(product: Product, app: Path) -> None:
    write(app, TEXT)
    publish(product, "1.0.0")
    write(app, TEXT + "more")
    built = publish(product, "1.1.0")
    (name,) = {patch.hex() for _, _, patch, _, _ in built.manifest.patches}
    blob = product.repository.path / "blobs" / name
    data = blob.read_bytes()
    for wrong in (None, data[:-1] + bytes([data[-1] ^ 1])):
        blob.unlink() if wrong is None else blob.write_bytes(wrong)
        with pytest.raises(HeirloomError, match=r"a patch for notes\.txt"):
            wholeness.check_contents(product.repository)
    (built.directory / "blobs" / name).unlink()
    with pytest.raises(HeirloomError, match=r"a patch for notes\.txt is missing"):
        built.check()


def test_verifying_applies_the_patches(product: Product, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices would notice, and fetch in full; the maker should know before."""
    write(app, TEXT)
    publish(product, "1.0.0")
    write(app, TEXT + "more")
    create = patching.create
    monkeypatch.setattr(patching, "create", lambda old, new: create(old, new[:-1] + b"!"))
    publish(product, "1.1.0")
    (found,) = overview.find(product.project, "1.1.0", [BOARD])
    with pytest.raises(HeirloomError, match="makes something else than it says"):
        overview.check(product.project, found, build.utc_now())


def test_show_names_the_patches(product: Product, app: Path, heirloom) -> None:
    write(app, TEXT)
    publish(product, "1.0.0")
    write(app, TEXT + "more")
    built = publish(product, "1.1.0")
    (shown,) = json.loads(heirloom("release", "show", "1.1.0", "--board", BOARD, "--json").out)["releases"]
    ((old, new, sha256, length, algorithm),) = cbor2.loads(built.manifest_bytes)[13]
    (patch,) = shown["patches"]
    assert patch == {
        "from": old.hex(), "to": new.hex(), "sha256": sha256.hex(), "length": length, "algorithm": algorithm
    }  # fmt: skip
