"""Fetching contents that a verified manifest names by hash: bounded, resumable, verified before they get their name."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from heirloom.cli.errors import HeirloomError

_CHUNK = 64 * 1024
_TIMEOUT_S = 30.0
# Each attempt goes on where the one before was cut off.
_ATTEMPTS = 4
_PARTIAL = ".part"


class UnreachableError(Exception):
    """The place does not answer, or stops answering."""


class BlobFetcher:
    """Fetches blobs from one place into one folder.

    Args:
        url: Of the folder of blobs; ends with a slash.
        folder: Where they go, each named by its SHA-256.
        user_agent: How the client calls itself.
    """

    def __init__(self, url: str, folder: Path, user_agent: str) -> None:
        self._url = url
        self._folder = folder
        self._pool = _pool(url, {"User-Agent": user_agent})
        self.bytes_fetched = 0

    def fetch(self, sha256: bytes, length: int, on_bytes: Callable[[int], None]) -> None:
        """Have the blob in the folder, verified.

        Args:
            sha256: Of the content.
            length: Of the content in bytes; nothing beyond it is read.
            on_bytes: Called with each number of bytes that is there.

        Raises:
            HeirloomError: The place has no such blob, or another content.
            UnreachableError: It does not answer; what came is kept for the next time.
            OSError: The folder cannot be written.
        """
        path = self._folder / sha256.hex()
        part = path.with_name(path.name + _PARTIAL)
        if not _has(path, sha256, length):
            self._fetch_part(part, length)
            if not _has(part, sha256, length):
                # What lay here from an earlier run may have been bad: once more from the start.
                part.unlink()
                self._fetch_part(part, length)
            if not _has(part, sha256, length):
                part.unlink()
                raise HeirloomError(
                    f"{self._url}{path.name} is not the content that was signed for",
                    "somebody changed it; try another --url",
                )
            part.replace(path)
        on_bytes(length)

    def _fetch_part(self, part: Path, length: int) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._go_on(part, length):
                    return
                reason: object = "the connection was closed early"
            except urllib3.exceptions.HTTPError as exc:
                reason = getattr(exc, "reason", exc)
            if attempt == _ATTEMPTS:
                raise UnreachableError(str(reason))

    def _go_on(self, part: Path, length: int) -> bool:
        """Append to the partial file what is missing; whether it is complete now."""
        have = part.stat().st_size if part.exists() else 0
        if have >= length and part.exists():
            return True
        headers = {"Range": f"bytes={have}-"} if have else {}
        name = part.name.removesuffix(_PARTIAL)
        response = self._pool.request(
            "GET", self._url + name, headers=headers, preload_content=False, timeout=_TIMEOUT_S, redirect=True
        )
        try:
            resumed = response.status == 206 and _range_start(response.headers.get("Content-Range", "")) == have
            if not resumed and response.status != 200:
                part.unlink(missing_ok=True)
                raise HeirloomError(
                    f"{self._url}{name}: HTTP status {response.status}", "the repository lacks a content"
                )
            with part.open("ab" if resumed else "wb") as stream:
                return self._copy(response, stream.write, length - have if resumed else length)
        finally:
            response.release_conn()

    def _copy(self, response: urllib3.BaseHTTPResponse, write: Callable[[bytes], object], missing: int) -> bool:
        for chunk in response.stream(_CHUNK, decode_content=False):
            self.bytes_fetched += len(chunk)
            write(chunk[:missing])
            missing -= len(chunk)
            if missing < 0:
                response.close()
                break
        return missing <= 0


def _range_start(content_range: str) -> int | None:
    unit, _, rest = content_range.partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isascii() and first.isdigit() else None


def _has(path: Path, sha256: bytes, length: int) -> bool:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    return len(data) == length and hashlib.sha256(data).digest() == sha256


def _pool(url: str, headers: dict[str, str]) -> urllib3.PoolManager:
    """Connections to the place, through a proxy if the environment names one."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, headers=headers)
    return urllib3.PoolManager(headers=headers)
