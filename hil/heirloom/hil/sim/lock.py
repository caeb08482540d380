"""One process at a time runs a device."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error

FILE_NAME = "lock"


class DeviceLock:
    """A lock file that holds the id of the process which runs the device. The kernel frees it with that process.

    Args:
        directory: The device's folder.
        name: The device, for messages.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / FILE_NAME
        self._name = name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; having it already is fine.

        Raises:
            HeirloomError: Another process has it.
        """
        if self._descriptor is not None:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise os_error(exc, f"cannot open {self._path}") from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise HeirloomError(
                f"device {self._name} is in use by process {holder or 'unknown'}", "wait for it, or stop it"
            ) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Free the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
