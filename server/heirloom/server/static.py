"""The repository's folder over HTTP (RFC 9110): conditional requests, ranges, and few headers, for polls are many."""

import os
import re
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from fastapi import HTTPException
from fastapi.responses import FileResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from heirloom.server.store import FOLDERS

# Replaced at every publish; everything else keeps its content under its name for ever.
_MUTABLE = re.compile(r"metadata/(timestamp|root)\.json(\.z)?")
_CONTENT_ADDRESSED = re.compile(r"([0-9a-f]{64})(\..*)?")

_FRESH = "no-cache"
_FOR_EVER = "max-age=31536000, immutable"

# One range of bytes; several at once serve no device and cost the server (RFC 9110 14.2 allows to ignore them).
_RANGE = re.compile(rb"bytes=(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-[0-9]+)")

_MEDIA_TYPES = {
    ".json": "application/json",
    ".cbor": "application/cbor",
    ".z": "application/zlib",
    ".jsonl": "application/jsonl",
}
_TAG_DIGITS = 16
_NOT_FOUND = "", None


class RepositoryFiles(StaticFiles):
    """Serves metadata/, targets/, blobs/ and attestations/ of a folder that a publisher may be writing to.

    Files that get replaced are read whole by one open, so that length, tag and content belong together; the others
    are streamed, ranges included, by Starlette.
    """

    def __init__(self, repository: Path) -> None:
        # A repository that is not there yet is served as soon as it is.
        super().__init__(directory=repository, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await super().__call__(_without_odd_range(scope), receive, send)

    async def check_config(self) -> None:
        """Nothing: see `__init__`."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Hide everything but the public folders, names that begin with a dot, and what cannot be read."""
        parts = Path(path).parts
        if not parts or parts[0] not in FOLDERS or any(part.startswith(".") for part in parts):
            return _NOT_FOUND
        full_path, stat_result = super().lookup_path(path)
        return (full_path, stat_result) if os.access(full_path, os.R_OK) else _NOT_FOUND

    def file_response(
        self,
        full_path: "str | os.PathLike[str]",
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,  # noqa: ARG002 - Starlette's, for its pages about errors, which are not served here
    ) -> Response:
        """The file, or 304 if the client has it."""
        name = self.get_path(scope)
        path = Path(full_path)
        response = _whole(path) if _MUTABLE.fullmatch(name) else _streamed(path, stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


def _without_odd_range(scope: Scope) -> Scope:
    """Without a Range header that is not one valid range of bytes: it is ignored (RFC 9110 14.2)."""
    if scope["type"] != "http":
        return scope
    return {**scope, "headers": [item for item in scope["headers"] if item[0] != b"range" or _is_range(item[1])]}


def _is_range(value: bytes) -> bool:
    match = _RANGE.fullmatch(value.strip())
    return match is not None and not (match["last"] and int(match["last"]) < int(match["first"]))


def _whole(path: Path) -> Response:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None
    headers = {"etag": f'"{sha256(data).hexdigest()[:_TAG_DIGITS]}"', "cache-control": _FRESH}
    return Response(data, headers=headers, media_type=_media_type(path))


def _streamed(path: Path, stat_result: os.stat_result) -> Response:
    headers = {"etag": f'"{_tag(path, stat_result)}"', "cache-control": _FOR_EVER}
    return FileResponse(path, headers=headers, stat_result=stat_result, media_type=_media_type(path))


def _tag(path: Path, stat_result: os.stat_result) -> str:
    """The same on every mirror where the name says the content, so that a download resumes anywhere."""
    match = _CONTENT_ADDRESSED.fullmatch(path.name)
    if match is not None:
        return match[1][:_TAG_DIGITS] + ("z" if path.suffix == ".z" else "")
    seen = (stat_result.st_ino, stat_result.st_mtime_ns, stat_result.st_size)
    return sha256(repr(seen).encode()).hexdigest()[:_TAG_DIGITS]


def _media_type(path: Path) -> str:
    return _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
