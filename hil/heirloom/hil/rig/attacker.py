"""Somebody on the wire between a device and its server, for tests of one's own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from heirloom.hil.demo import attacker
from heirloom.hil.demo.wire import Response
from heirloom.hil.rig.server import Server


class Attacker:
    """Changes what the device is told. One attack at a time; `leave` ends it.

    Args:
        server: Whose answers are changed.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def leave(self) -> None:
        """The answers are true again."""
        self._server.attack = None

    def flip_blobs(self) -> None:
        """One bit in the middle of every file of a release is another."""
        self._server.attack = attacker.replace_blobs()

    def change_metadata(self, name: str, **changes: object) -> None:
        """The signed part of a metadata file, as in "timestamp.json", says something else."""
        self._server.attack = attacker.replace_metadata(name, changes)

    def replay(self, repository: Path) -> None:
        """The whole repository is the one that was copied to this folder before."""
        files = {path.name: path.read_bytes() for path in (repository / "metadata").glob("*.json")}
        self._server.attack = attacker.serve_instead(files)

    def serve(self, files: Mapping[str, bytes]) -> None:
        """Files by their last name are others."""
        self._server.attack = attacker.serve_instead(files)

    def portal(self) -> None:
        """A captive portal: every answer is a page."""
        page = b"<!doctype html><title>Welcome</title><p>Please accept our terms."
        headers = [("Content-Type", "text/html")]
        self._server.attack = lambda _path, truth: replace(truth, status=200, headers=headers, body=page)

    def stop_in_the_middle(self, part: str = "/blobs/") -> None:
        """Answers whose path contains `part` end half-way."""

        def attack(path: str, truth: Response) -> Response:
            return replace(truth, body=truth.body[: len(truth.body) // 2]) if part in path else truth

        self._server.attack = attack
