"""The wire between the device and the server: an HTTP proxy that counts what passes and lets an attacker touch it."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Self, cast
from urllib.parse import urlsplit

from heirloom.cli.errors import RigTrouble

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_TIMEOUT_S = 10
_GLANCE_S = 0.02


@dataclass(frozen=True)
class Response:
    """What the server answered, or what the device shall believe that it answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def with_body(self, body: bytes) -> "Response":
        """The same answer with another body and without its ETag, as a complete document."""
        return replace(self, status=200, headers=_without(self.headers, "etag", "content-range"), body=body)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, with the bytes of both as they went over the wire, headers included."""

    method: str
    path: str
    status: int
    sent_bytes: int
    received_bytes: int
    tampered: bool


# Gets the path of a request and the true answer; returns the answer that the device gets.
Attack = Callable[[str, Response], Response]


@dataclass
class Traffic:
    """Exchanges of one span of time."""

    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def wire_bytes(self) -> int:
        """Bytes of HTTP in both directions together."""
        return sum(exchange.sent_bytes + exchange.received_bytes for exchange in self.exchanges)

    @property
    def tampered(self) -> list[Exchange]:
        """Exchanges whose answer an attacker changed."""
        return [exchange for exchange in self.exchanges if exchange.tampered]

    def of(self, part: str) -> list[Exchange]:
        """Successful exchanges whose path contains `part`."""
        return [one for one in self.exchanges if part in one.path and one.status in (200, 206)]

    @property
    def polls(self) -> list[Exchange]:
        """Requests for the timestamp, with which every update check begins."""
        return [one for one in self.exchanges if "/timestamp.json" in one.path]

    def blobs(self) -> set[str]:
        """Hashes of the blobs that were moved."""
        return {one.path.rpartition("/")[2].removesuffix(".z") for one in self.of("/blobs/")}


class Wire:
    """A proxy on a loopback port of its own, in front of `upstream`.

    Attributes:
        port, url: Where devices reach it.
        upstream: Base URL of the real server; None while there is none (502).
        attack: Who touches the answers, or None.
    """

    def __init__(self, upstream: str | None = None) -> None:
        self.upstream = upstream
        self.attack: Attack | None = None
        self._exchanges: list[Exchange] = []
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.wire = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def mark(self) -> int:
        """A point in time for `since`."""
        with self._lock:
            return len(self._exchanges)

    def since(self, mark: int) -> Traffic:
        """What passed since `mark`."""
        with self._lock:
            return Traffic(self._exchanges[mark:])

    def wait_for_polls(self, mark: int, count: int, timeout_s: float = 20.0) -> Traffic:
        """Wait until devices have polled so often since `mark`; returns what passed since then.

        Raises:
            RigTrouble: They did not.
        """
        deadline = time.monotonic() + timeout_s
        while len((traffic := self.since(mark)).polls) < count:
            if time.monotonic() > deadline:
                raise RigTrouble(f"{len(traffic.polls)} of {count} polls in {timeout_s:g} s")
            time.sleep(_GLANCE_S)
        return traffic

    def overheard(self, path: str) -> bytes | None:
        """The newest true body that passed for `path`, as anyone on the network could have kept it."""
        with self._lock:
            return self._bodies.get(path)

    def relay(self, method: str, path: str, headers: list[tuple[str, str]]) -> tuple[Response, bool]:
        """Returns what goes to the device (the true answer unless someone attacks), and whether it is false."""
        attack = self.attack
        if attack is not None:
            # Who wants to lie cannot use "not modified".
            headers = _without(headers, "if-none-match")
        truth = self._ask(method, path, headers)
        if truth.status == 200:
            with self._lock:
                self._bodies[path] = truth.body
        if attack is None:
            return truth, False
        answer = attack(path, truth)
        return answer, answer is not truth

    def record(self, exchange: Exchange) -> None:
        """Count one exchange."""
        with self._lock:
            self._exchanges.append(exchange)

    def _ask(self, method: str, path: str, headers: list[tuple[str, str]]) -> Response:
        if self.upstream is None:
            return Response(502, [], b"")
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(target.netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target.path.rstrip("/") + path, headers=dict(headers))
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            return Response(answer.status, kept, answer.read())
        except (OSError, http.client.HTTPException):
            return Response(502, [], b"")
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    wire: Wire

    def handle_error(self, request: object, client_address: object) -> None:
        """A device that loses its power closes the connection as it likes; that is no error here."""


class _Counted:
    """The reading side of a connection, counting."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self.count = 0

    def readline(self, limit: int = -1) -> bytes:
        line = self._stream.readline(limit)
        self.count += len(line)
        return line

    def close(self) -> None:
        self._stream.close()

    @property
    def closed(self) -> bool:
        return self._stream.closed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S

    def setup(self) -> None:
        super().setup()
        self._counted = _Counted(self.rfile)
        self.rfile = cast("BufferedIOBase", self._counted)

    def do_GET(self) -> None:
        self._pass_on()

    def log_message(self, format: str, *args: object) -> None:
        """The story tells what happens; a log on stderr would only disturb it."""

    def _pass_on(self) -> None:
        wire = cast("_Server", self.server).wire
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP]
        response, tampered = wire.relay(self.command, self.path, kept)
        sent = self._counted.count
        self._counted.count = 0
        head = self._head(response)
        received = len(head) + len(response.body)
        wire.record(Exchange(self.command, self.path, response.status, sent, received, tampered))
        self.wfile.write(head + response.body)

    def _head(self, response: Response) -> bytes:
        reason = http.client.responses.get(response.status, "")
        lines = [f"HTTP/1.1 {response.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if response.status != 304:
            lines.append(f"Content-Length: {len(response.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]
