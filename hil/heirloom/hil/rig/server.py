"""The place where the devices of a test look for updates: any folder, over HTTP, with whoever stands in between."""

import hashlib
import re
from pathlib import Path

from heirloom.hil.demo.wire import Response, Wire

_RANGE = re.compile(r"bytes=(\d+)-")


class Server(Wire):
    """Serves the repository in `folder` on a loopback port of its own, as any static web host would.

    Attributes:
        folder: What is served; None: nobody answers for it (502).
        attack: Who touches the answers, or None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder

    def _ask(self, method: str, path: str, headers: list[tuple[str, str]]) -> Response:
        if self.folder is None or method != "GET":
            return Response(502, [], b"")
        asked = {name.lower(): value for name, value in headers}
        place = (self.folder / path.partition("?")[0].lstrip("/")).resolve()
        if not place.is_relative_to(self.folder.resolve()) or not place.is_file():
            return Response(404, [], b"")
        body = place.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        answered = [("ETag", tag), ("Date", _now())]
        if asked.get("if-none-match") == tag:
            return Response(304, answered, b"")
        wanted = _RANGE.fullmatch(asked.get("range", ""))
        if wanted and (start := int(wanted[1])) < len(body):
            span = ("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            return Response(206, [*answered, span], body[start:])
        return Response(200, answered, body)


def _now() -> str:
    from email.utils import formatdate

    return formatdate(usegmt=True)
