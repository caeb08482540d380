"""HTTP GET over plain sockets, one connection for each request, and a Fetcher of the verification core upon it."""

import socket

from heirloom.device.errors import E_NETWORK, E_NOT_FOUND, UpdateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

_TIMEOUT_S = 20
_CHUNK = 1024


def get(url: str, write: "Callable[[Any], object]") -> None:
    """Fetches a file and writes its body piece by piece.

    Raises UpdateError E_NOT_FOUND when the server says 403, 404 or 410, E_NETWORK for any other failure.
    """
    try:
        connection = _connect(url)
        try:
            _receive(connection, url, write)
        finally:
            connection.close()
    except OSError as error:
        raise UpdateError(E_NETWORK, f"{url} cannot be reached: {error}") from None


def _connect(url: str) -> "Any":
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if scheme != "http":
        raise UpdateError(E_NETWORK, f"{url} is not an http URL")
    name, _, port = host.partition(":")
    address = socket.getaddrinfo(name, int(port or "80"), 0, socket.SOCK_STREAM)[0][-1]
    connection = socket.socket()
    connection.settimeout(_TIMEOUT_S)
    connection.connect(address)
    connection.send(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    return connection


def _receive(connection: "Any", url: str, write: "Callable[[Any], object]") -> None:
    # MicroPython's sockets are streams. (makefile would give a second owner of the descriptor, which closes it
    # again when it is collected.)
    status = connection.readline().split()
    length: "Optional[int]" = None
    while True:
        line = connection.readline().strip().lower()
        if not line:
            break
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    if len(status) < 2 or status[1] != b"200":
        code = E_NOT_FOUND if status[1:2] in ([b"403"], [b"404"], [b"410"]) else E_NETWORK
        raise UpdateError(code, f"{url}: the server answers {status[1:2]}")
    received = 0
    while length is None or received < length:
        piece = connection.read(_CHUNK)
        if not piece:
            break
        received += len(piece)
        write(piece)
    if length is not None and received < length:
        raise UpdateError(E_NETWORK, f"{url}: the connection ended after {received} of {length} bytes")


class HttpFetcher:
    """See protocols.Fetcher; no conditional requests."""

    def __init__(self, base: str) -> None:
        """base: URL of the folder of the metadata."""
        self._base = base if base.endswith("/") else base + "/"

    def fetch(self, name: str, limit: int, sink: "Any", etag: "Optional[str]" = None) -> "Optional[str]":  # noqa: ARG002
        """See protocols.Fetcher."""
        get(self._base + name, sink.write)
        return ""
