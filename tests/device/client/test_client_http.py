"""The device's HTTP client against servers that are slow, short, endless, chunked, or something else entirely."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from client_server import DATE, Answer, ok, packed


@pytest.fixture
def fetch(on_device: Any) -> Callable[..., dict[str, Any]]:
    def run(*urls: str, idle_ms: int = 1500) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(on_device("http_client", "fetch", str(idle_ms), *urls))
        return said

    return run


@pytest.fixture
def metadata(on_device: Any) -> Callable[..., dict[str, Any]]:
    def run(name: str, *urls: str, limit: int = 1000, etag: str = "", tls_only: bool = False) -> dict[str, Any]:
        said = on_device("http_client", "metadata", str(limit), etag, "1" if tls_only else "0", name, *urls)
        return dict(json.loads(said))

    return run


def test_keeps_the_connection_and_counts(serve, fetch) -> None:
    server = serve(lambda _: ok(b"hello", 'ETag: "e"\r\n'))
    said = fetch(server.url + "a", server.url + "b?c=1")
    assert [one["text"] for one in said["seen"]] == ["hello", "hello"]
    assert said["seen"][0]["etag"] == '"e"'
    assert server.connections == 1
    assert said["requests"] == 2
    assert said["sent"] == sum(map(len, server.requests))
    assert said["received"] == 2 * len(ok(b"hello", 'ETag: "e"\r\n'))
    assert said["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[0]


def test_conditional_and_range(serve, fetch) -> None:
    def answer(request: str) -> bytes:
        if "If-None-Match" in request:
            return f"HTTP/1.1 304 Not Modified\r\n{DATE}Content-Length: 500\r\n\r\n".encode()
        return (
            ok(b"lo", "Content-Range: bytes 3-4/5\r\n", "206 Partial Content")
            if "bytes=3-" in request
            else ok(b"hello")
        )

    server = serve(answer)
    said = fetch(server.url + ' @"e"', server.url + " #3", server.url)
    assert [(one["status"], one["offset"], one["text"]) for one in said["seen"]] == [
        (304, 0, ""),
        (206, 3, "lo"),
        (200, 0, "hello"),
    ]
    assert 'If-None-Match: "e"\r\n' in server.requests[0]
    assert server.connections == 1


def test_a_server_without_ranges_starts_at_the_beginning(serve, fetch) -> None:
    said = fetch(serve(lambda _: ok(b"hello")).url + " #3")
    assert said["seen"][0]["offset"] == 0
    assert said["seen"][0]["text"] == "hello"


def test_chunked(serve, fetch) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;x=y\r\nhello\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\nTrailer: t\r\n\r\n"
    server = serve(lambda _: [head, 0.05, body[:3], 0.05, body[3:]])
    said = fetch(server.url, server.url)
    assert [one["length"] for one in said["seen"]] == [1029, 1029]
    assert server.connections == 1


@pytest.mark.parametrize(
    "piece",
    [b"0\r\n" + b"Trailer: x\r\n" * 4, b"Trailer: x\r\n" * 4, b"1;" + b"x" * 900 + b"\r\na\r\n"],
    ids=["trailers", "head", "chunks"],
)
def test_what_is_not_the_body_buys_no_time(serve, fetch, piece: bytes) -> None:
    """It comes quickly and for ever: what is counted is the body."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + b"\r\n" * (piece[:1] != b"T")
    more = piece if piece[:1] == b"1" else piece.partition(b"\r\n")[2] or piece
    server = serve(lambda _: [head + piece, *[0.03, more] * 400])
    (seen,) = fetch(server.url)["seen"]
    assert seen["error"].startswith("E_NETWORK: "), seen
    assert seen["ms"] < 6000


def test_without_a_length_until_the_end(serve, fetch) -> None:
    server = serve(lambda _: b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello")
    assert fetch(server.url)["seen"][0]["text"] == "hello"


def test_a_kept_connection_that_died_is_made_anew(serve, fetch) -> None:
    count = iter(range(9))
    server = serve(lambda _: None if next(count) == 1 else ok(b"hello"))
    assert [one["text"] for one in fetch(server.url, server.url)["seen"]] == ["hello", "hello"]
    assert server.connections == 2


def test_redirects_are_followed_three_times(serve, fetch) -> None:
    def answer(request: str) -> bytes:
        number = int(request.split()[1].rpartition("/")[2])
        return ok(b"", f"Location: /r/{number - 1}\r\n", "302 Found") if number else ok(b"there")

    server = serve(answer)
    said = fetch(server.url + "r/3", server.url + "r/4")
    assert said["seen"][0]["text"] == "there"
    assert "E_NETWORK" in said["seen"][1]["error"]
    elsewhere = serve(lambda _: ok(b"", f"Location: {server.url}r/0\r\n", "301 Moved Permanently"))
    assert fetch(elsewhere.url)["seen"][0]["text"] == "there"


@pytest.mark.parametrize("target", ["there", "/r/there", "//HOST/r/there"])
def test_a_redirect_may_name_less_than_a_url(target: str, serve, fetch) -> None:
    def answer(request: str) -> bytes:
        asked = request.split()[1]
        return ok(asked.encode()) if "there" in asked else ok(b"", f"Location: {where}\r\n", "302 Found")

    server = serve(answer)
    where = target.replace("HOST", f"127.0.0.1:{server.port}")
    assert fetch(server.url + "r/4")["seen"][0]["text"] == "/r/there"


def test_no_redirect_away_from_tls(fetch, serve) -> None:
    said = fetch(serve(lambda _: ok(b"")).url + " tls")
    assert "no TLS" in said["seen"][0]["error"]


BAD = {
    "short body, then closed": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello",
    "short body": ok(b"hello").replace(b"Length: 5", b"Length: 50") + b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status in words": b"HTTP/1.1 OK OK\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "length in words": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello",
    "endless line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000,
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "chunk cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
    "nothing": b"",
    "not UTF-8": b"HTTP/1.1 200 OK\r\nETag: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_error(name: str, serve, fetch) -> None:
    count = iter(range(9))
    server = serve(lambda _: [BAD[name] + b"", b""] if next(count) == 0 else None)
    closing = serve(server.answer)
    said = fetch(closing.url, idle_ms=400)["seen"][0]
    assert said["error"].startswith("E_NETWORK: "), said


def test_a_chunk_longer_than_any_file_is_none(serve, fetch) -> None:
    """It is refused before any of it is read: else a body that is whole would do, whatever stands around it."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n" + b"x" * 300
    assert "chunk" in fetch(serve(lambda _: answer).url, idle_ms=400)["seen"][0]["error"]


def test_silence_is_waited_for_so_long_only(serve, fetch) -> None:
    said = fetch(serve(lambda _: [5.0, ok(b"late")]).url, idle_ms=400)["seen"][0]
    assert "timed out" in said["error"]
    assert said["ms"] < 1500


def test_a_body_that_stops_is_not_waited_for(serve, fetch) -> None:
    said = fetch(serve(lambda _: [ok(b"hello")[:-2], 5.0, b"lo"]).url, idle_ms=400)["seen"][0]
    assert "timed out" in said["error"]
    assert said["ms"] < 1500


def test_a_body_that_trickles_is_given_up(serve, fetch) -> None:
    drops: list[bytes | float] = [b"x", 0.1] * 100
    said = fetch(serve(lambda _: [ok(b"x" * 100)[:-100], *drops]).url)["seen"][0]
    assert "timed out" in said["error"]
    assert 900 < said["ms"] < 3000


def test_answers_that_trickle_are_given_up_when_all_of_them_take_too_long(serve, on_device) -> None:
    # 4 bytes a millisecond, for 1.25 s: each answer is quick enough.
    server = serve(lambda _: [ok(b"x" * 5000)[:-5000], *([b"x" * 200, 0.05] * 25)])
    first, *_, seventh, eighth, after = json.loads(on_device("http_client", "patience", server.url))
    assert (first, after) == (5000, 5000)
    assert "timed out" in seventh
    assert "timed out" in eighth
    assert len(server.requests) < 8  # nothing is asked any more when the time is over


def test_nobody_there(fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = fetch(f"http://127.0.0.1:{port}/", "ftp://x/", "http:///x", "http://a\tb/", "http://h:99999/", "nonsense")[
        "seen"
    ]
    assert "connection refused" in said[0]["error"]
    assert all("is not an http or https URL" in one["error"] for one in said[1:])


def test_full_chunks_allocate_nothing(serve, on_device) -> None:
    server = serve(lambda _: ok(b"x" * 65536))
    assert json.loads(on_device("http_client", "no_garbage", server.url))["full"] == 8


def repository(files: dict[str, bytes]) -> Answer:
    def answer(request: str) -> bytes:
        name = request.split()[1].removeprefix("/metadata/")
        return ok(files[name], f'ETag: "{name}"\r\n') if name in files else ok(b"not here", "", "404 Not Found")

    return answer


def test_the_compressed_twin_first(serve, metadata) -> None:
    server = serve(repository({"5.root.json.z": packed(b"root" * 100), "5.root.json": b"plain"}))
    said = metadata("5.root.json", server.url)
    assert said["text"] == "root" * 100
    assert said["etag"] == 'z"5.root.json.z"'
    assert len(server.requests) == 1


def test_without_a_twin_the_plain_file(serve, metadata) -> None:
    server = serve(repository({"timestamp.json": b"plain"}))
    assert metadata("timestamp.json", server.url) == {"text": "plain", "etag": 'p"timestamp.json"', "first": server.url}
    assert server.connections == 1


@pytest.mark.parametrize("twin", [b"<html>login</html>", packed(b"x" * 500)[:-9], b"x" * 9000, b""])
def test_a_twin_that_is_none(twin: bytes, serve, metadata) -> None:
    server = serve(repository({"timestamp.json.z": twin, "timestamp.json": b"plain"}))
    assert metadata("timestamp.json", server.url)["text"] == "plain"


def test_a_twin_that_unpacks_without_end(serve, metadata) -> None:
    server = serve(repository({"timestamp.json.z": packed(b"\0" * 2_000_000), "timestamp.json": b"plain"}))
    assert "E_LENGTH" in metadata("timestamp.json", server.url)["error"]


def test_the_etag_asks_for_its_own_file(serve, metadata) -> None:
    server = serve(lambda request: b"HTTP/1.1 304 Not Modified\r\n\r\n" if '"t"' in request else ok(b"new"))
    assert metadata("timestamp.json", server.url, etag='z"t"')["etag"] is None
    assert metadata("timestamp.json", server.url, etag='p"t"')["etag"] is None
    assert [request.split()[1] for request in server.requests] == [
        "/metadata/timestamp.json.z",
        "/metadata/timestamp.json",
    ]


def test_places_in_order(serve, metadata) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    broken = serve(lambda _: ok(b"oops", "", "500 Internal Server Error"))
    portal = serve(lambda _: ok(b"not here", "", "404 Not Found"))
    good = serve(repository({"timestamp.json": b"here"}))
    said = metadata("timestamp.json", dead, broken.url, portal.url, good.url)
    assert said["text"] == "here"
    assert said["first"] == good.url


def test_places_that_all_fail_are_named(serve, metadata) -> None:
    broken = serve(lambda _: ok(b"oops", "", "500 Internal Server Error"))
    said = metadata("timestamp.json", "http://127.0.0.1:1/", broken.url)["error"]
    assert said.startswith("E_NETWORK: no place answers: ")
    assert "connection refused" in said
    assert "status 500" in said
    missing = serve(lambda _: ok(b"", "", "404 Not Found"))
    assert "E_NOT_FOUND" in metadata("9.root.json", "http://127.0.0.1:1/", missing.url)["error"]
    assert "none is known" in metadata("9.root.json")["error"]


def test_plain_http_where_tls_fails_unless_forbidden(serve, metadata) -> None:
    server = serve(repository({"timestamp.json": b"plain"}))
    https = server.url.replace("http:", "https:")
    assert metadata("timestamp.json", https)["text"] == "plain"
    server.requests.clear()
    assert "E_NETWORK" in metadata("timestamp.json", https, tls_only=True)["error"]
    assert not any("GET" in request for request in server.requests)
