"""Plain files in a tar: the same bytes for the same content, and nothing out of it but files below one folder.

Not tarfile's own "data" filter: Python before 3.11.4 does not have it, and we demand more.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator

from heirloom.cli.errors import HeirloomError

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 10_000
_END = bytes(2 * tarfile.BLOCKSIZE)


def pack(files: Iterable[tuple[str, bytes]], *, mode: int = 0o644) -> bytes:
    """A tar of files: no time, no owner, in the order of their names.

    Args:
        files: Name (relative, with `/`) and content.
        mode: Permissions of all of them.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def unpack(data: bytes, what: str) -> Iterator[tuple[str, bytes]]:
    """The files of a tar, name and content; folders are left out.

    Args:
        data: The tar.
        what: Its name, for errors.

    Raises:
        HeirloomError: It is no tar, is damaged, has a link or a device in it, reaches out of its folder, or is too big.
    """
    if not data.endswith(_END):  # tarfile takes what was cut between two files for whole
        raise HeirloomError(f"{what} is damaged: its end is missing", "find an unchanged copy")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for number, info in enumerate(tar):
                stream = tar.extractfile(info) if info.isreg() and info.size <= MAX_FILE_BYTES else None
                if number == MAX_FILES or not (info.isdir() or (stream and _stays_inside(info.name))):
                    raise HeirloomError(f"{what} has an entry that is no plain file of it", "do not use it")
                if stream:
                    yield info.name, stream.read()
    except (tarfile.TarError, UnicodeError, ValueError) as exc:  # of a header
        raise HeirloomError(f"{what} is damaged: {exc}", "find an unchanged copy") from exc


def _stays_inside(name: str) -> bool:
    return "\0" not in name and not any(part in ("", ".", "..") for part in name.split("/"))
