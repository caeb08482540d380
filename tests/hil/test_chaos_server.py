"""The server of chaos itself: it is true where no trick is played, and plays the same tricks for a seed."""

import http.client
import socket
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from heirloom.cli.main import run
from heirloom.hil.chaos import TRICKS, ChaosServer
from heirloom.hil.chaos.tricks import ENDLESS_BYTES, Answer, Piece

BODY = bytes(range(256)) * 4


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "blob").write_bytes(BODY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def get(server: ChaosServer, path: str = "/blob") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_without_a_trick_it_tells_the_truth(upstream: str) -> None:
    with ChaosServer(upstream) as server:
        assert get(server) == (200, BODY)
        assert get(server, "/none")[0] == 404
        assert [one.trick for one in server.played] == ["", ""]


# http.client knows no 103 (RFC 8297), only 100.
@pytest.mark.parametrize(
    "name", [name for name, trick in TRICKS.items() if trick.harm == "none" and "hints" not in name]
)
def test_what_is_harmless_is_so_to_a_correct_client(upstream: str, name: str) -> None:
    with ChaosServer(upstream, lambda _path: TRICKS[name]) as server:
        assert get(server) == (200, BODY)
        assert [one.trick for one in server.played] == [name]


def pieces(name: str, seed: int) -> list[Piece]:
    return list(TRICKS[name].pieces(Answer(200, (("ETag", '"1"'),), BODY), Random(seed)))


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_the_same_for_a_seed_and_ends(name: str) -> None:
    first = pieces(name, 7)
    assert first == pieces(name, 7)
    assert sum(len(piece) for piece in first if isinstance(piece, bytes)) <= 2 * ENDLESS_BYTES


def test_hanging_up_is_a_reset_where_it_says_so(upstream: str) -> None:
    with (
        ChaosServer(upstream, lambda _path: TRICKS["reset"]) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection,
    ):
        connection.sendall(b"GET /blob HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(10)


def test_the_program(upstream: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["hil", "chaos"]) == 0
    assert "captive-portal" in capfd.readouterr().out
    assert run(["hil", "chaos", upstream, "--trick", "no-such"]) == 2
    assert "there is no trick no-such" in capfd.readouterr().err
    assert run(["hil", "chaos", upstream, "--seconds", "0.2", "--seed", "5"]) == 0
    assert "seed 5" in capfd.readouterr().out
