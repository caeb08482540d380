"""Brings the blobs of a verified release while the application runs, as a task in its event loop.

main.py has checked the release and left its manifest staged; signatures would block the loop for longer than an
application can wait, so none is checked here. This only fetches, a kibibyte at a time with the loop in between: patches
where the old file is here, else the files, each to where install() looks for it. Then the device resets, and main.py
checks all anew, hashes all and activates: nothing that this leaves behind is trusted.
"""

import asyncio
import hashlib
import os
import time

import heirloom_boot
from micropython import const

from heirloom.device import urls
from heirloom.device.blobs import load, partial_of, path_of, size
from heirloom.device.errors import E_HASH, E_LENGTH, E_NETWORK, UpdateError
from heirloom.device.store import remove

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator

    from heirloom.device.manifest import Manifest

STAGING = "/heirloom/slots/staging.cbor"
_CHUNK_BYTES = const(1024)
_FLUSH_BYTES = const(4096)  # a block: flushing more at once would block the loop for longer
_PATIENCE_S = const(20)
_HEADER_LINES = const(64)
_LINE_BYTES = const(1024)
_BYTE_MS = const(8)  # the longest that a byte may take; the application needs its loop, too


async def fetch(bases: "list[str]", tls_only: bool) -> int:
    """Fetches what is missing from the first place that has it; returns the bytes that came. Raises UpdateError."""
    manifest = load(STAGING)
    came = 0
    for length, sha256, named in wanted(manifest):
        last: "Any" = UpdateError(E_NETWORK, "no place is known")
        for base in bases:
            try:
                came += await _blob(base, tls_only, length, sha256)
                last = None
                break
            except (UpdateError, OSError, ValueError, asyncio.TimeoutError) as error:
                last = error if isinstance(error, UpdateError) else UpdateError(E_NETWORK, f"{base[:80]}: {error!r}")
        if last:
            raise last
        if named:
            os.rename(partial_of(sha256), path_of(sha256))
    return came


def wanted(manifest: "Manifest") -> "Iterator[tuple[int, bytes, bool]]":
    """(length, sha256, whether it gets its name) of each blob that is missing, or of the patch that makes it."""
    seen = []
    for _, length, sha256 in manifest.files:
        if size(path_of(sha256)) == length or sha256 in seen:
            continue
        seen.append(sha256)
        choice = None
        if manifest.patches:
            from heirloom.device.patched import choose

            choice = choose(manifest, sha256, lambda old: size(path_of(old)) >= 0)
        if choice and choice[1] < length - max(0, size(partial_of(sha256))):
            yield choice[1], choice[2], False
        else:
            yield length, sha256, True


async def _blob(base: str, tls_only: bool, length: int, sha256: bytes) -> int:
    """Has a blob whole and hashed at partial_of(sha256), going on where an earlier try stopped."""
    partial = partial_of(sha256)
    before = max(0, size(partial))
    if before < length:
        await _download(base + "blobs/" + path_of(sha256).rsplit("/", 1)[1], tls_only, partial, before, length)
    if size(partial) != length or await _digest(partial) != sha256:
        remove(partial)
        raise UpdateError(E_HASH, f"blob {partial[-12:]}... differs from the hash the release names")
    return length - before


async def _digest(path: str) -> bytes:
    digest = hashlib.sha256()
    chunk = bytearray(_CHUNK_BYTES)
    view = memoryview(chunk)
    with open(path, "rb") as file:  # noqa: ASYNC230 - there is no other, and it is flash
        while True:
            count = file.readinto(chunk)
            if not count:
                return bytes(digest.digest())
            digest.update(view[:count])
            await asyncio.sleep_ms(0)


async def _download(url: str, tls_only: bool, path: str, offset: int, length: int) -> None:
    tls, host, port, where = urls.split(url)
    if tls_only and not tls:
        raise UpdateError(E_NETWORK, f"{url[:80]} has no TLS, which the owner asks for")
    opening = asyncio.open_connection(host, port, ssl=urls.tls_context() if tls else None)
    reader: "Any"
    writer: "Any"
    reader, writer = await asyncio.wait_for(opening, _PATIENCE_S)
    try:
        more = f"Range: bytes={offset}-\r\n" if offset else ""
        writer.write(urls.head(host, port, where, more + "Connection: close\r\n"))
        await writer.drain()
        if not await asyncio.wait_for(_starts_at(reader, offset), _PATIENCE_S):
            offset = 0
        with open(path, "r+b" if offset else "wb") as file:  # noqa: ASYNC230
            file.seek(offset)
            await _pour(reader, file, length - offset)
    finally:
        writer.close()


async def _starts_at(reader: "Any", offset: int) -> bool:
    """Reads the head of the answer; whether the body starts at the offset, else at the beginning of the file."""
    words = (await _line(reader)).split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] not in (b"200", b"206"):
        raise UpdateError(E_NETWORK, f"the server answers {words[1:2]}")
    for _ in range(_HEADER_LINES):
        line = (await _line(reader)).strip().lower()
        if not line:
            return bool(offset) and words[1] == b"206"
        if line.startswith(b"transfer-encoding:"):
            raise UpdateError(E_NETWORK, "the server sends in chunks")
    raise UpdateError(E_NETWORK, "the server's head has no end")


async def _line(reader: "Any") -> bytes:
    """A line of the head; readline() would take as much of the application's memory as a server likes to send."""
    line = b""
    while len(line) < _LINE_BYTES and line[-1:] != b"\n":
        byte = await reader.read(1)
        if not byte:
            break
        line += byte
    else:
        if line[-1:] == b"\n":
            return line
    raise UpdateError(E_NETWORK, "the server's head has a line without end")


async def _pour(reader: "Any", file: "Any", left: int) -> None:
    unflushed = came = 0
    began = time.ticks_ms()
    while left > 0:
        if time.ticks_diff(time.ticks_ms(), began) > _PATIENCE_S * 1000 + came * _BYTE_MS:
            raise UpdateError(E_NETWORK, "the server sends too slowly")  # no look is made meanwhile
        data = await asyncio.wait_for(reader.read(min(left, _CHUNK_BYTES)), _PATIENCE_S)
        if not data:
            raise UpdateError(E_LENGTH, f"a blob is {left} bytes shorter than signed")
        file.write(data)
        left -= len(data)
        came += len(data)
        unflushed += len(data)
        if unflushed >= _FLUSH_BYTES:
            file.flush()
            unflushed = 0
        await asyncio.sleep_ms(0)


def places() -> "list[str]":
    """The places that the last check knew."""
    return list(heirloom_boot.read_json("last").get("urls") or heirloom_boot.read_json("device.json").get("urls", ()))
