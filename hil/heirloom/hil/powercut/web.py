"""A static web host, as simple as they come: what a repository needs and nothing more (promise P9)."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_TIMEOUT_S = 15


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve a folder on a loopback port of its own, which is yielded."""
    server = _Server(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    def handle_error(self, request: object, client_address: object) -> None:
        """A device that loses its power closes the connection as it likes; that is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        path = self.server.files.get(unquote(urlsplit(self.path).path).lstrip("/"))
        if path is None:
            self._answer(404, b"")
            return
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        begin = self._begin()
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, b"", tag)
        elif 0 < begin < len(data):
            self._answer(206, data[begin:], tag, f"bytes {begin}-{len(data) - 1}/{len(data)}")
        elif begin:
            self._answer(416, b"", tag, f"bytes */{len(data)}")
        else:
            self._answer(200, data, tag)

    def _begin(self) -> int:
        """Where a download goes on: of ranges, the client only asks for all from a byte on."""
        text = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        return int(text) if text.isdigit() else 0

    def _answer(self, status: int, body: bytes, tag: str = "", piece: str = "") -> None:
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        if piece:
            self.send_header("Content-Range", piece)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
