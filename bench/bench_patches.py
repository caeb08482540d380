"""What an update costs: bytes moved, and bytes written to flash, in full, by our patches, and by others.

    bench/bench_patches.py              some minutes, most of them for firmware images
    bench/bench_patches.py --no-firmware

Application: the weather station of the examples, compiled for a board, with one line changed, with a small feature (its
release 1.1.0), and with a line of a table of 40 KB changed. Firmware: two official images of a board in
~/.cache/heirloom/firmware, or in the folder that HEIRLOOM_FIRMWARE names; versions next to each other save far more
than those years apart. `heatshrink` is what detools makes with it, window 2^8; `bsdiff` is bsdiff4, which needs both
files in memory and bzip2: a limit, no choice for a board. Flash: pages programmed and blocks erased under a real
littlefs while the client installs on MicroPython's unix port; a firmware image goes to a partition instead.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.boards import load
from heirloom.boards.images import esp32
from heirloom.device.manifest import Manifest
from heirloom.hil.provision import client_files
from heirloom.signing import patching
from heirloom.signing.build import compile_folder

HERE = Path(__file__).resolve().parent
MICROPYTHON = Path(sys.executable).with_name("micropython")
WEATHER = HERE.parent / "examples" / "weather"
BOARD = "RPI_PICO_W"
SIM_BOARD = "SIM_RPI_PICO_W"
FIRMWARE = Path(os.environ.get("HEIRLOOM_FIRMWARE") or Path.home() / ".cache" / "heirloom" / "firmware")
IMAGES = ("ESP32_GENERIC", "ESP32_GENERIC_C3", "ESP32_GENERIC_S3")
CHIPS = {"ESP32_GENERIC": "esp32", "ESP32_GENERIC_C3": "esp32c3", "ESP32_GENERIC_S3": "esp32s3"}

INSTALL = """
import binascii, hashlib, os, sys, vfs
class Flash:
    programmed = erased = 0
    def __init__(self):
        self.data = bytearray(b"\\xff" * (212 * 4096))
    def readblocks(self, block, buffer, offset=0):
        start = block * 4096 + offset
        buffer[:] = memoryview(self.data)[start : start + len(buffer)]
    def writeblocks(self, block, buffer, offset=0):
        self.programmed += len(buffer)
        start = block * 4096 + offset
        self.data[start : start + len(buffer)] = buffer
    def ioctl(self, operation, block):
        if operation == 6:
            self.erased += 1
            return 0
        return 212 if operation == 4 else 4096 if operation == 5 else 0
class Machine:
    PWRON_RESET = 1
sys.modules["machine"] = Machine
lib, host, first, second = sys.argv[1:5]
flash = Flash()
vfs.umount("/")
vfs.mount(vfs.VfsPosix("/"), "/host")
vfs.VfsLfs2.mkfs(flash)
vfs.mount(vfs.VfsLfs2(flash), "/")
os.chdir("/")
for folder in ("/heirloom", "/heirloom/slots", "/heirloom/blobs", "/heirloom/trust"):
    os.mkdir(folder)
sys.path[:] = [".frozen", "/host" + lib]
import heirloom_boot as boot
from heirloom.device import install
class Answer:
    def __init__(self, path, offset):
        self.file = open(path, "rb")
        self.offset, self.length = offset, self.file.seek(0, 2) - offset
        self.file.seek(offset)
        self.readinto = self.file.readinto
class Places:
    def open(self, path, offset=0):
        return Answer("/host" + host + "/" + path, offset)
    def next(self):
        pass
def run(manifest):
    with open("/host" + host + "/" + manifest, "rb") as file, open(install.STAGING, "wb") as copy:
        copy.write(file.read())
    flash.programmed = flash.erased = 0
    return install.install(Places(), lambda done, total: None)
boot.save(boot.new_state())
run(first)
boot.confirm()
done = run(second)
print("=>", done["bytes"], flash.programmed, flash.erased)
"""


@dataclass
class Case:
    """One update: what it moves in each way, and what it writes to flash in full and by patches (None: not known)."""

    name: str
    size: int
    moved: dict[str, int] = field(default_factory=dict)
    written: dict[str, tuple[int, int]] = field(default_factory=dict)


def others(old: bytes, new: bytes) -> dict[str, int]:
    """The same change by others; a patch longer than the file is not counted as one."""
    try:
        import bsdiff4
    except ImportError:
        sys.exit("error: bsdiff4 is not installed\npip install bsdiff4 (only this measurement needs it)")
    import detools

    heatshrink = io.BytesIO()
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), heatshrink, compression="heatshrink", use_mmap=False)
    sizes = {"heatshrink": len(heatshrink.getvalue()), "bsdiff": len(bsdiff4.diff(old, new))}
    return {name: min(size, len(new)) for name, size in sizes.items()}


def application(folder: Path, name: str, before: Path, after: Path, lib: Path) -> Case:
    contents = [compile_folder(path, load(BOARD)) for path in (before, after)]
    old, new = ({path: found.blobs[sha256] for path, _, sha256 in found.files} for found in contents)
    changed = {path: data for path, data in new.items() if data not in old.values()}
    case = Case(name, sum(map(len, changed.values())))
    case.moved = {"full": case.size, "patches": 0, "heatshrink": 0, "bsdiff": 0}
    for path, data in changed.items():
        for kind, size in others(old.get(path, b""), data).items():
            case.moved[kind] += size
    manifests = [
        Manifest(product="p", board=BOARD, version=str(number), epoch=0, sequence=number, files=found.files)
        for number, found in enumerate(contents, 1)
    ]
    base = patching.Base("1", {path: sha256 for path, _, sha256 in contents[0].files}, contents[0].blobs.get)
    blobs = {**contents[0].blobs, **contents[1].blobs}
    for kind in ("full", "patches"):
        if kind == "patches":
            blobs |= patching.add(manifests[1], len(manifests[1].encode()), contents[1].blobs, [base])
        moved, programmed, erased = installed(folder / name / kind, manifests, blobs, lib)
        case.moved[kind] = moved
        case.written[kind] = (programmed, erased)
    return case


def installed(folder: Path, manifests: list[Manifest], blobs: Mapping[bytes, bytes], lib: Path) -> tuple[int, ...]:
    """Bytes moved, bytes programmed and blocks erased while a device goes from one release to the other."""
    (folder / "blobs").mkdir(parents=True)
    for sha256, data in blobs.items():
        (folder / "blobs" / sha256.hex()).write_bytes(data)
    for number, manifest in enumerate(manifests):
        (folder / f"{number}.cbor").write_bytes(manifest.encode())
    script = folder / "install.py"
    script.write_text(INSTALL)
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=4m", script, lib, folder, "0.cbor", "1.cbor"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return tuple(int(word) for word in done.stdout.rpartition("=>")[2].split())


def firmware(board: str) -> Case | None:
    """The two newest images of a board; None when there are not two."""
    found = sorted(FIRMWARE.glob(f"{board}-2*.bin")) if FIRMWARE.is_dir() else []
    if len(found) < 2:
        print(f"{board}: skipped: no two images of it in {FIRMWARE}", file=sys.stderr)
        return None
    old, new = (esp32.split(path.read_bytes(), CHIPS[board]).app for path in found[-2:])
    versions = " to ".join(path.stem.rpartition("-v")[2] for path in found[-2:])
    body = patching.create(old, new) or new
    case = Case(f"{board} {versions}", len(new))
    case.moved = {"full": len(new), "patches": min(len(body), len(new)), **others(old, new)}
    blocks = -(-len(new) // 4096)
    pieces = -(-len(body) // 4096)
    case.written["full"] = (blocks * 4096, blocks)  # the partition, which is erased block by block
    case.written["patches"] = ((blocks + pieces) * 4096, blocks + pieces)
    return case


def variants(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Name of an application's update to the folders before and after."""
    one, table, other = (folder / name for name in ("one-line", "table", "table-2"))
    for copy in (one, table, other):
        shutil.copytree(WEATHER / "1.1.0", copy)
    trend = (one / "lib" / "trend.py").read_text()
    changed = trend.replace("        return ", "        self.checked = True\n        return ", 1)
    (one / "lib" / "trend.py").write_text(changed)
    rows = [f"{number};{hashlib.sha256(b'%d' % number).hexdigest()[:30]}\n" for number in range(1200)]
    (table / "table.csv").write_text("".join(rows))
    rows[700] = "700;this line has been corrected\n"
    (other / "table.csv").write_text("".join(rows))
    return {
        "one-line fix": (WEATHER / "1.1.0", one),
        "small feature": (WEATHER / "1.0.0", WEATHER / "1.1.0"),
        "one line of a table": (table, other),
    }


def show(cases: list[Case]) -> None:
    kinds = ("full", "patches", "heatshrink", "bsdiff")
    print(f"{'bytes moved':42}" + "".join(f"{kind:>18}" for kind in kinds))
    for case in cases:
        cells = [f"{case.moved[kind]} {100 * case.moved[kind] / case.size:5.1f} %" for kind in kinds]
        print(f"{case.name:42}" + "".join(f"{cell:>18}" for cell in cells))
    heads = "".join(f"{kind:>18}" for kind in kinds[:2])
    print(f"\n{'flash written, bytes (blocks erased)':42}{heads}   for each byte of the new files")
    for case in cases:
        cells = [f"{written} ({erased})" for written, erased in (case.written[kind] for kind in kinds[:2])]
        ratios = ", ".join(f"{case.written[kind][0] / case.size:.2f}" for kind in kinds[:2])
        print(f"{case.name:42}" + "".join(f"{cell:>18}" for cell in cells) + f"   {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-firmware", action="store_true", help="applications only")
    cases = []
    with_firmware = not parser.parse_args().no_firmware
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, data in client_files(load(SIM_BOARD), folder / "build").items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for title, (before, after) in variants(folder).items():
            cases.append(application(folder, title, before, after, folder / "lib"))
    cases += [case for board in IMAGES if with_firmware and (case := firmware(board))]
    show(cases)
    (HERE / "out").mkdir(exist_ok=True)
    figures = [{"name": case.name, "size": case.size, "moved": case.moved, "written": case.written} for case in cases]
    (HERE / "out" / "patches.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
