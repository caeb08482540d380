"""Device milliseconds of the signature verifiers: a real MicroPython image in the RP2040 emulator.

The emulator counts cycles, so its milliseconds are a board's at 125 MHz, whatever this machine does meanwhile. One
emulated second takes about half a minute.

    bench/bench_crypto_rp2040.py           times; two to three minutes
    bench/bench_crypto_rp2040.py --heap    also the heap that each verification needs; some minutes more
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heirloom import boards
from heirloom.hil.provision import client_files

HERE = Path(__file__).resolve().parent
NAMES = (
    "asn1", "comb", "comb_build", "ed25519", "ed25519_table", "edwards_registers",
    "edwards_thumb", "p256", "p256_table", "rsapss", "sha512", "sha512_viper",
)  # fmt: skip
FIRMWARE = Path(os.environ.get("HEIRLOOM_FIRMWARE") or Path.home() / ".cache" / "heirloom" / "firmware")
MESSAGE = b"update" * 100
# Where the image of the Pico W has its file system: offset, blocks of 4096 bytes.
FLASH_OFFSET, FLASH_BLOCKS = 0x12C000, 212
# Milliseconds, from the design.
LIMITS = {"ed25519": 350, "p256": 400, "rsa2048": 150}

ON_BOARD = """
import gc, sys
sys.path[:] = ["", "/lib"]  # not .frozen: nothing of ours is there
read = {}
def vector(name):
    if name not in read:
        with open("/" + name + ".txt") as file:
            read[name] = [bytes.fromhex(line.strip()) for line in file]
    return read[name]
def piece(update):
    update(b"update" * 100)
class FileTable:
    def __init__(self, name):
        self.file = open("/" + name, "rb")
    def row(self, index, buffer):
        self.file.seek(index * len(buffer))
        self.file.readinto(buffer)
def ed25519(table=None):
    from heirloom.device import ed25519
    key, signature = vector("ed25519")
    return ed25519.verify(key, signature, piece, table)
def p256(table=None):
    from heirloom.device import p256
    key, signature, digest = vector("p256")
    return p256.verify(key, signature, digest, table)
def rsa(size):
    from heirloom.device import rsapss
    n, signature, digest = vector("rsa" + size)
    return rsapss.verify(int.from_bytes(n, "big"), 65537, signature, digest)
def make(module):
    with open("/" + module + ".table", "wb") as file:
        __import__("heirloom.device." + module, None, None, ("make_table",)).make_table(vector(module)[0], file.write)
    return True
def sha512():
    from heirloom.device.sha512 import Sha512
    digest = Sha512()
    digest.update(bytes(1024))
    return digest.digest()[:4] == b"\\x8e\\xfb\\x4f\\x73"
"""

TIME = """
import time
def clock(name, function, *arguments):
    best = None
    for _ in range(2):  # the first one also loads modules and vectors
        gc.collect()
        start = time.ticks_us()
        if not function(*arguments):
            raise ValueError(name)
        best = time.ticks_diff(time.ticks_us(), start)
    print(name, best / 1000)
def once(name, function, *arguments):
    gc.collect()
    start = time.ticks_us()
    function(*arguments)
    print(name, time.ticks_diff(time.ticks_us(), start) / 1000)
print("version", sys.version)
clock("sha512 of 1 KiB", sha512)
once("ed25519 make_table", make, "ed25519")
once("p256 make_table", make, "p256")
clock("ed25519", lambda: ed25519(FileTable("ed25519.table")))
clock("p256", lambda: p256(FileTable("p256.table")))
clock("rsa2048", rsa, "2048")
clock("rsa3072", rsa, "3072")
once("ed25519 without table", ed25519)
once("p256 without table", p256)
"""

FIT = """
gc.collect()
ballast = bytearray(gc.mem_free() - {free} - 32)
gc.collect()
try:
    print("fits", {call})
except MemoryError:
    print("fits", False)
"""


def unavailable_reason() -> str | None:
    if not image().is_file():
        return f"no image of the Pico W: put RPI_PICO_W.uf2 into {FIRMWARE} or name a folder in HEIRLOOM_FIRMWARE"
    try:
        import rp2040py  # noqa: F401
    except ImportError:
        return "no RP2040 emulator: pip install rp2040py (or the extra `rig`)"
    return None


def image() -> Path:
    found = sorted(FIRMWARE.glob("RPI_PICO_W*.uf2"))
    return found[-1] if found else FIRMWARE / "RPI_PICO_W.uf2"


def vectors() -> dict[str, bytes]:
    digest = hashlib.sha256(MESSAGE).digest()
    ed = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    p256 = ec.derive_private_key(1234567890123456789012345678901234567890, ec.SECP256R1())
    point = p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    found = {
        "ed25519": [ed.public_key().public_bytes_raw(), ed.sign(MESSAGE)],
        "p256": [point, p256.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), digest],
    }
    for bits in (2048, 3072):
        key = rsa.generate_private_key(65537, bits)
        n = key.public_key().public_numbers().n.to_bytes(bits // 8, "big")
        signature = key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        found[f"rsa{bits}"] = [n, signature, digest]
    return {f"{name}.txt": "\n".join(item.hex() for item in items).encode() for name, items in found.items()}


def compiled(names: Collection[str] = NAMES) -> dict[str, bytes]:
    """Modules of the client as `heirloom device provision` puts them on the board."""
    found = client_files(boards.load("RPI_PICO_W"))
    return {path[1:]: found[path] for path in (f"/lib/heirloom/device/{name}.mpy" for name in names)}


def flash_image(files: dict[str, bytes], path: Path) -> Path:
    from littlefs import LittleFS

    fs = LittleFS(
        block_size=4096, block_count=FLASH_BLOCKS, prog_size=256, read_size=256, cache_size=1024, lookahead_size=32,
        disk_version=0x00020000,
    )  # fmt: skip
    for name, data in files.items():
        fs.makedirs(str(Path("/", name).parent), exist_ok=True)
        with fs.open("/" + name, "wb") as file:
            file.write(data)
    path.write_bytes(bytes(fs.context.buffer))
    return path


async def run(filesystem: Path, code: str) -> str:
    """What the code prints on a freshly booted board."""
    from rp2040py.boards import BOARDS, FlashLayout
    from rp2040py.device.mp_device import MicroPythonDevice

    layout = FlashLayout(fs_start=FLASH_OFFSET, fs_blockcount=FLASH_BLOCKS, fs_blocksize=4096)
    board = replace(BOARDS["pico_w"], image=str(image()), layout=layout)
    device = MicroPythonDevice(board=board, filesystem=str(filesystem))
    await device.astart(timeout=300)
    try:
        out, err = await device.aexec(ON_BOARD + code, timeout=1800)
    finally:
        device.stop()
    if err:
        sys.exit(err.decode())
    return out.decode()


def check_version(filesystem: Path, mpy: bytes) -> None:
    """The second and third byte of a native .mpy must be the firmware's own."""
    wants = int(asyncio.run(run(filesystem, "print(sys.implementation._mpy)")))
    made = mpy[1] | mpy[2] << 8
    if wants != made:
        print(f"skipped: {image().name} loads .mpy of kind {wants:#x}, mpy-cross makes {made:#x}")
        sys.exit(0)


def smallest_heap(filesystem: Path, call: str) -> int:
    """Free bytes before the modules are loaded with which the call just succeeds, to 256 bytes.

    An upper bound: small holes that the prompt left count as free, and no module fits into them.
    """
    low, high = 2048, 34816
    while high - low > 256:
        middle = (low + high) // 2
        if "fits True" in asyncio.run(run(filesystem, FIT.format(free=middle, call=call))):
            high = middle
        else:
            low = middle
    return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heap", action="store_true", help="also measure heap")
    measure_heap = parser.parse_args().heap
    reason = unavailable_reason()
    if reason:
        print("skipped:", reason)
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        modules = compiled()
        files = modules | vectors()
        filesystem = flash_image(files, Path(folder) / "flash")
        check_version(filesystem, modules["lib/heirloom/device/sha512_viper.mpy"])
        for line in asyncio.run(run(filesystem, TIME)).splitlines():
            name, _, value = line.rpartition(" ")
            if line.startswith("version"):
                print(line)
                continue
            figures[f"{name} ms"] = float(value)
            limit = f"   limit {LIMITS[name]}" if name in LIMITS else ""
            print(f"{name:24} {float(value):8.1f} ms{limit}")
        if measure_heap:
            for name, call in HEAP.items():
                with_tables = flash_image(files | tables(), Path(folder) / "flash")
                figures[f"{name} bytes"] = heap = smallest_heap(with_tables, call)
                print(f"{name:24} {heap:8} bytes, modules and message included")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "crypto_rp2040.json").write_text(json.dumps(figures, indent=2) + "\n")


HEAP = {
    "heap of ed25519": "ed25519(FileTable('ed25519.table'))",
    "heap of ed25519, no table": "ed25519()",
    "heap of p256": "p256(FileTable('p256.table'))",
    "heap of p256, no table": "p256()",
    "heap of rsa2048": "rsa('2048')",
    "heap of rsa3072": "rsa('3072')",
}


def tables() -> dict[str, bytes]:
    from heirloom.device import ed25519, p256

    found = {}
    for name, module in (("ed25519", ed25519), ("p256", p256)):
        pieces: list[bytes] = []
        module.make_table(bytes.fromhex(vectors()[f"{name}.txt"].split()[0].decode()), pieces.append)
        found[f"{name}.table"] = b"".join(pieces)
    return found


if __name__ == "__main__":
    main()
