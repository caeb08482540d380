# mypy: ignore-errors
"""The port's `socket`: addresses are tuples, waiting lets callbacks run, and nothing but 127.0.0.1 is in reach."""

import io
import socket as _native
from select import POLLIN, POLLOUT
from select import poll as _poll
from socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET  # noqa: F401
from time import ticks_diff, ticks_ms

from micropython import const

_EAGAIN = const(11)
_EINPROGRESS = const(115)
_ETIMEDOUT = const(110)
_EHOSTUNREACH = const(113)
_ENOTCONN = const(107)
_IOCTL_FILENO = const(10)
_IOCTL_CLOSE = const(4)
_SLICE_MS = const(5)
_SO_ERROR = const(4)

IPPROTO_TCP = 6

# Set by the runner: network's _up, a dict "name" or "name:port" -> "127.0.0.1" or "127.0.0.1:port", esp32.
_up = None
_hosts = {}
_unknown_host = -2


def _configure(up, hosts, esp32):
    global _up, _hosts, _unknown_host
    _up, _hosts, _unknown_host = up, hosts, -202 if esp32 else -2


def _is_address(host):
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    port = int(port)
    if host == "localhost":
        host = "127.0.0.1"
    elif not _is_address(host):
        if not _up():
            raise OSError(_unknown_host)
        place = _hosts.get("%s:%d" % (host, port)) or _hosts.get(host)
        if place is None:
            raise OSError(_unknown_host)
        host, _, mapped = place.partition(":")
        port = int(mapped or port)
    return [(AF_INET, type or SOCK_STREAM, 0, "", (host, port))]


def _reach(address):
    host, port = address
    if not _up() or host != "127.0.0.1":
        raise OSError(_EHOSTUNREACH)
    return _native.getaddrinfo(host, port)[0][-1]


class socket(io.IOBase):  # noqa: N801 - MicroPython's name
    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=0, *, _accepted=None):
        self._s = _accepted or _native.socket(af, type)
        self._s.setblocking(False)
        self._timeout = None

    def _wait(self, events):
        """Returns when the socket is ready, or raises at its timeout (EAGAIN for a non-blocking one)."""
        if self._timeout == 0:
            raise OSError(_EAGAIN)
        waiting = _poll()
        waiting.register(self._s, events)
        start = ticks_ms()
        while not waiting.poll(_SLICE_MS):
            if self._timeout is not None and ticks_diff(ticks_ms(), start) >= self._timeout:
                raise OSError(_ETIMEDOUT)

    def _retry(self, events, function, *arguments):
        while True:
            try:
                result = function(*arguments)
                if result is not None:
                    return result
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise
            self._wait(events)

    def connect(self, address):
        place = _reach(address)
        try:
            self._s.connect(place)
        except OSError as error:
            if error.errno != _EINPROGRESS or self._timeout == 0:
                raise
            self._wait(POLLOUT)
            try:
                self._s.connect(place)  # says how the attempt ended
            except OSError as final:
                if final.errno != 106:  # EISCONN: it worked
                    raise

    def bind(self, address):
        self._s.bind(_native.getaddrinfo("127.0.0.1", address[1])[0][-1])

    def listen(self, backlog=2):
        self._s.listen(backlog)

    def accept(self):
        while True:
            try:
                return socket(_accepted=self._s.accept()[0]), ("127.0.0.1", 0)
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise
            self._wait(POLLIN)

    def settimeout(self, seconds):
        self._timeout = None if seconds is None else int(seconds * 1000)

    def setblocking(self, flag):
        self._timeout = None if flag else 0

    def setsockopt(self, level, option, value):
        if level == SOL_SOCKET and option == SO_REUSEADDR:
            self._s.setsockopt(level, option, value)

    def recv(self, size):
        return self._retry(POLLIN, self._s.recv, size)

    def recvfrom(self, size):
        return self.recv(size), ("127.0.0.1", 0)

    def send(self, data):
        return self._retry(POLLOUT, self._s.send, data)

    def sendall(self, data):
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += self.send(view[done:])

    def sendto(self, data, address):
        return self._s.sendto(data, _reach(address))

    def readinto(self, buffer, size=-1):
        if self._timeout == 0:
            return self._s.readinto(buffer) if size < 0 else self._s.readinto(buffer, size)
        wanted = len(buffer) if size < 0 else size
        view = memoryview(buffer)
        done = 0
        while done < wanted:
            got = self._retry(POLLIN, self._s.readinto, view[done:wanted] if done else view[:wanted])
            if not got:
                break
            done += got
        return done

    def read(self, size=-1):
        if self._timeout == 0:
            return self._s.read(size) if size >= 0 else self._s.read()
        parts = b""
        while size < 0 or len(parts) < size:
            part = self.recv(1024 if size < 0 else size - len(parts))
            if not part:
                break
            parts += part
        return parts

    def readline(self, size=-1):
        line = b""
        while size < 0 or len(line) < size:
            try:
                char = self.recv(1)
            except OSError as error:
                if error.errno == _EAGAIN:
                    return line or None
                raise
            line += char
            if not char or char == b"\n":
                break
        return line

    def write(self, data, size=-1):
        if size >= 0:
            data = memoryview(data)[:size]
        if self._timeout == 0:
            return self._s.write(data)
        self.sendall(data)
        return len(data)

    def makefile(self, mode="rb", buffering=0):
        return self

    def fileno(self):
        return self._s.fileno()

    def close(self):
        self._s.close()

    def ioctl(self, request, argument):
        if request == _IOCTL_FILENO:
            return self._s.fileno()
        if request == _IOCTL_CLOSE:
            self._s.close()
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
