"""Files that only their owner may read, written once."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error


def make_folder(folder: Path) -> None:
    """Make `folder` with mode 0700 if it is not there; HeirloomError if that fails or others can read it."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make the key folder {folder}") from exc
    check(folder, "700")


def check(path: Path, mode: str) -> None:
    """Raise HeirloomError if others can read `path`, which need not exist. `mode` is advised."""
    with suppress(FileNotFoundError):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise HeirloomError(f"others can read {path}", f"run `chmod {mode} {path}`, and think about who may have")


def write_once(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all, and never over another file.

    Raises:
        FileExistsError: There is one.
        HeirloomError: It cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".new", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # A link, unlike a rename, fails if the name is taken.
            os.link(temporary, path)
        finally:
            with suppress(OSError):
                Path(temporary).unlink()
    except FileExistsError:
        raise
    except OSError as exc:
        raise os_error(exc, f"cannot write {path}") from exc
