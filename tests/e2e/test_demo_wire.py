"""The demo's wire: it passes answers on unchanged, counts bytes as they travel, and lets an attacker in."""

import http.client
import socket
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from heirloom.cli.errors import RigTrouble
from heirloom.hil.demo import attacker
from heirloom.hil.demo.wire import Response, Wire


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/aa").write_bytes(b"0123456789")
    (tmp_path / "timestamp.json").write_bytes(b'{"signatures":[],"signed":{"version":3}}')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with Wire(f"http://127.0.0.1:{server.server_address[1]}/") as wire:
        yield wire
    server.shutdown()
    server.server_close()
    thread.join()


def get(wire: Wire, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(wire.url).netloc, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_passes_on_what_the_server_says(wire: Wire) -> None:
    assert get(wire, "/blobs/aa") == (200, b"0123456789")
    assert get(wire, "/blobs/none")[0] == 404
    assert wire.overheard("/blobs/aa") == b"0123456789"
    assert wire.since(0).blobs() == {"aa"}


def test_counts_every_byte_of_the_connection(wire: Wire) -> None:
    target = urlsplit(wire.url)
    assert target.hostname is not None
    request = b"GET /blobs/aa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = 0
    with socket.create_connection((target.hostname, target.port or 0), timeout=5) as connection:
        connection.sendall(request)
        while block := connection.recv(4096):
            received += len(block)
    (exchange,) = wire.since(0).exchanges
    assert (exchange.sent_bytes, exchange.received_bytes) == (len(request), received)


def test_without_a_server_it_says_bad_gateway() -> None:
    with Wire("http://127.0.0.1:1/") as wire:
        assert get(wire, "/x")[0] == 502
        wire.upstream = None
        assert get(wire, "/x")[0] == 502


def test_attacks_change_only_what_they_aim_at(wire: Wire) -> None:
    wire.attack = attacker.replace_blobs()
    status, body = get(wire, "/blobs/aa")
    assert status == 200
    assert len(body) == 10
    assert body != b"0123456789"
    assert get(wire, "/timestamp.json")[1].endswith(b'"version":3}}')
    assert [one.path for one in wire.since(0).tampered] == ["/blobs/aa"]
    assert wire.overheard("/blobs/aa") == b"0123456789"


def test_replaced_metadata_and_its_twin_say_the_same() -> None:
    attack = attacker.replace_metadata("timestamp.json", {"version": 4})
    true = b'{"signatures":[],"signed":{"version":3}}'
    false = b'{"signatures":[],"signed":{"version":4}}'
    assert attack("/metadata/timestamp.json", Response(200, [], true)).body == false
    assert zlib.decompress(attack("/metadata/timestamp.json.z", Response(200, [], zlib.compress(true))).body) == false
    assert attack("/metadata/1.root.json", Response(200, [], true)).body == true
    assert attack("/metadata/timestamp.json", Response(404, [], b"")).status == 404


def test_replay_answers_a_conditional_request_in_full() -> None:
    attack = attacker.serve_instead({"timestamp.json": b"old"})
    answer = attack("/metadata/timestamp.json", Response(304, [("ETag", "x")], b""))
    assert answer == Response(200, [], b"old")
    assert zlib.decompress(attack("/metadata/timestamp.json.z", Response(304, [], b"")).body) == b"old"


def test_polls_are_waited_for(wire: Wire) -> None:
    mark = wire.mark()
    get(wire, "/timestamp.json")
    assert len(wire.wait_for_polls(mark, 1).polls) == 1
    with pytest.raises(RigTrouble, match="1 of 2 polls"):
        wire.wait_for_polls(mark, 2, timeout_s=0.05)
