"""A bounded HTTP/1.1 client: one connection at a time, kept alive, and nothing a server says is believed.

Waiting is bounded: so many seconds without a byte, a lowest rate of the body over the whole answer, so that a server
that trickles cannot hold a device for hours, and where `within()` says so, a time for all that is asked. Reading into a
full buffer allocates nothing.
"""

import select
import socket
import time

from micropython import const

from heirloom.device.errors import E_NETWORK, UpdateError
from heirloom.device.urls import head, joined, split, tls_context

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Union

    Target = Union[bytearray, memoryview]

_BUFFER_BYTES = const(512)
_LINE_BYTES = const(1024)
_HEADER_LINES = const(64)
_IDLE_MS = const(10000)
_GRACE_MS = const(20000)  # from here on an answer must come at 1 byte a millisecond
_REDIRECTS = const(3)
_HINTS = const(4)
_ETIMEDOUT = const(110)
_ECONNRESET = const(104)
_REASONS = {
    -2: "name not found",
    12: "out of memory",
    104: "cut short",
    110: "timed out",
    111: "connection refused",
    113: "no route",
}


class Http:
    """One client. `sent`, `received` and `requests` count bytes of HTTP and requests; `date` is the newest answer's."""

    # Of one answer, set when it is asked for: where `buffer` is read and filled, since when, and how many bytes of the
    # body came. They alone buy time: a head or trailers without end do not.
    start: int
    end: int
    came: int
    _began: "Any"

    def __init__(self, idle_ms: int = _IDLE_MS, grace_ms: int = _GRACE_MS) -> None:
        self.sent = 0
        self.received = 0
        self.requests = 0
        self.date = ""
        self.open_body = False  # the last answer was not read to its end
        self.buffer = bytearray(_BUFFER_BYTES)
        self._idle_ms = idle_ms
        self._grace_ms = grace_ms
        self._peer: "tuple[bool, str, int] | None" = None
        self._sockets: "list[Any]" = []
        self._poller: "Any" = None
        self._until: "Any" = None  # ticks: when all of it must be over

    def within(self, seconds: int) -> None:
        """All that is asked from now on must be answered within so many seconds; 0: as long as each takes."""
        self._until = time.ticks_add(time.ticks_ms(), seconds * 1000) if seconds else None

    def get(self, url: str, offset: int = 0, etag: str = "", tls_only: bool = False) -> "Response":
        """GETs a URL from byte `offset` on, following up to three redirects; the body is still to be read.

        With an etag the request is conditional. The status of the answer is any but a redirect. Raises UpdateError
        E_NETWORK.
        """
        for _ in range(_REDIRECTS + 1):
            if tls_only and not url.startswith("https:"):
                raise UpdateError(E_NETWORK, f"{url[:80]} has no TLS, which the owner asks for")
            response = self._get(url, offset, etag)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            url = joined(url, response.location)
        raise UpdateError(E_NETWORK, f"{url[:80]} redirects again and again")

    def _get(self, url: str, offset: int, etag: str) -> "Response":
        tls, host, port, path = split(url)
        while True:
            kept = self._peer == (tls, host, port) and not self.open_body
            try:
                if not kept:
                    self._connect(tls, host, port)
                self._send(host, port, path, offset, etag)
                return Response(self, offset)
            except (OSError, ValueError) as error:
                self.close()
                # A server may close a kept connection at any time: once more on a fresh one.
                if not kept:
                    raise network_error(error, url) from None

    def close(self) -> None:
        """Closes the connection, if there is one."""
        for sock in self._sockets:
            try:
                sock.close()
            except OSError:
                pass
        self._sockets = []
        self._peer = self._poller = None

    def _connect(self, tls: bool, host: str, port: int) -> None:
        self.close()
        self._check_until()
        address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][-1]
        sock = socket.socket()
        self._sockets = [sock]
        sock.settimeout(self._idle_ms / 1000)
        sock.connect(address)
        if tls:
            sock = tls_context().wrap_socket(sock, server_hostname=host)
            self._sockets.insert(0, sock)
        sock.setblocking(False)
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._peer = (tls, host, port)

    def _send(self, host: str, port: int, path: str, offset: int, etag: str) -> None:
        more = f"Range: bytes={offset}-\r\n" if offset else ""
        if etag:
            more += f"If-None-Match: {etag}\r\n"
        data = memoryview(head(host, port, path, more))
        self.requests += 1
        self.start = self.end = self.came = 0
        self._began = time.ticks_ms()
        while True:
            count = self._sockets[0].write(data) or 0
            self.sent += count
            data = data[count:]
            if not data:
                return
            self._check_time(self._began)
            time.sleep_ms(5)

    def _check_until(self) -> None:
        if self._until is not None and time.ticks_diff(time.ticks_ms(), self._until) > 0:
            raise OSError(_ETIMEDOUT)

    def _check_time(self, since: "Any") -> None:
        self._check_until()
        now = time.ticks_ms()
        if (
            time.ticks_diff(now, since) > self._idle_ms
            or time.ticks_diff(now, self._began) > self._grace_ms + self.came
        ):
            raise OSError(_ETIMEDOUT)

    def receive(self, buffer: "Target") -> int:
        """Reads what has come, at most a full buffer, waiting for the first byte; 0 at the end. Raises OSError."""
        since = time.ticks_ms()
        while True:
            self._check_time(since)
            count = self._sockets[0].readinto(buffer)
            if count is not None:
                self.received += count
                return int(count)
            for _ in self._poller.ipoll(500):
                pass

    def line(self) -> bytes:
        """The next line of a head, stripped. Raises OSError when it is too long or does not come."""
        out = b""
        while len(out) < _LINE_BYTES:
            end = self.buffer.find(b"\n", self.start, self.end) + 1
            out += self.buffer[self.start : end or self.end]
            self.start = end or self.end
            if end:
                return out.strip()
            self.start = 0
            self.end = self.receive(self.buffer)
            if not self.end:
                break
        raise OSError(_ECONNRESET)


class Response:
    """An answer. `offset` is the byte of the file at which the body starts, which is not always what was asked for.

    Raises OSError or ValueError when the head is not HTTP.
    """

    def __init__(self, http: Http, offset: int) -> None:
        self.etag = ""
        self.location = ""
        self._http = http
        self._left: "int | None" = None  # bytes of the body or of this chunk; None: until the connection ends
        self._chunked = False
        self.status = 100
        for _ in range(_HINTS + 1):
            if not 100 <= self.status < 200:  # those come before the answer (RFC 9110, 15.2)
                break
            words = http.line().split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
                raise ValueError("not HTTP")
            self.status = int(words[1])
            self._keep = words[0] == b"HTTP/1.1"
            self._read_head()
        self.offset = offset if self.status == 206 else 0
        if self.status in (204, 304):
            self._left, self._chunked = 0, False
        elif self._chunked:
            self._left = None
        http.open_body = True
        self._finish_when_empty()

    def _read_head(self) -> None:
        http = self._http
        for _ in range(_HEADER_LINES):
            line = http.line()
            if not line:
                return
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip()
            if name == b"content-length":
                self._left = int(value)
                if self._left < 0:
                    raise ValueError("length")
            elif name == b"transfer-encoding":
                self._chunked = value.lower() == b"chunked"
            elif name == b"etag":
                self.etag = str(value, "utf-8")
            elif name == b"location":
                self.location = str(value, "utf-8")
            elif name == b"date":
                http.date = str(value, "utf-8")
            elif name == b"connection" and value.lower() == b"close":
                self._keep = False
        raise ValueError("endless head")

    @property
    def length(self) -> "int | None":
        """How many bytes of the body are left, when the server said so."""
        return None if self._chunked else self._left

    def readinto(self, buffer: "Target") -> int:
        """Reads the next bytes of the body; 0 at its end.

        Raises UpdateError E_NETWORK when it is cut short or comes too slowly.
        """
        try:
            return self._read(buffer)
        except (OSError, ValueError) as error:
            self._http.close()
            raise network_error(error, "the server") from None

    def _read(self, buffer: "Target") -> int:
        http = self._http
        if not http.open_body:
            return 0
        if self._chunked and not self._left:
            self._next_chunk()
            if not http.open_body:
                return 0
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        count = min(wanted, http.end - http.start)
        if count:
            buffer[:count] = memoryview(http.buffer)[http.start : http.start + count]
            http.start += count
        else:
            count = http.receive(buffer if wanted == len(buffer) else memoryview(buffer)[:wanted])
            if not count and self._left is not None:
                raise OSError(_ECONNRESET)
        http.came += count
        if self._left is not None:
            self._left -= count
        elif not count:
            self._left = 0
        self._finish_when_empty()
        return count

    def _next_chunk(self) -> None:
        """Reads the length of the next chunk (RFC 9112, 7.1); trailers are skipped."""
        line = self._http.line()
        if self._left == 0:
            line = self._http.line()  # behind the chunk before was an empty line
        self._left = int(line.split(b";")[0], 16)
        if not 0 <= self._left < 1 << 31:
            raise ValueError("chunk")
        if not self._left:
            while self._http.line():
                pass
            self._chunked = False
            self._finish_when_empty()

    def _finish_when_empty(self) -> None:
        if self._left == 0 and not self._chunked:
            self._http.open_body = False
            if not self._keep:
                self._http.close()


def network_error(error: Exception, place: str) -> UpdateError:
    """What an exception of the network means: E_NETWORK, whose sentence names the place and the reason."""
    number = error.errno or 0 if isinstance(error, OSError) else 0
    return UpdateError(E_NETWORK, f"{place[:80]}: {_REASONS.get(number) or repr(error)}")
