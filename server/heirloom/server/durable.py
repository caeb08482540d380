"""Files that are there whole or not at all, whatever kills the program or the power.

Every step is one call of `os`: the tests cut the publisher short at each of them.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from heirloom.signing import twins

# Temporary files begin so; they are never served, never referenced and swept by the next publisher.
TEMPORARY = ".new-"


def twin(path: Path) -> Path:
    """Where the compressed twin of `path` lies."""
    return path.with_name(path.name + twins.SUFFIX)


def prepare(path: Path, data: bytes) -> Path:
    """Write `data` beside `path` and return the temporary file, synced: a rename puts it in place.

    Raises:
        OSError: The disk is full, the folder is not writable, ...
    """
    temporary = path.with_name(TEMPORARY + path.name)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary


def place(path: Path, data: bytes) -> None:
    """Give `path` the content `data` by one rename. The folder is not synced yet: see `sync_folder`.

    Raises:
        OSError: As `prepare`.
    """
    prepare(path, data).replace(path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` outlast a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, each synced into the one above it."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def read(path: Path) -> bytes | None:
    """The content of `path`, or None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def temporaries(folders: Iterable[Path]) -> Iterator[Path]:
    """Temporary files of a publisher that was killed."""
    for folder in folders:
        yield from sorted(folder.rglob(TEMPORARY + "*"))
