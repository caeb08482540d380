"""The whole client in little heap, on the 64-bit unix port, whose objects are twice the size of a board's.

What needs most is making the table of the last key, when nearly all of the client is loaded (bench_heap.py).
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from client_world import BOARD, PRODUCT, Product
from littlefs import LittleFS

HEAP = "128k"
BLOCKS = 212  # as a Pico W has


@pytest.fixture
def product(tmp_path: Path, serve: Any) -> Product:
    """A product with twelve roots, signed now, with one release."""
    server = serve(lambda _: None)
    made = Product(tmp_path / "repository", roots=10, urls=(server.url,))
    made.server, server.answer = server, made.answer
    made.live(datetime.now(UTC).replace(microsecond=0))
    made.release("1.0.0", 1)
    return made


def test_a_cold_start_with_a_chain_of_twelve_roots(
    product: Product, tmp_path: Path, micropython: Path, compiled: Path
) -> None:
    """A check from the first root to the twelfth, the manifest, and a small release installed; one interpreter."""
    flash = tmp_path / "flash"
    filesystem = LittleFS(block_size=4096, block_count=BLOCKS)
    for folder in ("slots", "blobs", "trust"):
        filesystem.makedirs(f"/heirloom/{folder}", exist_ok=True)
    for path in compiled.rglob("*.*"):
        name = f"/lib/{path.relative_to(compiled)}"
        filesystem.makedirs(name.rpartition("/")[0], exist_ok=True)
        with filesystem.open(name, "wb") as file:
            file.write(path.read_bytes())
    device = {"product": PRODUCT, "board": BOARD, "urls": [product.server.url]}
    with filesystem.open("/heirloom/device.json", "wb") as file:
        file.write(json.dumps(device).encode())
    with filesystem.open("/heirloom/trust/provisioned.json", "wb") as file:
        file.write(product.provisioned)
    flash.write_bytes(bytes(filesystem.context.buffer))
    script = Path(__file__).with_name("on_device") / "cold_start.py"
    done = subprocess.run(
        [micropython, "-X", f"heapsize={HEAP}", script, flash],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "=> 12 True [0, 1, 0, 'check']"
