"""Device milliseconds of a whole update check: the verification core on a MicroPython image in the RP2040 emulator.

A repository as Heirloom publishes it (ten boards, ten releases of one, keys 2 of 3 offline and 1 online, ed25519), with
metadata in the board's flash instead of a network, so that only reading, scanning and verifying count. Takes about five
minutes. See bench_crypto_rp2040.py for the emulator and its clock.
"""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path

import bench_crypto_rp2040 as crypto

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "device" / "core"))

from tuf_repository import NOW, Repository, unix  # noqa: E402 - the tests' own maker of repositories

CORE = (
    *("canonical", "compat", "delegation", "download", "errors", "jsonscan", "jsontext", "keys", "notes", "roles"),
    *("rootchain", "target", "timebound", "trust", "tuf"),
)
BOARDS, RELEASES = 10, 10

ON_BOARD = """
import os, time
from heirloom.device.errors import UpdateError
class Fetcher:
    folder = ""
    def fetch(self, name, limit, sink, etag=None):
        try:
            file = open(self.folder + name, "rb")
        except OSError:
            raise UpdateError("E_NOT_FOUND", name)
        buffer = bytearray(512)
        while True:
            got = file.readinto(buffer)
            if not got:
                file.close()
                return ""
            sink.write(memoryview(buffer)[:got])
class Tables:
    def get(self, name):
        try:
            return FileTable("t/" + name)
        except OSError:
            return None
    def put(self, name, make):
        with open("/t/" + name, "wb") as file:
            make(file.write)
    def drop(self, name):
        print("dropped", name)
def measured(name, function):
    gc.collect()
    start = time.ticks_us()
    result = function()
    print(name, "=", time.ticks_diff(time.ticks_us(), start) / 1000)
    return result
os.mkdir("/t")
os.mkdir("/store")
gc.collect()
before = gc.mem_alloc()
from heirloom.device.tuf import Client
from directory_store import DirectoryStore
gc.collect()
print("heap of the loaded core =", gc.mem_alloc() - before)
def client(folder):
    Fetcher.folder = "/" + folder + "-"
    return Client(DirectoryStore("/store", "/provisioned"), Fetcher(), NOW, None, Tables())
def update(folder):
    c = client(folder)
    c.poll()
    pointer = c.find_target("channels/B0/stable")
    target = c.find_target(pointer.custom["release"])
    c.close()
    return target.length
measured("first update, tables made, ms", lambda: update("one"))
measured("whole check with four new roles, ms", lambda: update("two"))
measured("whole check again, nothing new, ms", lambda: update("two"))
c = client("two")
measured("idle poll, ms", c.poll)
c.close()
from heirloom.device.canonical import Document
for name in ("snapshot", "releases-B0"):
    file = open("/store/" + name + ".json", "rb")
    length = file.seek(0, 2)
    document = Document(name, file, length)
    measured("check of %s, %d bytes, ms" % (name, length), document.check)
    measured("feed of %s, ms" % name, lambda: document.feed(len))
gc.collect()
print("heap with all of it loaded =", gc.mem_alloc() - before)
"""


def repository(folder: Path) -> dict[str, bytes]:
    """Two states of one repository, as files for the board."""
    made = Repository(folder)
    made.rotate_root("root", "targets", add=3, threshold=2)
    for board in range(BOARDS):
        for kind in ("releases", "channels"):
            made.delegate(f"{kind}-B{board}", [f"{kind}/B{board}/*"])
    for number in range(RELEASES):
        path = f"releases/B0/1.{number}.0.cbor"
        made.add_target("releases-B0", path, b"x" * number, version=f"1.{number}.0", epoch=1, sequence=number)
    roles = [role for role in made.md if role not in ("root", "timestamp", "snapshot")]
    for role in made.md:
        made.md[role].signed.unrecognized_fields["x-heirloom-signed-at"] = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    made.add_target("channels-B0", "channels/B0/stable", b"x", release="releases/B0/1.7.0.cbor")
    made.publish(*roles)
    files = {"provisioned": (folder / "2.root.json").read_bytes()}
    files |= {f"one-{path.name}": path.read_bytes() for path in folder.iterdir()}
    made.publish("releases-B0", "channels-B0")
    names = [made.file_name(role) for role in ("timestamp", "snapshot", "releases-B0", "channels-B0")]
    for name in names:
        print(f"{name}: {(folder / name).stat().st_size} bytes")
    return files | {f"two-{path.name}": path.read_bytes() for path in folder.iterdir()}


def main() -> None:
    reason = crypto.unavailable_reason()
    if reason:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crypto.NAMES = (*CORE, *crypto.NAMES)
        files = crypto.compiled(folder)
        files["directory_store.py"] = (HERE.parent / "device/conformance_support/directory_store.py").read_bytes()
        files |= repository(folder / "repository")
        image = crypto.flash_image(files, folder / "flash.bin")
        crypto.check_version(image, files["lib/heirloom/device/sha512_viper.mpy"])
        out = asyncio.run(crypto.run(image, ON_BOARD.replace("NOW", str(unix(NOW)))))
    print(out)
    figures = {key: float(value) for key, value in re.findall(r"^(.*) = ([0-9.]+)\r?$", out, re.MULTILINE)}
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "core_rp2040.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
