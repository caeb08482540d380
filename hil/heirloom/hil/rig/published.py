"""What the field runs: the content of the release that a channel points to, verified as any TUF client does it."""

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from heirloom import boards
from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.device.manifest import Manifest
from heirloom.hil.rig.server import Server


def read(project: Project | None, place: str | None, board: str) -> tuple[str, dict[str, bytes]] | str:
    """Version and files of the release on stable, or why there is none.

    Args:
        project: The maker's project; its first root is what is trusted.
        place: The repository, a folder or a URL; None: the project's folder `repository`, else its places.
        board: The board; for a simulated one, what the project publishes for a board with that chip.

    Raises:
        HeirloomError: The place does not answer, or does not verify.
    """
    if project is None:
        return "there is no project here: nothing is published"
    source = _like(project, board)
    if source is None:
        return f"the project has no board like {board}"
    if place is None and not (project.repository / "metadata" / "timestamp.json").exists():
        return "the project has not published anything yet"
    place = place or str(project.repository)
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        asked = ["get", source, "--out", folder, "--project", str(project.root)]
        if urlsplit(place).scheme in ("http", "https"):
            call([*asked, "--url", place])
        else:
            with Server(Path(place)) as server:
                call([*asked, "--url", server.url])
        return _content(Path(folder))


def _content(folder: Path) -> tuple[str, dict[str, bytes]]:
    manifest = Manifest.decode((folder / "manifest.cbor").read_bytes())
    found = {path: (folder / "blobs" / sha256.hex()).read_bytes() for path, _, sha256 in manifest.files}
    return manifest.version, found


def _like(project: Project, board: str) -> str | None:
    """The board of the project whose releases suit: itself, or one of the same chip (bytecode runs on either)."""
    if board in project.boards:
        return board
    try:
        chip = boards.load(board).chip
        same = [name for name, one in project.boards.items() if boards.load(name, one.definition).chip == chip]
    except HeirloomError:
        return None
    return same[0] if same else None
