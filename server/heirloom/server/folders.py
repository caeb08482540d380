"""Whole folders: they appear under their name when everything in them is written, whatever kills the program."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.server.durable import TEMPORARY
from heirloom.server.store import LOCK

_SUFFIX = ".new"


def refuse_taken(out: Path) -> None:
    """Raise HeirloomError if something is at `out`."""
    if out.exists() or out.is_symlink():
        raise HeirloomError(f"{out} exists already", "name a new folder; nothing is ever overwritten")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` when everything in it is written, and goes away if that fails."""
    temporary: Path | None = None
    with ExitStack() as held:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _sweep(out)
            temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_SUFFIX, dir=out.parent))
            temporary.chmod(0o755)
            held.callback(os.close, _lock(temporary))
            yield temporary
            os.sync()
            refuse_taken(out)
            temporary.rename(out)
            temporary = None
        except OSError as exc:
            raise os_error(exc, f"cannot write {out}") from exc
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what a killed program left beside `out`. Who still writes there holds a lock."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*{_SUFFIX}"):
        with suppress(BlockingIOError, NotADirectoryError):
            os.close(_lock(path))
            shutil.rmtree(path, ignore_errors=True)


def _lock(folder: Path) -> int:
    """A descriptor that locks the folder until it is closed; BlockingIOError if another program holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def copy_tree(source: Path, target: Path, advance: Callable[[int], object] = lambda _: None) -> None:
    """Copy the regular files below `source`; what a publisher left unfinished stays behind.

    Args:
        source: A folder; nothing happens if there is none.
        target: Made if needed.
        advance: Told the size of each file copied.

    Raises:
        HeirloomError: There is a link or a device among them.
        OSError: The disk is full, ...
    """
    for parent, folders, names in os.walk(source):
        place = target / Path(parent).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise HeirloomError(f"{path} is a link or a device", "put a plain file there")
            if path.is_file() and name != LOCK and not name.startswith(TEMPORARY):
                shutil.copyfile(path, place / name)
                advance(path.stat().st_size)
