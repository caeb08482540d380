"""The repository over HTTP, measured on the socket."""

import re
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from heirloom.server.serve import serving
from heirloom.server.store import Store

TIMESTAMP = "/metadata/timestamp.json"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    moved: int
    """Bytes on the wire in both directions."""


Ask = Callable[..., Answer]


@pytest.fixture
def inputs(product, repository):
    inputs = product.release("1.0.0")
    inputs.commit(Store(repository))
    return inputs


@pytest.fixture
def ask(inputs, serve) -> Ask:
    """Send one request as a device writes it: nothing that the server does not need."""
    address = urlsplit(serve)

    def send(path: str, method: str = "GET", /, **headers: str) -> Answer:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", *lines, "", ""]).encode()
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
            connection.sendall(request)
            return receive(connection, method, len(request))

    return send


def receive(connection: socket.socket, method: str, sent: int) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
    while len(body) < length:
        body += connection.recv(65536)
    assert len(body) == length, "more came than was announced"
    return Answer(int(status.split()[1]), headers, body, sent + len(head) + 4 + len(body))


def test_metadata_and_twins(ask, inputs):
    for name, data in inputs.metadata.items():
        plain = ask(f"/metadata/{name}")
        assert (plain.status, plain.body) == (200, data)
        packed = ask(f"/metadata/{name}.z")
        assert packed.status == 200
        assert zlib.decompress(packed.body, wbits=10) == data
        assert "content-encoding" not in packed.headers, "the file is what it is; nobody should inflate it on the way"
        assert plain.headers["etag"] != packed.headers["etag"]


def test_poll_moves_at_most_1_kib(ask, product, repository):
    first = ask(f"{TIMESTAMP}.z")
    assert first.status == 200
    assert first.moved <= 1024
    again = ask(f"{TIMESTAMP}.z", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.moved <= 350, "a poll that learns nothing should cost next to nothing"
    assert set(again.headers) == {"date", "etag", "cache-control"}
    product.release("1.1.0").commit(Store(repository))
    news = ask(f"{TIMESTAMP}.z", If_None_Match=first.headers["etag"])
    assert news.status == 200
    assert news.moved <= 1024


@pytest.mark.parametrize(
    "path", ["timestamp.json", "timestamp.json.z", "1.snapshot.json", "1.root.json.z", "root.json"]
)
def test_conditional(ask, path):
    tag = ask(f"/metadata/{path}").headers["etag"]
    assert re.fullmatch(r'"[0-9a-z]{1,24}"', tag), "strong and short"
    for header in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        assert ask(f"/metadata/{path}", If_None_Match=header).status == 304
    assert ask(f"/metadata/{path}", "HEAD", If_None_Match=tag).status == 304
    assert ask(f"/metadata/{path}", If_None_Match='"other"').status == 200
    assert ask(f"/metadata/{path}", If_None_Match=tag[:-2] + '"').status == 200


def test_tag_changes_with_the_content_only(ask, repository):
    """Also within one second, with the same length, and when only the time of the file changes."""
    path = repository / "metadata/timestamp.json"
    before = ask(TIMESTAMP).headers["etag"]
    path.touch()
    assert ask(TIMESTAMP).headers["etag"] == before
    data = path.read_bytes()
    path.write_bytes(data[:-10] + b"#" + data[-9:])
    assert ask(TIMESTAMP).headers["etag"] != before


def test_cache_control(ask, inputs):
    for path in (TIMESTAMP, f"{TIMESTAMP}.z", "/metadata/root.json", "/"):
        assert ask(path).headers["cache-control"] == "no-cache"
    blob = inputs.blobs[0].name
    for path in ("/metadata/1.snapshot.json", "/metadata/1.root.json.z", f"/blobs/{blob}", f"/blobs/{blob}.z"):
        assert "immutable" in ask(path).headers["cache-control"]


def test_head(ask, inputs):
    for path in (TIMESTAMP, f"/blobs/{inputs.blobs[0].name}", "/", "/healthz"):
        whole, head = ask(path), ask(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.body))
        assert head.headers.get("etag") == whole.headers.get("etag")


@pytest.fixture
def blob(inputs) -> tuple[str, bytes]:
    return f"/blobs/{inputs.blobs[0].name}", inputs.blobs[0].read_bytes()


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=4000-", 4000, 4199),
        ("bytes=-3", 4197, 4199),
        ("bytes=9-99999", 9, 4199),
    ],
)
def test_range(ask, blob, header, first, last):
    path, data = blob
    answer = ask(path, Range=header)
    assert answer.status == 206
    assert answer.body == data[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
    assert answer.headers["etag"] == ask(path).headers["etag"]


@pytest.mark.parametrize("header", ["bytes=4200-", "bytes=99999-100000"])
def test_range_beyond_the_end(ask, blob, header):
    answer = ask(blob[0], Range=header)
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */4200"


@pytest.mark.parametrize(
    "header",
    ["bytes=9-5", "bytes=", "bytes=x-y", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "5-9", "bytes=\u0661-\u0662"],
)
def test_odd_ranges_are_ignored(ask, blob, header):
    path, data = blob
    answer = ask(path, Range=header)
    assert (answer.status, answer.body) == (200, data)


def test_if_range(ask, blob):
    path, data = blob
    tag = ask(path).headers["etag"]
    assert ask(path, Range="bytes=5-9", If_Range=tag).status == 206
    stale = ask(path, Range="bytes=5-9", If_Range='"other"')
    assert (stale.status, stale.body) == (200, data)


def test_a_download_resumes_on_another_mirror(ask, blob):
    """The tag of a blob comes from its name, so that it is the same wherever the repository is copied to."""
    path, _ = blob
    assert ask(path).headers["etag"].strip('"') in path


@pytest.mark.parametrize(
    "path",
    [
        "/.lock",
        "/metadata/../.lock",
        "/metadata",
        "/metadata/",
        "/blobs/",
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/metadata/%2e%2e/%2e%2e/secret",
        "/metadata/..%2f..%2fsecret",
        "/..%5c..%5csecret",
        "//etc/passwd",
        "/blobs/%00",
        "/metadata/.new-timestamp.json",
        "/metadata/link",
        "/secret",
        "/metadata/" + "x" * 300,
        "/metadata/1.root.json/x",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_is_not_published_is_not_there(ask, repository, path):
    (repository.parent / "secret").write_text("secret")
    (repository / "secret").write_text("secret")
    (repository / "metadata/.new-timestamp.json").write_text("secret")
    (repository / "metadata/link").symlink_to(repository.parent / "secret")
    answer = ask(path)
    assert answer.status == 404
    assert b"secret" not in answer.body
    assert answer.moved < 700


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_reading_only(ask, method):
    assert ask(TIMESTAMP, method, Content_Length="0").status == 405


def test_small_headers(ask):
    for path in (TIMESTAMP, "/nothing", "/blobs/nothing"):
        assert "server" not in ask(path).headers


def test_connections_are_kept(inputs, serve):
    """One connection for a whole update: a device pays for each handshake."""
    address = urlsplit(serve)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        for name in sorted(inputs.metadata):
            request = f"GET /metadata/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            connection.sendall(request)
            assert receive(connection, "GET", len(request)).body == inputs.metadata[name]


def test_health(ask, repository):
    answer = ask("/healthz")
    assert answer.status == 200
    assert b'"status":"ok"' in answer.body
    (repository / "metadata/1.snapshot.json").write_bytes(b"garbage")
    answer = ask("/healthz")
    assert (answer.status, b"damaged" in answer.body) == (503, True)
    (repository / "metadata/timestamp.json").unlink()
    answer = ask("/healthz")
    assert (answer.status, b"empty" in answer.body) == (503, True)


def test_a_repository_that_comes_later(serve, repository, product):
    """The server may start first."""
    address = urlsplit(serve)

    def status() -> int:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
            connection.sendall(f"GET {TIMESTAMP} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return receive(connection, "GET", 0).status

    assert status() == 404
    product.release("1.0.0").commit(Store(repository))
    assert status() == 200


def test_nothing_listens_beyond_loopback(serve):
    assert urlsplit(serve).hostname == "127.0.0.1"


def test_unreadable_files_are_not_there(inputs, repository, monkeypatch):
    """Told before the answer has begun. The superuser can read everything, so access is denied by hand."""
    path = repository / "metadata/1.root.json"
    monkeypatch.setattr("os.access", lambda candidate, mode: Path(candidate) != path)
    with serving(repository) as url:
        pool = urllib3.PoolManager()
        assert pool.request("GET", url + "metadata/1.root.json").status == 404
        assert pool.request("GET", url + "metadata/1.snapshot.json").status == 200
        pool.clear()
