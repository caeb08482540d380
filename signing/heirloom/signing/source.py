"""The files of an application's folder, as they will be called in the release."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import MAX_FILES, check_path

# These run from source on a device (DESIGN 6): main.py as __main__, and boot.py where an application has one.
AS_SOURCE = ("main.py", "boot.py")


@dataclass(frozen=True)
class SourceFile:
    """One file of the application.

    Attributes:
        path: Relative to the folder, with `/`.
        file: Where it lies.
    """

    path: str
    file: Path

    @property
    def is_compiled(self) -> bool:
        """It becomes bytecode in the release."""
        return self.path.endswith(".py") and self.path not in AS_SOURCE

    @property
    def is_python(self) -> bool:
        """It is Python source."""
        return self.path.endswith(".py")

    @property
    def release_path(self) -> str:
        """Its path in the release."""
        return self.path.removesuffix(".py") + ".mpy" if self.is_compiled else self.path


def collect(folder: Path) -> list[SourceFile]:
    """The files of an application, sorted; hidden files and `__pycache__` are left out.

    Raises:
        HeirloomError: No such folder, nothing in it, no main.py, too many files, a link that leaves the folder, or a
            name that no device takes.
    """
    if not folder.is_dir():
        raise HeirloomError(f"there is no application folder {folder}", "see [app] source in heirloom.toml")
    files = sorted(_walk(folder), key=lambda file: file.path)
    if not files:
        raise HeirloomError(f"the application folder {folder} is empty", "put main.py there")
    if "main.py" not in (file.path for file in files):
        raise HeirloomError(
            f"the application folder {folder} has no main.py", "a device starts the application with it"
        )
    if len(files) > MAX_FILES:
        raise HeirloomError(f"{folder} has {len(files)} files, a release has at most {MAX_FILES}", "leave some out")
    _check_collisions(files)
    return files


def _walk(folder: Path) -> Iterator[SourceFile]:
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not _is_skipped(name))
        for name in folders:
            if (Path(parent) / name).is_symlink():
                raise HeirloomError(f"{Path(parent) / name} is a link to a folder", "put the folder itself there")
        for name in names:
            if not _is_skipped(name):
                yield _file(folder, Path(parent) / name)


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _unreadable(exc: OSError) -> None:
    raise os_error(exc, f"cannot read {exc.filename}") from exc


def _file(folder: Path, file: Path) -> SourceFile:
    path = file.relative_to(folder).as_posix()
    try:
        path.encode()
        check_path(path)
    except UnicodeEncodeError as exc:
        raise HeirloomError(f"the file name {path!r} is not UTF-8", "rename it") from exc
    except UpdateError as exc:
        raise HeirloomError(f"{file}: {exc.sentence}", "rename it") from exc
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        raise HeirloomError(f"{file} is a link that leaves the folder", "put the file itself there")
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise HeirloomError(f"{file} is not a file", "leave it out")
    except OSError as exc:
        raise os_error(exc, f"cannot read {file}") from exc
    return SourceFile(path, file)


def _check_collisions(files: list[SourceFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        # Devices compare without case, like the sticks and disks that updates travel on.
        folded = file.release_path.lower()
        if folded in seen:
            raise HeirloomError(
                f"{seen[folded]} and {file.path} would have the same path on a device", "rename one of them"
            )
        seen[folded] = file.path
