"""Running the server: one process, one socket, and a thread that keeps the timestamp fresh."""

import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.server.app import make_app

_BACKLOG = 128
_KEEP_ALIVE_S = 15
_SHUTDOWN_S = 3
_START_S = 10.0

_BIND_ADVICE = {
    errno.EADDRINUSE: "another program listens there: name another port with --port, or 0 for any free one",
    errno.EACCES: "ports below 1024 are for the superuser: name a higher one with --port",
    errno.EADDRNOTAVAIL: "this machine does not have that address: name one of its own with --host",
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one.

    Raises:
        HeirloomError: The port is in use, the address is not of this machine, ...
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise HeirloomError(f"cannot listen on {host}: {exc.strerror or exc}", "check --host") from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        told = os_error(exc, f"cannot listen on {host} port {port}")
        raise HeirloomError(told.message, _BIND_ADVICE.get(exc.errno or 0, told.advice)) from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of what answers on `listener`, as a device on the same machine writes it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound to
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(repository: Path, *, log: bool = False) -> uvicorn.Server:
    """The server for a repository's folder, not running yet.

    Args:
        repository: The folder.
        log: One line for each request on stderr.
    """
    config = uvicorn.Config(
        make_app(repository),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=log,
        # A poll pays for every header; the date stays (RFC 9110 6.6.1 demands it).
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    if log:
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, force=True)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Server(config)


def run(server: uvicorn.Server, listener: socket.socket, announce: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is being answered and return.

    Args:
        server: From `make_server`.
        listener: From `listen`.
        announce: Called with the base URL, when stopping and asking both work.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it is done; these make that harmless.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        announce(url_of(listener))
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def serving(repository: Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread while the block runs (tests, demonstrations). Yields the base URL.

    Raises:
        HeirloomError: As `listen`.
    """
    listener = listen(host, port)
    server = make_server(repository)
    thread = threading.Thread(target=server.run, args=([listener],), name="heirloom-serve", daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise HeirloomError("the server did not start")
        time.sleep(0.005)
