"""Heap of the client by stage: loaded modules and what they hold, measured where most is loaded.

    bench/bench_heap.py           MicroPython's unix port (64 bits, objects of twice the size); about a minute
    bench/bench_heap.py --board   also the image of the Pico W in the emulator (32 bits); some minutes more

The repository is as Heirloom publishes it (2 of 3 offline keys, ed25519), with a release of three files; files of flash
take the place of the network. Figures are bytes above what was there before the chooser was loaded, after a collection.
"smallest heap" is the -X heapsize with which a whole update just succeeds, the interpreter's own part included.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import bench_crypto_rp2040 as crypto

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "device" / "client"))

from client_world import BOARD, PRODUCT, Product  # noqa: E402 - found by the line above

from heirloom.boards import load  # noqa: E402
from heirloom.hil.provision import client_files  # noqa: E402

MICROPYTHON = Path(sys.executable).with_name("micropython")
ROOTS = 12
HEAPS_KIB = range(96, 224, 4)

UNIX = """
import sys, vfs
class Flash:
    def __init__(self, path):
        self.file = open(path, "r+b")
    def readblocks(self, block, buffer, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.readinto(buffer)
    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.write(buffer)
    def ioctl(self, operation, _):
        return 212 if operation == 4 else 4096 if operation == 5 else 0
class Machine:
    PWRON_RESET = 1
sys.modules["machine"] = Machine
flash = Flash(sys.argv[1])
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(flash), "/")
"""

COMMON = """
import gc, os, sys
sys.path[:] = [".frozen", "/lib"]
class Answer:
    etag = ""
    def __init__(self, path, offset):
        self.offset = offset
        try:
            self.file = open(path, "rb")
        except OSError:
            self.status, self.length, self.readinto = 404, 0, lambda buffer: 0
            return
        self.status, self.readinto = 206 if offset else 200, self.file.readinto
        self.length = self.file.seek(0, 2) - offset
        self.file.seek(offset)
class Http:
    requests, date, most = 0, "", {}
    def get(self, url, offset=0, etag="", tls_only=False):
        kind = url[9:].split("/")[0]
        held = used()
        if held > self.most.get(kind, 0):
            self.most[kind] = held
        return Answer("/" + url[9:], offset)
    def within(self, seconds):
        pass
    def close(self):
        pass
def used():
    gc.collect()
    return gc.mem_alloc() - before
def said(name, number):
    print(name, "=", number)
gc.collect()
before = gc.mem_alloc()
import heirloom_boot as boot
gc.threshold(boot._TIDY_BYTES)
said("boot: the chooser", used())
"""

RUNNING = """
import asyncio
poll = boot.client("poll")
boot.client("poll")
boot.forget()
said("after confirm: the poll waits beside the application", used())
owner = boot.client("owner").load()
network = boot.client("network")
urls = boot.client("urls")
said("poll unchanged: what a look loads", used())
"""

CHECK = """
boot.save(boot.new_state())
updater = boot.client("updater").Updater()
updater._http = Http()
updater.check()
"""

UPDATE = """
boot.save(boot.new_state())
updater = boot.client("updater").Updater()
updater._http = http = Http()
said("check: before the core is loaded", used())
release = updater.check()
said("whole check: verified metadata, the most", http.most["metadata"])
said("manifest: judged, the most", http.most["targets"])
said("check: after the core was dropped", used())
updater.install(release)
said("install: the most", http.most["blobs"])
boot.confirm()
del updater, release, http
boot.forget()
said("names that never leave the heap, after all was dropped", used())
"""


def product_of(folder: Path, roots: int) -> Product:
    """A product with one release, signed now."""
    made = Product(folder / f"repository-{roots}", roots=roots)
    made.live(datetime.now(UTC).replace(microsecond=0))
    made.release("1.0.0", 1)
    return made


def flash(folder: Path, board: str, product: Product, more: dict[str, bytes] | None = None) -> Path:
    """The file system of a provisioned device that has the repository on its own flash. more: files by path."""
    carried = client_files(load(board), folder / "build")
    files = {name.lstrip("/"): data for name, data in carried.items() if name.startswith("/lib/")}
    names = [f"metadata/{path.name}" for path in product.repository.folder.iterdir()]
    for name in (*names, *(f"{name}.z" for name in names), *product.files):
        files[name] = product.find(name) or b""
    device = {"product": PRODUCT, "board": BOARD, "urls": ["http://x/"]}
    files |= {
        "heirloom/device.json": json.dumps(device).encode(),
        "heirloom/trust/provisioned.json": product.provisioned,
    }
    files |= {"heirloom/slots/.keep": b"", "heirloom/blobs/.keep": b""}
    return crypto.flash_image(files | (more or {}), folder / f"flash-{product.repository.folder.name}-{board}")


def unix(image: Path, code: str, heap: str) -> str | None:
    """What the code prints on the unix port; None when its heap is too small. Raises SystemExit for other errors."""
    copy = image.with_suffix(".run")
    copy.write_bytes(image.read_bytes())
    script = image.with_suffix(".py")
    script.write_text(UNIX + COMMON + code)
    done = subprocess.run(
        [MICROPYTHON, "-X", f"heapsize={heap}", script, copy], capture_output=True, text=True, check=False
    )
    if done.returncode and "MemoryError" not in done.stdout + done.stderr:
        sys.exit(done.stdout + done.stderr)
    return None if done.returncode else done.stdout


def files_under(top: str, image: Path) -> dict[str, bytes]:
    """The files of a file system below a folder."""
    from littlefs import LittleFS

    fs = LittleFS(block_size=4096, block_count=crypto.FLASH_BLOCKS, mount=False)
    fs.context.buffer[:] = image.read_bytes()
    fs.mount()
    found = {}
    for folder, _, names in fs.walk(top):
        for name in names:
            with fs.open(f"{folder}/{name}", "rb") as file:
                found[f"{folder}/{name}".lstrip("/")] = file.read()
    return found


def smallest(image: Path) -> int:
    """KiB of -X heapsize with which a whole update succeeds, in steps of 4."""
    low, high = 0, len(HEAPS_KIB) - 1
    while low < high:
        middle = (low + high) // 2
        if unix(image, UPDATE, f"{HEAPS_KIB[middle]}k") is None:
            low = middle + 1
        else:
            high = middle
    return HEAPS_KIB[low]


def stages(run: Callable[[str], str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for code in (RUNNING, UPDATE):
        found |= {name: int(number) for name, number in re.findall(r"^(.*) = (\d+)\r?$", run(code), re.MULTILINE)}
    return found


def show(title: str, figures: dict[str, int]) -> None:
    print(title)
    for name, number in figures.items():
        print(f"  {name:58} {number:7}")


def on_unix(folder: Path) -> dict[str, int]:
    """The stages, with what is measured in 128 KiB or, when an update needs more, in what it needs."""
    plain, long = (flash(folder, "SIM_RPI_PICO_W", product_of(folder, roots)) for roots in (1, ROOTS))
    needed = {"an update": smallest(plain), f"an update over {ROOTS} roots": smallest(long)}
    heap = f"{max(128, *needed.values())}k"
    figures = stages(lambda code: unix(plain, code, heap) or sys.exit("too little heap"))
    figures |= {f"smallest heap of {what}, KiB": number for what, number in needed.items()}
    return figures


def on_board(folder: Path) -> dict[str, int]:
    """The same on the board, which begins up to date: the emulator takes half a minute for a second.

    Its check then verifies timestamp, snapshot, releases and channels.
    """
    product = product_of(folder / "board", 1)
    begin = flash(folder, "SIM_RPI_PICO_W", product)
    if unix(begin, CHECK, "400k") is None:
        sys.exit("no memory on the host")
    known = files_under("/heirloom/trust", begin.with_suffix(".run"))
    product.repository.publish(f"releases-{BOARD}", f"channels-{BOARD}")
    image = flash(folder, "RPI_PICO_W", product, known)
    crypto.ON_BOARD = ""
    return stages(lambda code: asyncio.run(crypto.run(image, COMMON + code)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", action="store_true", help="also in the emulator")
    board = parser.parse_args().board
    figures: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        figures["unix port"] = on_unix(Path(name))
        show("MicroPython unix port, 64 bits", figures["unix port"])
        reason = crypto.unavailable_reason() if board else "not asked for (--board)"
        if reason:
            print(f"RP2040: skipped: {reason}")
        else:
            figures["RP2040"] = on_board(Path(name))
            show("RP2040, 32 bits", figures["RP2040"])
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "heap.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
