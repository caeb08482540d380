"""URLs and TLS, for the two HTTP clients: the one that fetches and the one that only looks."""

from micropython import const

from heirloom.device.errors import E_NETWORK, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any


def split(url: str) -> "tuple[bool, str, int, str]":
    """(TLS, host, port, path) of an http or https URL. Raises UpdateError E_NETWORK for anything else."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    port = 443 if scheme == "https" else 80
    if ":" in host:
        host, _, text = host.rpartition(":")
        port = int(text) if text.isdigit() else 0
    if scheme not in ("http", "https") or not host or not 0 < port < 65536 or not all(" " < c < "\x7f" for c in url):
        raise UpdateError(E_NETWORK, f"{url[:80]!r} is not an http or https URL")
    return scheme == "https", host, port, slash + path or "/"


def joined(url: str, target: str) -> str:
    """Where a redirect from a URL leads (RFC 3986, 5.2.2, but that dots in paths stay what they are)."""
    if "://" in target:
        return target
    if target.startswith("//"):
        return url[: url.find("/")] + target
    if url.find("/", 8) < 0:
        url += "/"
    return url[: url.find("/", 8) if target.startswith("/") else url.rfind("/") + 1] + target


def head(host: str, port: int, path: str, more: str) -> bytes:
    """A GET request; `more` are lines that end in CRLF."""
    where = host if port in (80, 443) else f"{host}:{port}"
    return f"GET {path} HTTP/1.1\r\nHost: {where}\r\n{more}\r\n".encode()


def tls_context() -> "Any":
    """TLS without authorities: it is for privacy, and trust comes from signed metadata."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE  # type: ignore[attr-defined]
    return context
