"""What goes wrong without anybody's malice: a clear code and sentence on the device, and the next good update works."""

from collections.abc import Callable
from typing import Any

import pytest
from client_server import Answer, ok
from client_world import NOW, Product
from tuf_repository import unix

ON_TIME = ["clock", unix(NOW)]
PORTAL = b"<!DOCTYPE html><html><head><title>Welcome to Hotel WiFi</title></head><body>Please log in</body></html>\n"
FILES = {"main.py": b"print('new')\n" * 40, "big.bin": bytes(range(256)) * 60}


@pytest.fixture
def product(product: Product) -> Product:
    """1.0.0 is published; the device has it before the trouble begins, and 1.1.0 is what it then looks for."""
    product.release("1.0.0", 1)
    return product


def after(trouble: Callable[[str, bytes], Any], product: Product, part: str) -> Answer:
    """Honest answers, but for files whose name has this part."""

    def answer(request: str) -> Any:
        truth = product.answer(request)
        assert isinstance(truth, bytes)
        return trouble(request, truth) if part in request.split()[1] else truth

    return answer


def portal(_: str, __: bytes) -> bytes:
    return ok(PORTAL, "Content-Type: text/html\r\n")


def stops(_: str, truth: bytes) -> list[bytes]:
    """Half of it, and the connection is closed."""
    head, _, body = truth.partition(b"\r\n\r\n")
    return [head + b"\r\nConnection: close\r\n\r\n" + body[: len(body) // 2]]


def more(_: str, truth: bytes) -> bytes:
    """Longer than signed, and says so."""
    body = truth.partition(b"\r\n\r\n")[2]
    return ok(body + bytes(5000))


def more_than_it_says(_: str, truth: bytes) -> list[bytes]:
    """Longer than signed, in chunks without an announced end."""
    body = truth.partition(b"\r\n\r\n")[2] + bytes(5000)
    chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk]


def endless(_: str, __: bytes) -> list[bytes]:
    """Metadata of a megabyte."""
    return [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b'{"signed":' + b" " * (1 << 20)]


TROUBLES: dict[str, tuple[Callable[[str, bytes], Any], str, str, str]] = {
    "portal": (portal, "/", "E_FORMAT: ", "wants a log-in"),
    "portal for files": (portal, "/blobs/", "E_LENGTH: ", "are signed"),
    "stops in metadata": (stops, "snapshot", "E_NETWORK: ", "cut short"),
    "stops in a file": (stops, "/blobs/", "E_NETWORK: ", "cut short"),
    "more than promised": (more, "/blobs/", "E_LENGTH: ", "are signed"),
    "more than it says": (more_than_it_says, "/blobs/", "E_LENGTH: ", "longer than signed"),
    "endless metadata": (endless, "timestamp", "E_LENGTH: ", "longer than"),
}


def test_each_trouble_has_its_sentence(product: Product, new_unit: Any) -> None:
    """And none is in the way of what comes after it."""
    unit = new_unit(product)
    unit.live(ON_TIME, ["install"])
    version = ""
    for number, (trouble, part, code, words) in enumerate(TROUBLES.values(), 1):
        version = f"1.{number}.0"
        product.release(version, number + 1, FILES)
        product.server.answer = after(trouble, product, part)
        (said,) = unit.live(ON_TIME, ["install"])
        assert said.startswith(code), said
        assert words in said, said
        product.server.answer = product.answer
        report, found = unit.live(ON_TIME, ["status"], ["check"])
        assert report["active"]["version"] == "1.0.0"
        assert report["last_check"]["error"] == said
        assert found == version
    assert unit.live(ON_TIME, ["install"]) == [version]


def test_a_full_flash(product: Product, new_unit: Any) -> None:
    """It is counted before the first byte of a release, also where nothing at all is left."""
    unit = new_unit(product)
    unit.live(ON_TIME, ["install"])
    product.release("1.1.0", 2, FILES)
    for blocks in (0, 3):
        product.server.requests.clear()
        said, report = unit.live(ON_TIME, ["fill", blocks], ["install"], ["status"], ["fill", None])
        assert said.startswith("E_SPACE: "), said
        assert "more blocks of 4096 bytes" in said or "flash is full" in said, said
        assert (report["active"]["version"], report["free_blocks"] < 64) == ("1.0.0", True)
        assert not [request for request in product.server.requests if "/blobs/" in request]
    assert unit.live(ON_TIME, ["install"]) == ["1.1.0"]
