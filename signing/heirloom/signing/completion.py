"""What the shell offers for a half-typed name. Quick, reads no keys, verifies nothing, and never fails."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project


def project_boards(incomplete: str) -> list[str]:
    """Boards of the project."""
    with suppress(HeirloomError):
        return _starting(incomplete, Project.load().boards)
    return []


def known_boards(incomplete: str) -> list[str]:
    """Boards that this program knows."""
    from heirloom.boards import names

    return _starting(incomplete, names())


def built_versions(incomplete: str) -> list[str]:
    """Versions that were built."""
    with suppress(HeirloomError, OSError):
        return _starting(incomplete, _built(Project.load()))
    return []


def versions(incomplete: str) -> list[str]:
    """Versions that were built or published."""
    with suppress(HeirloomError, OSError):
        project = Project.load()
        return _starting(incomplete, [*_built(project), *_published(project)])
    return []


def keys(incomplete: str) -> list[str]:
    """Keys of which the key folder knows the public half."""
    with suppress(HeirloomError, OSError):
        files = Project.load().keys_dir().glob("[!.]*.pub.json")
        return _starting(incomplete, (path.name.removesuffix(".pub.json") for path in files))
    return []


def _built(project: Project) -> Iterator[str]:
    return (path.parent.name for path in (project.state_dir / "releases").glob("*/[!.]*/manifest.cbor"))


def _published(project: Project) -> Iterator[str]:
    files = (project.repository / "targets" / "releases").glob("*/*.cbor")
    return (file.name.partition(".")[2].removesuffix(".cbor") for file in files)


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
