"""Device milliseconds of a whole update check: the verification core on a MicroPython image in the RP2040 emulator.

A repository as Heirloom publishes it (ten boards, ten releases of one, keys 2 of 3 offline and 1 online, ed25519), with
metadata in the board's flash instead of a network, so that only reading, scanning and verifying count. The board begins
as a device that is up to date, with the tables of its keys: the host makes that, since the emulator takes half a minute
for a second. Takes a few minutes. See bench_crypto_rp2040.py for the emulator and its clock.
"""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import bench_crypto_rp2040 as crypto

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / part) for part in ("tests/device/core", "device/conformance_support")]

from directory_store import DirectoryStore  # noqa: E402
from tuf_memory import FolderFetcher  # noqa: E402
from tuf_repository import NOW, Repository, unix  # noqa: E402 - the tests' own maker of repositories

from heirloom.device.tuf import Client  # noqa: E402

CORE = ("errors", "tuf")
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
        print("no table of", name)
    def drop(self, name):
        print("dropped", name)
def measured(name, function):
    gc.collect()
    start = time.ticks_us()
    result = function()
    print(name, "=", time.ticks_diff(time.ticks_us(), start) / 1000)
    return result
gc.collect()
before = gc.mem_alloc()
from heirloom.device.tuf import Client
from directory_store import DirectoryStore
gc.collect()
print("heap of the loaded core =", gc.mem_alloc() - before)
def client(folder):
    Fetcher.folder = "/" + folder + "/"
    return Client(DirectoryStore("/store", "/provisioned"), Fetcher(), NOW, None, Tables())
def update(folder):
    c = client(folder)
    c.poll()
    pointer = c.find_target("channels/B0/stable")
    target = c.find_target(pointer.custom["release"])
    c.close()
    return target.length
measured("whole check with four new roles, ms", lambda: update("two"))
measured("whole check again, nothing new, ms", lambda: update("two"))
c = client("two")
measured("idle poll, ms", c.poll)
c.close()
from heirloom.device.tuf import Document
for name in ("snapshot", "releases-B0"):
    file = open("/store/" + name + ".json", "rb")
    length = file.seek(0, 2)
    document = Document(name, file, length)
    measured("check of %s, %d bytes, ms" % (name, length), document.check)
    measured("feed of %s, ms" % name, lambda: document.feed(len))
gc.collect()
print("heap with all of it loaded =", gc.mem_alloc() - before)
"""


class Tables:
    """See protocols.TableCache: in files, as the board reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, _name: str) -> None:
        """There is none yet."""

    def put(self, name: str, make: Callable[[Callable[[bytes], object]], None]) -> None:
        with (self._folder / name).open("wb") as file:
            make(file.write)

    def drop(self, name: str) -> None:
        """Nothing is kept that could be wrong."""


def repository(folder: Path) -> Repository:
    """As it was when the device looked last."""
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
    return made


def board_files(folder: Path) -> dict[str, bytes]:
    """A device that is up to date, and what the repository has published since."""
    published = folder / "published"
    made = repository(published)
    provisioned = published / "2.root.json"
    for name in ("store", "t"):
        (folder / name).mkdir()
    client = Client(
        DirectoryStore(str(folder / "store"), str(provisioned)),
        FolderFetcher(published),
        unix(NOW),
        tables=Tables(folder / "t"),
    )
    client.refresh()
    for path in ("channels/B0/stable", "releases/B0/1.7.0.cbor"):
        client.find_target(path)
    client.close()
    made.publish("releases-B0", "channels-B0")
    for role in ("timestamp", "snapshot", "releases-B0", "channels-B0"):
        name = made.file_name(role)
        print(f"{name}: {(published / name).stat().st_size} bytes")
    files = {"provisioned": provisioned.read_bytes()}
    files |= {f"{name}/{path.name}": path.read_bytes() for name in ("store", "t") for path in (folder / name).iterdir()}
    return files | {f"two/{path.name}": path.read_bytes() for path in published.iterdir()}


def main() -> None:
    reason = crypto.unavailable_reason()
    if reason:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = crypto.compiled((*CORE, *crypto.NAMES))
        files["directory_store.py"] = (HERE.parent / "device/conformance_support/directory_store.py").read_bytes()
        files |= board_files(folder)
        image = crypto.flash_image(files, folder / "flash.bin")
        crypto.check_version(image, files["lib/heirloom/device/sha512_viper.mpy"])
        out = asyncio.run(crypto.run(image, ON_BOARD.replace("NOW", str(unix(NOW)))))
    print(out)
    figures = {key: float(value) for key, value in re.findall(r"^(.*) = ([0-9.]+)\r?$", out, re.MULTILINE)}
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "core_rp2040.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
