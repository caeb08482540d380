"""A program that QEMU starts for each connection of its guest: it leads to one port of this machine, and to no other.

stdin and stdout are the guest's side. Needs nothing but the standard library, so it starts quickly: `python -I -S`.
"""

import select
import socket
import sys

_BYTES = 16384


def main() -> None:
    """Argument: the port."""
    guest = socket.socket(fileno=sys.stdin.fileno())
    try:
        server = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    except OSError:
        sys.exit(1)
    server.settimeout(None)
    others = {guest: server, server: guest}
    while others:
        for source in select.select(list(others), [], [])[0]:
            data = source.recv(_BYTES)
            if data:
                others[source].sendall(data)
                continue
            if source is server:  # nothing more will come
                return
            del others[source]
            server.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    try:
        main()
    except OSError:
        sys.exit(1)
