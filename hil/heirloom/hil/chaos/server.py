"""A loopback server in front of a repository that plays tricks on whom it answers, by a seed."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from heirloom.hil.chaos.tricks import CLOSE, RESET, Answer, Piece, Trick

_HEAD_BYTES = 16384
_TIMEOUT_S = 30.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}

# Chooses the trick for a path; None: the answer is true.
Choose = Callable[[str], Trick | None]


@dataclass(frozen=True)
class Played:
    """An answer that was given: the path, and the trick, if one was played."""

    path: str
    trick: str


class ChaosServer:
    """Listens on a loopback port of its own.

    Attributes:
        url: Where devices reach it.
        upstream: Base URL of the true repository.
        choose: Which trick is played on a path.
        played: What was answered so far.
    """

    def __init__(self, upstream: str, choose: Choose = lambda _path: None, *, seed: int = 0, port: int = 0) -> None:
        self.upstream = upstream.rstrip("/")
        self.choose = choose
        self.played: list[Played] = []
        self._seed = seed
        self._http = PoolManager(retries=False, timeout=_TIMEOUT_S)
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._open: set[socket.socket] = set()
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self._accept, name="chaos", daemon=True).start()

    def close(self) -> None:
        """Stop listening, and hang up."""
        self._ended.set()
        self._socket.close()
        for connection in list(self._open):
            connection.close()
        self._http.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.settimeout(_TIMEOUT_S)
            self._open.add(connection)
            threading.Thread(target=self._converse, args=(connection,), name="chaos", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                while not self._ended.is_set() and self._answer(connection):
                    pass
        except OSError:
            pass  # the device hung up
        finally:
            self._open.discard(connection)

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one request; whether the connection is kept."""
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(4096)
            if not more or len(request) > _HEAD_BYTES:
                return False
            request += more
        lines = request.decode("latin-1").split("\r\n")
        path = [*lines[0].split(), "", "/"][1]
        asked = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        trick = self.choose(path)
        self.played.append(Played(path, trick.name if trick else ""))
        if trick is None:
            truth = self._truth(path, asked)
            connection.sendall(truth.head(None, -1 if truth.status == 304 else None) + truth.body)
            return True
        # Who plays tricks is asked for the whole file each time: ranges and "not modified" are the truth's.
        coin = Random(f"{self._seed} {trick.name} {path}")  # noqa: S311 - a case that comes again, no secret
        return all(self._send(connection, piece) for piece in trick.pieces(self._truth(path, {}), coin))

    def _send(self, connection: socket.socket, piece: Piece) -> bool:
        """Whether the connection goes on after it."""
        if isinstance(piece, float):
            deadline = time.monotonic() + piece
            while not self._ended.is_set() and time.monotonic() < deadline:
                self._ended.wait(min(0.2, piece))
        elif isinstance(piece, bytes):
            connection.sendall(piece)
        elif piece is RESET:
            # SO_LINGER with no time: the kernel sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return piece not in (CLOSE, RESET) and not self._ended.is_set()

    def _truth(self, path: str, asked: dict[str, str]) -> Answer:
        passed = {name: value for name, value in asked.items() if name.lower() in ("range", "if-none-match")}
        try:
            said = self._http.request("GET", self.upstream + path, headers=passed, redirect=False, decode_content=False)
        except HTTPError:
            return Answer(502, (), b"")
        headers = tuple((name, value) for name, value in said.headers.items() if name.lower() not in _HOP_BY_HOP)
        return Answer(said.status, headers, said.data)
