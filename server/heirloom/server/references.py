"""What a timestamp vouches for: the versions that are part of the repository that clients see now."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tuf.api.metadata import Snapshot, Targets, Timestamp

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles
from heirloom.signing.metadata import file_name, parse, parse_file_name
from heirloom.signing.repository import target_file

TIMESTAMP = "timestamp.json"

# Name under metadata/ -> its content, or None.
Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class References:
    """What one timestamp refers to.

    Attributes:
        timestamp: Version of the timestamp; 0 when nothing is published yet.
        versions: Role, the snapshot included, to its version.
    """

    timestamp: int
    versions: Mapping[str, int]

    def is_live(self, name: str) -> bool:
        """Whether clients may have seen the versioned metadata file `name`."""
        version_role = split_version(name)
        if version_role is None:
            return False
        version, role = version_role
        # A root counts as soon as it lies there: clients look for the next one by its name.
        return role == roles.ROOT or version <= self.versions.get(role, 0)


NOTHING = References(0, {})


def split_version(name: str) -> tuple[int, str] | None:
    """`(3, "snapshot")` for "3.snapshot.json"; None for a name that is not versioned."""
    try:
        return parse_file_name(name)
    except ValueError:
        return None


def role_of(name: str) -> str:
    """The role of a metadata file name, versioned or not."""
    version_role = split_version(name)
    return version_role[1] if version_role else name.removesuffix(".json")


def of(timestamp: bytes, read: Read) -> References:
    """Follow a timestamp to the versions of all roles. Signatures are not looked at.

    Raises:
        HeirloomError: The timestamp or its snapshot is missing or damaged.
    """
    signed = parse(Timestamp, timestamp, TIMESTAMP).signed
    name = file_name(roles.SNAPSHOT, signed.snapshot_meta.version)
    data = read(name)
    if data is None:
        raise HeirloomError(f"{name} is missing in the repository", "restore the repository from a copy")
    snapshot = parse(Snapshot, data, name).signed
    versions = {file.removesuffix(".json"): meta.version for file, meta in snapshot.meta.items()}
    return References(signed.version, {**versions, roles.SNAPSHOT: signed.snapshot_meta.version})


def timestamp_version(data: bytes) -> int:
    """The version of a timestamp; HeirloomError if it is damaged."""
    return parse(Timestamp, data, TIMESTAMP).signed.version


def version_of(data: bytes) -> int:
    """The version of a timestamp; 0 if it is damaged."""
    try:
        return timestamp_version(data)
    except HeirloomError:
        return 0


def target_files(data: bytes, name: str) -> Iterator[str]:
    """Paths below targets/ at which clients fetch what the role in the metadata file `name` lists."""
    for path, info in parse(Targets, data, name).signed.targets.items():
        yield target_file(path, info.hashes[roles.HASH])
