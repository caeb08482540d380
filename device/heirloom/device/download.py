"""A metadata file on its way from the fetcher to the store, never longer than allowed (endless data attack)."""

from heirloom.device.canonical import Document
from heirloom.device.compat import const
from heirloom.device.errors import E_LENGTH, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional, Union

    from heirloom.device.protocols import Buffer, Store, Stream, Temporary


def _count(sink: "Union[Download, Comparison]", data: "Buffer") -> None:
    """Raises UpdateError E_LENGTH beyond the limit."""
    sink.length += len(data)
    if sink.length > sink.limit:
        raise UpdateError(E_LENGTH, f"{sink.name} is longer than the {sink.limit} bytes it may have")


class Download:
    """The sink of one file, a temporary of the store behind it, made when there is something to put into it."""

    def __init__(self, store: "Store", name: str, limit: int) -> None:
        """name: for error sentences. limit: bytes."""
        self._store = store
        self.name = name
        self.limit = limit
        self._temporary: "Optional[Temporary]" = None
        self.length = 0
        self.etag: "Optional[str]" = ""  # what the fetcher said

    def write(self, data: "Buffer") -> None:
        """Takes a piece of the body. Raises UpdateError E_LENGTH beyond the limit."""
        _count(self, data)
        self.temporary().write(data)

    def restart(self) -> None:
        """Forgets what came so far."""
        self.discard()
        self.length = 0

    def temporary(self) -> "Temporary":
        """What holds the file so far."""
        if self._temporary is None:
            self._temporary = self._store.temporary()
        return self._temporary

    def discard(self) -> None:
        """Gives the temporary back, unused."""
        if self._temporary is not None:
            self._store.discard(self._temporary)
            self._temporary = None

    def document(self) -> Document:
        """What came, to be checked."""
        return Document(self.name, self.temporary(), self.length)


class Comparison:
    """A sink that keeps nothing and tells whether the body is the file that lies here already."""

    def __init__(self, stream: "Stream", name: str, limit: int) -> None:
        self._stream = stream
        self.name = name
        self.limit = limit
        self.restart()

    def write(self, data: "Buffer") -> None:
        """Compares a piece of the body. Raises UpdateError E_LENGTH beyond the limit."""
        _count(self, data)
        mine = bytearray(len(data))
        if (self._stream.readinto(mine) or 0) != len(data) or mine != data:
            self._same = False

    def restart(self) -> None:
        """Begins again."""
        self._stream.seek(0)
        self.length = 0
        self._same = True

    def same(self) -> bool:
        """Whether the body was the file, whole."""
        return self._same and self._stream.seek(0, 2) == self.length
