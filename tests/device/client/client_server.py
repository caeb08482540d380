"""A server on loopback that answers every request as a test wants it, byte by byte, with or without TLS."""

import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable

Answer = Callable[[str], bytes | list[bytes | float] | None]

DATE = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


class Server:
    """Answers every request with what `answer` says: bytes, or pieces with pauses (seconds) between; None closes."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._tls = tls
        self.requests: list[str] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as speaking:
                    while self._serve_one(speaking):
                        pass
            except OSError:
                pass

    def _serve_one(self, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(4096)
            if not more:
                return False
            request += more
        text = request.decode()
        self.requests.append(text)
        answer = self.answer(text)
        if answer is None:
            return False
        for piece in answer if isinstance(answer, list) else [answer]:
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                connection.sendall(piece)
        return b"close" not in (
            answer if isinstance(answer, bytes) else b"".join(p for p in answer if isinstance(p, bytes))
        )


def ok(body: bytes, head: str = "", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{DATE}Content-Length: {len(body)}\r\n{head}\r\n".encode() + body


def packed(data: bytes) -> bytes:
    """NAME.z of metadata: zlib with the window that a small device has room for."""
    compressor = zlib.compressobj(wbits=10)
    return compressor.compress(data) + compressor.flush()
