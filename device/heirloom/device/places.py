"""Where the repository lies: several base URLs, tried in order, never trusted. The Fetcher of the verification core.

A place that answered stays the current one for the rest of the session, so that files of one moment come
from one place. TLS is privacy, not trust: when https fails, the same place is tried by http unless the owner
forbids it.
"""

import io

import deflate
from micropython import const

from heirloom.device.errors import E_NETWORK, E_NOT_FOUND, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.protocols import Answer, Sink, Transport

_CHUNK_BYTES = const(512)
_INFLATE_BYTES = const(8192)  # a longer compressed file is fetched plain, which streams
_WINDOW_BITS = const(10)
_MISSING = (403, 404, 410)  # object stores say 403 for what is not there


class Places:
    """The base URLs of one repository, each ending in a slash, the preferred first."""

    def __init__(self, http: "Transport", urls: "list[str]", tls_only: bool = False) -> None:
        self._http = http
        self._urls: "list[str]" = []
        self._refused: "list[str]" = []
        for url in urls:
            base = url if url.endswith("/") else url + "/"
            if base not in self._urls:
                self._urls.append(base)
        self._tls_only = tls_only
        self.versions: "dict[str, int]" = {}  # of the metadata that was verified with what came from here
        self._at = 0
        self._proven = False  # the current place has delivered something
        self._chunk = bytearray(_CHUNK_BYTES)
        self._view = memoryview(self._chunk)

    def __len__(self) -> int:
        return len(self._urls)

    def urls(self) -> "list[str]":
        """The base URLs, the current place first, those whose content was refused last."""
        return self._urls[self._at :] + self._urls[: self._at] + self._refused

    def date(self) -> str:
        """The Date header of the newest answer: what the network says that the time is."""
        return self._http.date

    def next(self) -> None:
        """Turns to the next place."""
        self._at = (self._at + 1) % len(self._urls)
        self._proven = False

    def refuse(self) -> None:
        """Asks the current place no more, because what it delivered was refused, and turns to the next one.

        Else a single place that answers everything with something of its own, as a portal or the new owner of a name
        does, would come into each search for a file that the others rightly do not have, such as the next root.
        """
        self._refused.append(self._urls.pop(self._at))
        self._at = self._at % (len(self._urls) or 1)
        self._proven = False

    def forgive(self) -> None:
        """Asks all places again, as at first."""
        self._urls = self.urls()
        self._refused = []
        self._at = 0
        self._proven = False

    def fetch(self, name: str, _limit: int, sink: "Sink", etag: "Optional[str]" = None) -> "Optional[str]":
        """Fetches the metadata file `name`; see protocols.Fetcher. The sink refuses what is over the limit."""

        def attempt() -> "Optional[str]":
            sink.restart()
            return self._fetch("metadata/" + name, sink, etag or "")

        return self._each(attempt, lambda: self._proven)  # type: ignore[no-any-return]

    def open(self, path: str, offset: int = 0) -> "Answer":
        """Opens a target or blob from byte `offset` on.

        Raises UpdateError E_NOT_FOUND when a place answered but none has it, E_NETWORK when none answered.
        """
        return self._each(lambda: self._get(path, offset), lambda: False)  # type: ignore[no-any-return]

    def read(self, path: str, limit: int) -> bytes:
        """The whole of a small file. Raises E_LENGTH when it is longer than `limit`."""
        sink = _Memory(limit)
        self._copy(self.open(path), sink)
        return bytes(sink.data)

    def _each(self, attempt: "Callable[[], Any]", final: "Callable[[], bool]") -> "Any":
        """Tries the places in turn; "not found" is the last word when `final` says so."""
        missing: "UpdateError | None" = None
        failures = []
        for _ in self._urls:
            try:
                result = attempt()
                self._proven = True
                return result
            except UpdateError as error:
                if error.code == E_NOT_FOUND:
                    if final():
                        raise
                    missing = error
                elif error.code == E_NETWORK:
                    failures.append(error.sentence)
                else:
                    raise
            self.next()
        raise missing or UpdateError(E_NETWORK, "no place answers: " + ("; ".join(failures) or "none is known"))

    def _fetch(self, path: str, sink: "Sink", etag: str) -> "Optional[str]":
        """An ETag carries a first letter: of NAME.z ("z") or of NAME ("p")."""
        if etag[:1] != "p":
            try:
                response = self._get(path + ".z", 0, etag[1:])
                if response.status == 304:
                    return None
                if self._inflate(response, sink):
                    return "z" + response.etag
            except UpdateError as error:
                if error.code != E_NOT_FOUND:  # a copy made without the twins is as good
                    raise
        response = self._get(path, 0, etag[1:] if etag[:1] == "p" else "")
        if response.status == 304:
            return None
        sink.restart()
        self._copy(response, sink)
        return "p" + response.etag

    def _get(self, path: str, offset: int = 0, etag: str = "") -> "Answer":
        url = self._urls[self._at]
        try:
            response = self._http.get(url + path, offset, etag, self._tls_only)
        except UpdateError:
            if self._tls_only or not url.startswith("https:"):
                raise
            plain = "http" + url[5:]
            response = self._http.get(plain + path, offset, etag)
            self._urls[self._at] = plain
        if response.status in _MISSING:
            response.readinto(self._chunk)  # a short body is read away, so that the connection can be kept
            raise UpdateError(E_NOT_FOUND, f"{url} has no {path}")
        if response.status not in (200, 206, 304):
            raise UpdateError(E_NETWORK, f"{url} answers {path} with status {response.status}")
        return response

    def _copy(self, response: "Answer", sink: "Any") -> None:
        while True:
            count = response.readinto(self._chunk)
            if not count:
                return
            sink.write(self._chunk if count == _CHUNK_BYTES else self._view[:count])

    def _inflate(self, response: "Answer", sink: "Sink") -> bool:
        """Whether the body was inflated into the sink; a body too long or damaged is left to the plain file."""
        if response.length is None or response.length > _INFLATE_BYTES:
            return False
        packed = bytearray(response.length)  # at once: growing, it would leave holes where nothing larger fits
        rest = memoryview(packed)
        while rest:
            count = response.readinto(rest)
            if not count:
                return False
            rest = rest[count:]
        try:
            stream = deflate.DeflateIO(io.BytesIO(packed), deflate.ZLIB, _WINDOW_BITS)
            while True:
                count = stream.readinto(self._chunk)
                if not count:
                    return True
                sink.write(self._view[:count])
        except (OSError, EOFError, ValueError):
            return False


class _Memory:
    """A sink in memory."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        if len(self.data) + len(data) > self._limit:
            raise UpdateError("E_LENGTH", f"longer than {self._limit} bytes")
        self.data.extend(data)
