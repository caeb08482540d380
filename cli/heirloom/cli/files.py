"""Writing files so that a reader, or the next run, finds the old content or the new one, whole."""

import errno
import os
import tempfile
from pathlib import Path

from heirloom.cli.errors import HeirloomError

_ADVICE = {
    errno.ENOSPC: "free some space on that disk and try again",
    errno.EDQUOT: "free some of your quota and try again",
    errno.EACCES: "check who may read and write there",
    errno.EPERM: "check who may read and write there",
    errno.EROFS: "that disk is mounted read-only",
    errno.ENOENT: "check the path",
}


def os_error(exc: OSError, what: str) -> HeirloomError:
    """The same error for a person.

    Args:
        exc: What the operating system said.
        what: What was being done, as in "cannot write heirloom.toml".
    """
    reason = f"{exc.strerror[:1].lower()}{exc.strerror[1:]}" if exc.strerror else str(exc) or type(exc).__name__
    advice = _ADVICE.get(exc.errno, "") if exc.errno is not None else ""
    return HeirloomError(f"{what}: {reason}", advice)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace or create `path` by one rename; on any error the old file stays as it was.

    Args:
        path: The file. Its folder must exist.
        data: The whole content.
        mode: Permissions of the new file. Nobody else can read it before it has them.

    Raises:
        HeirloomError: The operating system refused, as when the disk is full.
    """
    try:
        _replace(path, data, mode)
    except OSError as exc:
        raise os_error(exc, f"cannot write {path}") from exc


def _replace(path: Path, data: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Without it the rename may be lost with the power, and an older file would come back.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
