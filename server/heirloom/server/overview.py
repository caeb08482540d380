"""What stands in a repository, in short: for the page that people see and for health checks."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles
from heirloom.signing.metadata import MAKER, PRODUCT, URLS
from heirloom.signing.repository import Repository


@dataclass(frozen=True)
class Board:
    """One board of the product.

    Attributes:
        releases: Versions, newest first.
        channels: Channel name to version.
    """

    name: str
    releases: list[str]
    channels: dict[str, str]


@dataclass(frozen=True)
class Overview:
    """The published state of a product.

    Attributes:
        problem: Why there is nothing to show; empty if there is.
        expires: When clients stop trusting the timestamp.
    """

    product: str = ""
    problem: str = ""
    maker: dict[str, str] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)
    boards: list[Board] = field(default_factory=list)
    timestamp: int = 0
    expires: datetime | None = None


def read(path: Path) -> Overview:
    """The overview of the repository in the folder `path`. What is wrong with it is said in `problem`."""
    repository = Repository(path)
    if not repository.exists:
        return Overview(problem="Nothing has been published here yet.")
    try:
        return _read(repository)
    except HeirloomError as exc:
        return Overview(problem=f"This repository cannot be shown: {exc.message}.")


def _read(repository: Repository) -> Overview:
    root = repository.root().signed.unrecognized_fields
    timestamp = repository.timestamp().signed
    return Overview(
        product=str(root.get(PRODUCT, "")),
        maker=_texts(repository.targets().signed.unrecognized_fields.get(MAKER)),
        urls=[str(url) for url in root.get(URLS, [])],
        boards=[_board(repository, name) for name in sorted(repository.boards())],
        timestamp=timestamp.version,
        expires=timestamp.expires.replace(tzinfo=UTC),
    )


def _texts(value: object) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _board(repository: Repository, name: str) -> Board:
    releases = [release.version for release in reversed(repository.releases(name))]
    return Board(name, releases, repository.channels(name))


def health(path: Path, now: datetime) -> dict[str, object]:
    """Whether clients accept the repository at `now`: "status" is "ok", "expired", "empty" or "damaged"."""
    repository = Repository(path)
    if not repository.exists:
        return {"status": "empty"}
    try:
        timestamp = repository.timestamp().signed
        expired = next((role for role in roles.TOP_LEVEL if repository.trusted.role(role).signed.is_expired(now)), None)
    except HeirloomError as exc:
        return {"status": "damaged", "reason": exc.message}
    if expired is not None:
        return {"status": "expired", "role": expired}
    return {"status": "ok", "timestamp": timestamp.version, "expires": timestamp.expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
