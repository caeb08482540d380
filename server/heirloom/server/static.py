"""The repository's folder over HTTP (RFC 9110): conditional requests, ranges, and no header that a poll does not need."""

import os
import re
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from fastapi import HTTPException
from fastapi.responses import FileResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from heirloom.server.store import FOLDERS

# Replaced at every publish; everything else keeps its content under its name for ever.
_MUTABLE = re.compile(r"metadata/(timestamp|root)\.json(\.z)?")
_CONTENT_ADDRESSED = re.compile(r"([0-9a-f]{64})(\..*)?")

_FRESH = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"

_MEDIA_TYPES = {".json": "application/json", ".cbor": "application/cbor", ".z": "application/zlib"}
_TAG_DIGITS = 16


class RepositoryFiles(StaticFiles):
    """Serves metadata/, targets/ and blobs/ of a folder that a publisher may be writing to.

    Files that get replaced are read whole by one open, so that length, tag and content belong together; the others
    are streamed, ranges included, by Starlette.
    """

    def __init__(self, repository: Path) -> None:
        # A repository that is not there yet is served as soon as it is.
        super().__init__(directory=repository, check_dir=False)

    async def check_config(self) -> None:
        """Nothing: see `__init__`."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Hide everything but the three public folders, and names that begin with a dot."""
        parts = path.split(os.sep)
        if parts[0] not in FOLDERS or any(part.startswith(".") for part in parts):
            return "", None
        return super().lookup_path(path)

    def file_response(
        self, full_path: "str | os.PathLike[str]", stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file, or 304 if the client has it."""
        name = self.get_path(scope)
        if _MUTABLE.fullmatch(name):
            response = _whole(Path(full_path))
        else:
            response = _streamed(Path(full_path), stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


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


