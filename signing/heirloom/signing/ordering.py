"""The order of releases: sequences, floors and stepping stones (DESIGN 4). Versions are names, they order nothing."""

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.project import Project
from heirloom.device.manifest import MAX_NUMBER
from heirloom.signing import endorse
from heirloom.signing.built import built_releases
from heirloom.signing.repository import Release, Repository, releases_in


def check_unpublished(repository: Repository, board: str, version: str) -> None:
    """Raise HeirloomError if the version is published: a release never changes."""
    if repository.find(board, version) is not None:
        raise HeirloomError(f"release {version} for {board} is already published", "give the new content a new version")


def published(repository: Repository, board: str) -> list[Release]:
    """The published releases of the current epoch, lowest first."""
    epoch = repository.epoch()
    return [release for release in repository.releases(board) if release.epoch == epoch]


def sequence_for(project: Project, repository: Repository, board: str, version: str, wanted: int | None) -> int:
    """The sequence of a release that is being built.

    What the person `wanted`, else that of an earlier build of this version, else the next one.

    Raises:
        HeirloomError: It would not order above what is published.
    """
    highest = max((release.sequence for release in published(repository, board)), default=0)
    waiting = _unpublished_sequences(project, repository, board)
    mine = waiting.get(version, 0)
    automatic = mine if mine > highest else max(highest, *waiting.values(), 0) + 1
    sequence = automatic if wanted is None else wanted
    if sequence <= highest:
        raise HeirloomError(
            f"sequence {sequence} is not above {highest}, which is published for {board}",
            f"say --sequence {highest + 1}, or leave --sequence out",
        )
    if sequence > MAX_NUMBER:
        raise UsageError(f"sequence {sequence} is too large", f"at most {MAX_NUMBER}")
    for other, taken in waiting.items():
        if taken == sequence and other != version:
            raise HeirloomError(
                f"sequence {sequence} is that of {other}, which waits for publishing for {board}", "choose another"
            )
    return sequence


def _unpublished_sequences(project: Project, repository: Repository, board: str) -> dict[str, int]:
    """Sequences of what was built or signed in this epoch and is not published, by version."""
    epoch = repository.epoch()
    signed = endorse.pending(project, repository, board)
    known = [*(releases_in(signed) if signed else ()), *(build.manifest for build in built_releases(project, board))]
    waiting = [
        release for release in known if release.epoch == epoch and repository.find(board, release.version) is None
    ]
    return {release.version: release.sequence for release in waiting}


def floor(repository: Repository, board: str, sequence: int, wanted: str | None) -> int:
    """The floor of a release: what the person says, else that of the release before, so that it never sinks.

    Raises:
        HeirloomError: It is above the release's own sequence, or names an unknown version.
    """
    if wanted is None:
        before = published(repository, board)
        return repository.manifest(board, before[-1].version).floor if before else 0
    number = _sequence_of(repository, board, wanted, "--floor")
    if number > sequence:
        raise HeirloomError(
            f"the floor {number} is above the release's own sequence {sequence}", "choose a lower --floor"
        )
    return number


def stepping_stone(
    repository: Repository, board: str, sequence: int, requires: str | None, via: str | None
) -> tuple[int | None, str | None]:
    """(requires, via) of a release: the minimum that it needs, and the release that leads there.

    Raises:
        HeirloomError: The stepping stone is not published, does not reach the minimum, or one of the two is missing.
    """
    if requires is None and via is None:
        return None, None
    if requires is None:
        raise UsageError("--via without --requires", "say which sequence or version this release requires")
    minimum = _sequence_of(repository, board, requires, "--requires")
    stone = _stone(repository, board, minimum, requires, via)
    if not minimum <= stone.sequence < sequence or minimum >= sequence:
        raise HeirloomError(
            f"{stone.version} has sequence {stone.sequence}, which does not lead from {minimum} to {sequence}",
            "choose a --via at or above --requires and below this release",
        )
    return minimum, stone.version


def _stone(repository: Repository, board: str, minimum: int, requires: str, via: str | None) -> Release:
    if via is not None:
        return repository.release(board, via)
    named = repository.find(board, requires)
    if named is not None:
        return named
    for release in published(repository, board):
        if release.sequence == minimum:
            return release
    raise UsageError(f"no published release has sequence {minimum}", "say --via VERSION")


def _sequence_of(repository: Repository, board: str, text: str, option: str) -> int:
    release = repository.find(board, text)
    if release is not None and release.epoch == repository.epoch():
        return release.sequence
    if text.isascii() and text.isdigit() and int(text) <= MAX_NUMBER:
        return int(text)
    raise UsageError(f"{option} {text} is neither a published version nor a sequence", "see `heirloom release list`")
