"""The client workflow of the TUF specification 1.0.34, section 5, one method for each step.

    client = Client(store, fetcher, now)
    client.poll()                      # cheap: one conditional GET when nothing is new
    target = client.find_target("channels/RPI_PICO_W/stable")

Pure: files come from a Store, the network from a Fetcher (protocols.py), the time from the caller.
"""

from heirloom.device.errors import UpdateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.protocols import Fetcher, Store, TableCache


class Config:
    """Limits of one client: bytes, and numbers of things. Change them on an instance."""

    max_root_rotations = 256
    root_max_length = 512_000
    timestamp_max_length = 16_384
    snapshot_max_length = 2_000_000
    targets_max_length = 5_000_000
    max_delegations = 32


class Target:
    """One target as a verified role lists it."""

    def __init__(self, path: str, role: str, length: int, hashes: "dict[str, bytes]", custom: "dict[str, object]") -> None:
        self.path = path
        self.role = role  # the role that lists it
        self.length = length  # bytes
        self.hashes = hashes  # "sha256" -> digest, perhaps "sha512"; at least one of them
        self.custom = custom  # {} when the role gives none

    @property
    def sha256(self) -> bytes:
        """The SHA-256 digest. Raises UpdateError E_FORMAT when the role gives only others."""
        if "sha256" not in self.hashes:
            raise UpdateError("E_FORMAT", f"target {self.path} in {self.role} has no sha256")
        return self.hashes["sha256"]


class Client:
    """Verified metadata of one repository. Every method raises UpdateError and nothing else.

    now: unix seconds (UTC) at the start of this update, 0 without a clock; it is raised to the device's own
    lower bound of time. accept_stale: the owner is present and takes expired metadata this once.
    """

    def __init__(
        self,
        store: "Store",
        fetcher: "Fetcher",
        now: int,
        config: "Optional[Config]" = None,
        tables: "Optional[TableCache]" = None,
        accept_stale: bool = False,
    ) -> None:
        raise NotImplementedError

    def poll(self) -> bool:
        """Asks whether anything is new, by one conditional GET of the timestamp, and if so refreshes.

        False: what is here is complete, unexpired and what the repository has; no signature was checked.
        True: something new was verified and stored (or the metadata here had been incomplete or expired and now is not).
        """
        raise NotImplementedError

    def refresh(self) -> bool:
        """The whole workflow: root, timestamp, snapshot, targets (TUF 5.3 to 5.6). Delegated roles come with find_target.

        Returns whether a file changed. Each file is stored as soon as it is verified, so a cut costs only the rest.
        """
        raise NotImplementedError

    def find_target(self, path: str) -> "Optional[Target]":
        """Looks a target up, delegations pre-order depth first (TUF 5.6.7), fetching the roles on the way as needed.

        None: no role that may speak for the path lists it. Needs poll() or refresh() before.
        """
        raise NotImplementedError

    def value(self, role: str, *path: str) -> object:
        """A value in the `signed` part of a trusted file, e.g. value("root", "x-heirloom-urls"); None when absent.

        Only what is looked up is loaded. Reads the local file: call it after poll() or refresh(), or, for "root", at any time.
        """
        raise NotImplementedError

    def versions(self) -> "dict[str, int]":
        """Versions of the top-level files stored here, for status reports: {"root": 1, "timestamp": 4, ...}."""
        raise NotImplementedError


def file_name(role: str) -> str:
    """The escaped name of a role, as in the repository's file names (percent-encoding of all but A-Za-z0-9_.-~)."""
    raise NotImplementedError
