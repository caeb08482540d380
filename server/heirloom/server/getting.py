"""The command `get`: what to trust and where to look, when the command line does not say."""

from pathlib import Path

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.project import Project, find
from heirloom.server import get, report
from heirloom.signing import places
from heirloom.signing.keys import KeyStore
from heirloom.signing.repository import Repository


def run(board: str, channel: str, url: str | None, directory: Path, root: Path | None) -> None:
    """Fetch a release and say so.

    Raises:
        HeirloomError: As `get.get`; or there is neither an option nor a project to go by.
    """
    project = Project.load() if find() is not None else None
    named = [url] if url is not None else project.product.urls if project is not None else []
    if not named:
        raise UsageError("where is the repository?", "say --url, or run this in a project that names places")
    urls = [places.normalise(place) for place in named]
    report.fetched(get.get(board, channel, urls, directory, _root(project, root)))


def _root(project: Project | None, file: Path | None) -> bytes:
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as exc:
            raise os_error(exc, f"cannot read the root {file}") from exc
    if project is None:
        raise UsageError(
            "which root is to be trusted?", "say --root with the product's root.json, or run this in a project"
        )
    anchor = KeyStore(project.keys_dir()).anchor() or Repository(project.repository).read("1.root.json")
    if anchor is None:
        raise HeirloomError("the project has no root yet", "run `heirloom init`, or say --root")
    return anchor
