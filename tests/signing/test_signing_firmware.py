"""Releases that bring firmware: what is refused and why, and what the manifest and the program say of it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from signing_product import BOARD, OTHER, Product, Program, write_app

from heirloom.boards import load as load_board
from heirloom.boards.images import app, esp32
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import missing
from heirloom.cli.project import Project
from heirloom.signing import built, compiler, overview, rebuild
from heirloom.signing import firmware as checking
from heirloom.signing.metadata import utc_now

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

VERSION = "v1.27.0"
SLOT = 0x1B0000


def image(chip: str = "esp32", size: int = 5000, version: str = VERSION) -> bytes:
    return app.build(chip, bytes(range(256)) * (size // 256), version=version)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.app-bin"
    path.write_bytes(image())
    return path


def test_the_manifest_names_it_and_the_blob_is_there(product: Product, file: Path) -> None:
    release = product.build("1.0.0", OTHER, firmware=file)
    data = file.read_bytes()
    assert release.manifest.firmware == [len(data), hashlib.sha256(data).digest(), VERSION]
    assert (release.directory / "blobs" / hashlib.sha256(data).hexdigest()).read_bytes() == data
    assert release.size == sum(length for _, length, _ in release.manifest.files) + len(data)
    release.check()
    (release.directory / "blobs" / hashlib.sha256(data).hexdigest()).write_bytes(data[:-1])
    with pytest.raises(HeirloomError, match="content of the firmware is damaged"):
        release.check()


def test_the_app_is_taken_out_of_a_published_image(product: Product, file: Path) -> None:
    data, board = file.read_bytes(), load_board("ESP32_GENERIC")
    assert board.partitions is not None
    loader = app.build("esp32", b"bootloader")
    parts = esp32.Parts("esp32", board.flash.size, loader, board.partitions, data, app.read(data))
    file.write_bytes(esp32.whole_flash(board, parts)[0x1000:])
    manifest = product.build("1.0.0", OTHER, firmware=file).manifest
    assert manifest.firmware
    assert manifest.firmware[1] == hashlib.sha256(data).digest()


def test_the_published_images_name_their_version_at_the_prompt_only(product: Product, file: Path) -> None:
    file.write_bytes(app.build("esp32", b"\0MicroPython v1.27.0 on 2025-12-09\0" * 100))
    assert product.build("1.0.0", OTHER, firmware=file).manifest.firmware[2] == VERSION  # type: ignore[index]


def test_a_real_image(product: Product, firmware: Path) -> None:
    found = sorted(firmware.glob("ESP32_GENERIC-2025*.bin"))
    if not found:
        pytest.skip("no image of ESP32_GENERIC of 2025 in the folder of images")
    manifest = product.build("1.0.0", OTHER, firmware=found[0]).manifest
    assert manifest.firmware
    assert manifest.firmware[2].startswith("v1.")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (image("esp32c3"), "for ESP32C3, and the board has ESP32"),
        (image()[:-1], "cut short"),
        (image()[:-1] + b"x", "SHA-256 does not match"),
        (image() + b"x", "1 bytes follow"),
        (image(size=SLOT), "and a slot of SIM_ESP32_GENERIC"),
        (image(size=SLOT - SLOT // 25), "under 5% the next may not fit"),
        (image(version="v1.20.0"), "needs 1.24 or newer"),
        (image(version="abc-dirty"), "'abc-dirty'"),
        (image(version="v1.99.0"), "is not known to the mpy-cross"),
        (b"", "cut short"),
    ],
)
def test_what_would_not_run_is_refused(product: Product, file: Path, data: bytes, reason: str) -> None:
    file.write_bytes(data)
    with pytest.raises(HeirloomError, match=reason):
        product.build("1.0.0", OTHER, firmware=file)
    assert not built.folder(product.project, OTHER).exists()


def test_force_takes_little_headroom_and_never_more_than_the_slot(product: Product, file: Path) -> None:
    file.write_bytes(image(size=SLOT - SLOT // 25))
    assert product.build("1.0.0", OTHER, firmware=file, force=True).manifest.firmware
    file.write_bytes(image(size=SLOT))
    with pytest.raises(HeirloomError, match="and a slot of"):
        product.build("1.0.1", OTHER, firmware=file, force=True)


def test_an_rp2040_gets_its_firmware_over_usb(product: Product, heirloom: Program, file: Path) -> None:
    ran = heirloom("release", "build", "--version", "1.0.0", "--board", BOARD, "--firmware", file)
    assert ran.code == 1
    assert f"the firmware of {BOARD} is not replaced over the air" in ran.err
    assert "over USB" in ran.err


def test_one_file_is_for_one_board(product: Product, heirloom: Program, file: Path) -> None:
    ran = heirloom("release", "build", "--version", "1.0.0", "--firmware", file)
    assert ran.code == 2
    assert "several boards" in ran.err


def test_the_project_file_names_it_for_every_release(product: Product, heirloom: Program, file: Path) -> None:
    path = product.project.root / "heirloom.toml"
    text = path.read_text()
    assert f"[boards.{OTHER}]" in text
    path.write_text(text.replace(f"[boards.{OTHER}]", f'[boards.{OTHER}]\nfirmware = "{file}"'))
    assert Project.load(product.project.root).boards[OTHER].firmware == file
    ran = heirloom("release", "build", "--version", "1.0.0", "--json")
    firmwares = {row["board"]: row["firmware"] for row in json.loads(ran.out)["releases"]}
    assert firmwares[BOARD] is None
    assert firmwares[OTHER]["version"] == VERSION
    shown = heirloom("release", "show", "1.0.0").out
    assert f"MicroPython {VERSION}, {len(file.read_bytes())} bytes" in shown


def test_it_is_published_verified_and_missed(product: Product, file: Path) -> None:
    release = product.release("1.0.0", OTHER, firmware=file)
    (known,) = overview.find(product.project, "1.0.0", [OTHER])
    now = utc_now()
    assert overview.check(product.project, known, now).sha256 == release.sha256
    blob = product.project.repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
    blob.unlink()
    with pytest.raises(HeirloomError, match="content of the firmware is missing"):
        overview.check(product.project, known, now)


def test_a_rebuild_is_compiled_for_that_firmware(product: Product, file: Path) -> None:
    release = product.build("1.0.0", OTHER, firmware=file)
    again = rebuild.rebuild(product.project, release.manifest, release.sha256, product.project.app.source)
    assert again.is_same


def test_firmware_of_another_format_needs_a_client(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    board = replace(load_board(OTHER), mpy="6.2")
    entry = (1, bytes(32), VERSION)
    with pytest.raises(HeirloomError, match=r"loads .mpy 6.3, the client on devices 6.2: it has no client of its own"):
        checking.check_client(board, entry, ["main.py"])
    with pytest.raises(HeirloomError, match="its client lacks appfs"):
        checking.check_client(board, entry, ["lib/heirloom/device/run.mpy"])
    names = ("appfs", "blobs", "cbor", "errors", "install", "manifest", "poll", "run", "tuf", "updater")
    checking.check_client(board, entry, [f"lib/heirloom/device/{name}.mpy" for name in names])
    checking.check_client(load_board(OTHER), entry, ["main.py"])
    # The code beside it is compiled for it, and not for what the board had.
    monkeypatch.setattr(compiler, "tool_version", lambda: (6, 4))
    assert checking.board_with(board, "v1.29.0").mpy == "6.4"
    with pytest.raises(HeirloomError, match=r"not known to the mpy-cross here, of 1\.29") as caught:
        checking.board_with(board, VERSION)
    assert caught.value.advice == "install the mpy-cross of MicroPython 1.27"


def test_the_application_is_compiled_for_it(product: Product, file: Path) -> None:
    write_app(product.project.app.source, {"lib/fast.py": "@micropython.native\ndef f():\n    return 1\n"})
    assert product.build("1.0.0", OTHER, firmware=file).manifest.firmware
