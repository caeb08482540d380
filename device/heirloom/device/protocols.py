"""What the verification core asks of its surroundings: files, a fetcher, a place for key tables.

Types only: nothing here exists at run time, and no module imports it but under TYPE_CHECKING. The client
implements these on flash and HTTP, the conformance program and the tests with plain files and memory.
Implementations raise UpdateError and nothing else.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Protocol, Union

    Buffer = Union[bytes, bytearray, memoryview]
    Update = Callable[[Buffer], object]

    class Stream(Protocol):
        """An open file, read at random. `seek(0, 2)` returns its length in bytes."""

        def readinto(self, __buffer: "Union[bytearray, memoryview]") -> Optional[int]:  # noqa: PYI063 - MicroPython has no "/"
            """Fills the buffer from the current position; fewer bytes only at the end, 0 there."""

        def seek(self, __offset: int, __whence: int = 0) -> int:  # noqa: PYI063 - MicroPython has no "/"
            """Moves and returns the new position."""

        def close(self) -> object:
            """Frees the file. The core closes every stream it opened."""

    class Temporary(Stream, Protocol):
        """A new file without a name: written once from its beginning, then read."""

        def write(self, __data: "Buffer") -> Optional[int]:  # noqa: PYI063 - MicroPython has no "/"
            """Appends all of data. Raises UpdateError E_SPACE when flash is full."""

    class Store(Protocol):
        """The trusted metadata of this device. Everything written here has been verified.

        A name is "root", "timestamp", "snapshot", "targets" or a delegated role already escaped by
        `tuf.file_name` (letters, digits, `_.-~%` and never "provisioned", "time", "root"...): it can be
        used as a file name with ".json" behind it, exactly as it is.
        """

        def open(self, name: str) -> Optional[Stream]:
            """The file as last committed, or None."""

        def provisioned_root(self) -> Optional[Stream]:
            """The root this device was provisioned with, which nothing ever rewrites; None without one."""

        def temporary(self) -> Temporary:
            """A new empty temporary. At most one is open at a time."""

        def commit(self, name: str, temporary: Temporary) -> None:
            """Closes the temporary and gives it the name, atomically: after a power cut the old file is
            there or the new one, whole.
            """

        def discard(self, temporary: Temporary) -> None:
            """Closes the temporary and forgets it."""

        def remove(self, name: str) -> None:
            """Deletes the file; no error when there is none."""

        def load_notes(self) -> bytes:
            """What save_notes last kept (at most 1 KiB), or b"". May be stale or garbage after a power
            cut: the core then works without.
            """

        def save_notes(self, data: bytes) -> None:
            """Keeps the core's notes (lower bounds of time, what was verified under which keys)."""

        def highest_root(self) -> int:
            """The highest root version that the device's state remembers; 0 when it remembers none."""

        def remember_root(self, version: int) -> None:
            """Called with the version of the trusted root at each check. Must never lower what highest_root() gives."""

    class Sink(Protocol):
        """Where a fetcher puts the body of one file."""

        length: int  # bytes written since the beginning or the last restart

        def write(self, __data: "Buffer") -> object:  # noqa: PYI063 - MicroPython has no "/"
            """Takes a piece of the body (uncompressed). Raises UpdateError E_LENGTH beyond the limit."""

        def restart(self) -> None:
            """Forgets what was written: the fetcher starts over, at another place for example."""

    class Fetcher(Protocol):
        """Reads metadata from the places where the repository lies."""

        def fetch(self, name: str, limit: int, sink: Sink, etag: Optional[str] = None) -> Optional[str]:
            """Fetches the metadata file `name` ("5.root.json", "timestamp.json", "3.releases-X.json", escaped).

            Writes its body to sink, at most limit bytes (the sink refuses more, with E_LENGTH; let that
            error through). With an etag the request may be conditional. Returns None when the place said
            "not modified" (only when etag was given, and nothing was written), else the file's ETag, "" when it
            has none. A place that sends too slowly counts as one that does not answer (slow retrieval attack).

            Raises UpdateError E_NOT_FOUND when a place answered that it has no such file, E_NETWORK when no place
            answered.
            """

    class Table(Protocol):
        """A comb table of a key, read row by row."""

        def row(self, __index: int, __buffer: Union[bytearray, memoryview]) -> object:  # noqa: PYI063 - MicroPython has no "/"
            """Reads row `index` into the buffer."""

    class TableCache(Protocol):
        """Tables of keys that occurred in verified metadata. Losing one costs time, never correctness."""

        def get(self, name: str) -> Optional[Table]:
            """The table kept under the name (hexadecimal, made from the key itself), or None."""

        def put(self, name: str, make: "Callable[[Update], None]") -> None:
            """May build and keep a table: make(write) writes it by calling write(data). Takes 0.5 s on an RP2040."""

        def drop(self, name: str) -> None:
            """Forgets a table that gave a wrong verdict."""

    class Answer(Protocol):
        """A file as a transport gives it, still to be read."""

        etag: str
        status: int  # as of HTTP
        offset: int  # the byte of the file at which it begins, which is not always what was asked for

        @property
        def length(self) -> Optional[int]:
            """How many bytes are left, when that is known."""

        def readinto(self, __buffer: "Union[bytearray, memoryview]") -> int:  # noqa: PYI063 - MicroPython has no "/"
            """Reads the next bytes; 0 at the end. Raises UpdateError E_NETWORK."""

    class Transport(Protocol):
        """How places are asked: by HTTP, or by reading what lies on a medium."""

        date: str
        requests: int

        def get(self, __url: str, __offset: int = 0, __etag: str = "", __tls_only: bool = False) -> Answer:  # noqa: PYI063
            """Asks for a file from byte `offset` on. Raises UpdateError E_NETWORK."""

        def close(self) -> object:
            """Lets go of connections and files."""
