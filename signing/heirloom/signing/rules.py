"""What Heirloom demands of the boards' roles beyond TUF: own paths, lasting releases, channels that point to them."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from tuf.api.metadata import Metadata, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import bins, roles
from heirloom.signing.repository import channels_in, releases_in

Roles = Mapping[str, Metadata[Targets]]


def check_boards(proposed: Roles, before: Roles, changed: AbstractSet[str], epoch: int) -> None:
    """Hold the changed roles, and the channels beside changed releases, against the rules.

    Args:
        proposed: All boards' roles as they will be.
        before: All boards' roles as they are.
        changed: Names of those that change.
        epoch: That the targets role will state.

    Raises:
        HeirloomError: A rule is broken; names role and target.
    """
    for role in sorted(changed - {roles.TARGETS}):
        _check_paths(role, proposed[role])
        if role.startswith(roles.RELEASES_PREFIX) and not roles.archived_below(role):
            _check_releases(role, proposed[role], before.get(role), epoch)
    for board in sorted({roles.board_of(role) for role in changed - {roles.TARGETS}}):
        releases, channels = roles.board_roles(board)
        if channels in proposed and releases in proposed:
            _check_channels(board, proposed[channels], proposed[releases])


def _check_paths(role: str, metadata: Metadata[Targets]) -> None:
    """A client ignores targets outside of the delegated paths, so they have no business here."""
    folder = roles.paths(role)[0].removesuffix("*")
    for path in metadata.signed.targets:
        if not path.startswith(folder) or "/" in path.removeprefix(folder):
            raise HeirloomError(f"{role} lists {path}, but it may only list {folder}*")


def _check_releases(role: str, metadata: Metadata[Targets], before: Metadata[Targets] | None, epoch: int) -> None:
    seen: dict[tuple[int, int], str] = {}
    for release in releases_in(metadata):
        # Only the targets role opens an epoch, so that its holders can undo what a stolen releases key signed.
        if release.epoch > epoch:
            raise HeirloomError(f"{role} lists {release.version} in epoch {release.epoch}, but targets states {epoch}")
        if release.order in seen:
            raise HeirloomError(
                f"{role} lists {seen[release.order]} and {release.version} with the same epoch and sequence",
                "give one of them another sequence",
            )
        seen[release.order] = release.version
    for path, target in before.signed.targets.items() if before else ():
        if metadata.signed.targets.get(path, target) != target:
            raise HeirloomError(f"{role} changes the published release {path}", "publish a new version instead")


def _check_channels(board: str, channels: Metadata[Targets], releases: Metadata[Targets]) -> None:
    """A device takes a release only if both roles name it with the same content (DESIGN 4)."""
    for channel, path in channels_in(channels).items():
        pointer = channels.signed.targets[f"channels/{board}/{channel}"]
        release = releases.signed.targets.get(path)
        if release is None:
            raise HeirloomError(
                f"channel {channel} of {board} points to {path}, which the releases role does not list",
                "if the channel was moved since the release was signed, sign it again",
            )
        if (pointer.length, pointer.hashes) != (release.length, release.hashes):
            raise HeirloomError(f"channel {channel} of {board} has another length or hash than {path}")


def check_archives(
    targets: Metadata[Targets],
    proposed: Roles,
    before: Roles,
    changed: AbstractSet[str],
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Hold the archives against the releases roles that they belong to.

    Args:
        targets: As it will be.
        proposed: All boards' roles as they will be, and the bins that change.
        before: All boards' roles as they are.
        changed: Names of the roles that change.
        files: The signed files of those, as far as there are any.

    Raises:
        HeirloomError: Somebody else could sign a bin, or a bin is not what its releases role says.
    """
    for role, releases in proposed.items():
        if not role.startswith(roles.RELEASES_PREFIX) or roles.archived_below(role):
            continue
        if bins.trusts_others(releases, role, targets):
            raise HeirloomError(
                f"the archive of {role} is in the hands of keys that targets no longer names for it",
                f"its holders must sign {role} anew, as a ceremony does",
            )
        if not bins.names(releases):
            if role in before and bins.names(before[role]):
                raise HeirloomError(f"{role} would lose its archive")
            continue
        known = bins.recorded(before[role]) if role in before and bins.names(before[role]) else {}
        for name, digest in bins.recorded(releases).items():
            if name in changed:
                bins.check_bin(name, proposed[name], releases, files.get(name, b""))
                bins.check_entries(name, proposed[name], before.get(name), before.get(role, releases))
                bins.check_places(name, proposed[name], before.get(name), releases)
            elif known.get(name) != digest:
                raise HeirloomError(f"{role} says that {name} changed, but it is not there", "sign and publish it too")
