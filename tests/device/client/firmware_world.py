"""A product whose releases bring firmware, and simulated ESP32s that run its first release on their first firmware."""

import dataclasses
import hashlib
import json
import os
import random
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from client_world import BOARD, PRODUCT, Product

from heirloom.boards import Board, load
from heirloom.boards.images import app, esp32, lfs, otadata, partitions
from heirloom.boards.images.otadata import Entry
from heirloom.device.manifest import Manifest
from heirloom.hil import provision
from heirloom.hil.sim import SimDevice

if TYPE_CHECKING:
    from client_server import Answer

#: Cuts of each life, and more lives, where that many are asked for.
MANY = int(os.environ.get("HEIRLOOM_FIRMWARE_CUTS", "0"))
C3 = "SIM_ESP32_GENERIC_C3"
OTADATA, SLOTS, SLOT_BYTES = 0xD000, (0x10000, 0x1C0000), 0x1B0000
TIMING = {"check_after_s": 0, "check_every_s": 1, "trial_timeout_s": 15, "alive_s": 2}
MAIN = """import asyncio
from esp32 import Partition
print('app', {version!r}, 'on', Partition(Partition.RUNNING).info()[4])
async def run():
    while True:
        await asyncio.sleep_ms(50)
asyncio.run(run())
"""
CRASHING = MAIN.replace("async def", "raise ValueError('bad application')\nasync def", 1)
STATE = "import json, heirloom_boot\nprint(json.dumps(heirloom_boot.load()))"
REPORT = "import json\nfrom heirloom.device import status\nprint(json.dumps(status.report()))"


def content(number: int, blocks: int) -> bytes:
    return random.Random(number).randbytes(blocks * 4096)


def image(number: int, *, panics: bool = False, blocks: int = 10) -> bytes:
    """A firmware of its own, of so many blocks and a bit."""
    return app.build(
        "esp32c3", content(number, blocks), version=f"v1.{27 + number}.0", project="panics" if panics else "micropython"
    )


OLD, NEW, NEWER = image(0, blocks=9), image(1), image(2, blocks=11)
PANICS = image(3, panics=True)


def firmware_of(data: bytes) -> tuple[int, bytes, str]:
    return len(data), hashlib.sha256(data).digest(), app.read(data).version


def board() -> Board:
    return dataclasses.replace(load(C3), name=BOARD)


def served(product: Product, *, cut_at: int | None = None) -> list[tuple[int, int]]:
    """Has the product's server honour ranges. Returns (first byte, bytes sent) of each blob that is asked for.

    cut_at: the first answer ends after so many bytes.
    """
    log: list[tuple[int, int]] = []
    plain: Answer = product.answer

    def answer(request: str) -> bytes | None:
        path = request.split()[1].lstrip("/")
        if not path.startswith("blobs/"):
            return plain(request)  # type: ignore[return-value]
        body = product.files.get(path)
        if body is None:
            return plain(request)  # type: ignore[return-value]
        wanted = re.search(r"Range: bytes=(\d+)-", request)
        first = int(wanted[1]) if wanted else 0
        there = f"206 Partial Content\r\nContent-Range: bytes {first}-{len(body) - 1}/{len(body)}"
        status = there if first else "200 OK"
        sent = body[first:]
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(sent)}\r\n"
        if cut_at is not None and len(sent) > cut_at and not any(count == cut_at for _, count in log):
            head, sent = head + "Connection: close\r\n", sent[:cut_at]
        log.append((first, len(sent)))
        return head.encode() + b"\r\n" + sent

    product.server.answer = answer
    return log


def publish(
    product: Product, version: str, sequence: int, firmware: bytes | None = None, main: str = MAIN, **more: Any
) -> Manifest:
    """A release with an application that says its version, and with a firmware."""
    if firmware is not None:
        more["firmware"] = more.pop("firmware_is", firmware_of(firmware))
        product.files[f"blobs/{hashlib.sha256(firmware).hexdigest()}"] = more.pop("sent", firmware)
    files = more.pop("files", {}) | {"main.py": main.replace("{version!r}", repr(version)).encode()}
    return product.release(version, sequence, files, **more)


def state_file(state: dict[str, Any]) -> bytes:
    line = json.dumps(state).encode()
    return b"%s\n%08x\n" % (line, zlib.crc32(line))


def flash(product: Product, device: SimDevice, first: Manifest | None, *, factory: bool = False, **state: Any) -> None:
    """Two slots, or a factory app alone, with firmware OLD, and the client; `first` is confirmed in slot a."""
    model = device.board
    if factory:
        assert model.partitions is not None
        kept = [part for part in model.partitions if part.label in ("nvs", "vfs")]
        app_part = partitions.Partition("factory", partitions.APP, partitions.FACTORY, SLOTS[0], SLOT_BYTES)
        model = dataclasses.replace(model, partitions=partitions.PartitionTable((*kept, app_part)))
    table = model.partitions
    assert table is not None
    loader = app.build(model.chip, b"bootloader")
    parts = esp32.Parts(model.chip, model.flash.size, loader, table, OLD, app.read(OLD))
    cells = filesystem(product, device, first, state)
    (device.directory / "flash.bin").write_bytes(esp32.whole_flash(model, parts, filesystem=cells))
    if not factory:
        # Something older lies where the new firmware will go.
        put(device, SLOTS[1], random.Random(9).randbytes(20 * 4096))


def filesystem(product: Product, device: SimDevice, first: Manifest | None, changed: dict[str, Any]) -> bytes:
    networks = [provision.Network(device.settings.ssid)]
    urls = [product.server.url]
    identity = provision.Identity.new(device.id)
    image = provision.build_filesystem(
        board(), PRODUCT, product.provisioned, urls, "stable", identity, TIMING, networks=networks
    )
    if first is None:
        return image
    content = {path: data for path, data in product.files.items() if path.startswith("blobs/")}
    more = {f"/heirloom/{path}": data for path, data in content.items()}
    more["/heirloom/slots/a.cbor"] = first.encode()
    state = {"v": 1, "a": "a", "f": None, "t": None, "o": list(first.order), "l": [0, 0], "r": 0, "x": [], "d": 0}
    more["/heirloom/state"] = state_file(state | {"s": 0, "n": 0} | changed)
    return with_files(device.board, image, more)


def with_files(model: Board, image: bytes, more: dict[str, bytes]) -> bytes:
    from littlefs import LittleFS

    layout = model.flash
    fs = LittleFS(block_size=layout.block_size, block_count=layout.block_count, mount=False)
    fs.context.buffer[:] = image
    fs.mount()
    for path, data in more.items():
        with fs.open(path, "wb") as file:
            file.write(data)
    return bytes(fs.context.buffer)


def lfs_read(device: SimDevice, path: str) -> bytes:
    """A file of a device that is off."""
    return lfs.read(device.board.flash, device.filesystem_image())[path]


def entries(device: SimDevice) -> tuple[Entry, Entry]:
    return otadata.parse((device.directory / "flash.bin").read_bytes()[OTADATA:])


def slot(device: SimDevice, number: int, length: int) -> bytes:
    """What lies in a slot of the flash."""
    data = (device.directory / "flash.bin").read_bytes()
    return data[SLOTS[number] : SLOTS[number] + length]


def put(device: SimDevice, offset: int, data: bytes) -> None:
    with (device.directory / "flash.bin").open("r+b") as file:
        file.seek(offset)
        file.write(data)


def ask(device: SimDevice, code: str = STATE) -> Any:
    """What a held device answers in JSON; it is off afterwards."""
    device.power_off()
    device.power_on(hold_repl=True)
    device.wait_for("^>>> ")
    try:
        return json.loads(device.exec(code))
    finally:
        device.power_off()


NewDevice = Callable[..., SimDevice]
