"""What a rig remembers of its devices: who uses one now, which is out of use and why, how often a retry was needed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error, write_atomic
from heirloom.hil.sim.lock import DeviceLock

_QUARANTINE, _STATISTICS = "quarantine.json", "statistics.json"
_LOG_KEPT_BYTES = 64 * 1024
_GLANCE_S = 0.2


@dataclass(frozen=True)
class Statistics:
    """How a device has been doing.

    Attributes:
        uses: How often it was taken.
        retries: How often something had to be tried again before it worked.
        troubles: How often it failed for good.
    """

    uses: int = 0
    retries: int = 0
    troubles: int = 0


@dataclass(frozen=True)
class Quarantine:
    """Why a device is out of use, and since when."""

    reason: str
    since: str


class Shelf:
    """The memory of one rig, a folder for each device.

    Args:
        directory: Where it is kept; made if needed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def taken(self, name: str, wait_s: float) -> Iterator[None]:
        """The device is this process's for the block; trouble of the rig in it puts the device into quarantine.

        Args:
            name: The device.
            wait_s: How long to wait for another process.

        Raises:
            RigTrouble: It is in quarantine, or still in use by another process.
        """
        with self._locked(name, wait_s):
            if kept := self.quarantine(name):
                raise RigTrouble(
                    f"device {name} is in quarantine since {kept.since}: {kept.reason}",
                    f"see {self.folder(name) / 'quarantine.log'}; then `heirloom hil list --release {name}`",
                )
            self.count(name, uses=1)
            try:
                yield
            except RigTrouble as exc:
                self.put_aside(name, exc.message)
                raise

    def folder(self, name: str) -> Path:
        """What is kept of a device."""
        return self.directory / name

    def in_use(self, name: str) -> str | None:
        """By whom, or None."""
        lock = DeviceLock(self._made(name), name)
        try:
            lock.acquire()
        except HeirloomError as exc:
            return exc.message
        lock.release()
        return None

    def quarantine(self, name: str) -> Quarantine | None:
        """Why it is out of use, or None."""
        value = self._read(name, _QUARANTINE)
        return Quarantine(str(value.get("reason")), str(value.get("since"))) if value else None

    def put_aside(self, name: str, reason: str, log: Path | None = None) -> None:
        """Out of use until a person says otherwise. log: its console, of which the end is kept."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._write(name, _QUARANTINE, asdict(Quarantine(reason, now)))
        self.count(name, troubles=1)
        if log is not None and log.exists():
            write_atomic(self._made(name) / "quarantine.log", log.read_bytes()[-_LOG_KEPT_BYTES:])

    def keep_log(self, name: str, log: Path) -> None:
        """The end of its console, beside the reason."""
        if log.exists():
            write_atomic(self._made(name) / "quarantine.log", log.read_bytes()[-_LOG_KEPT_BYTES:])

    def release(self, name: str) -> bool:
        """A person has looked at it: it is in use again. Returns whether it was out of use."""
        path = self.folder(name) / _QUARANTINE
        was = path.exists()
        path.unlink(missing_ok=True)
        return was

    def statistics(self, name: str) -> Statistics:
        """How it has been doing."""
        value = self._read(name, _STATISTICS)
        uses, retries, troubles = (int(str(value.get(key, 0))) for key in ("uses", "retries", "troubles"))
        return Statistics(uses, retries, troubles)

    def count(self, name: str, *, uses: int = 0, retries: int = 0, troubles: int = 0) -> None:
        """Add to its statistics. Only while it is taken."""
        now = self.statistics(name)
        then = replace(now, uses=now.uses + uses, retries=now.retries + retries, troubles=now.troubles + troubles)
        self._write(name, _STATISTICS, asdict(then))

    @contextmanager
    def _locked(self, name: str, wait_s: float) -> Iterator[None]:
        lock, end = DeviceLock(self._made(name), name), time.monotonic() + wait_s
        while True:
            try:
                lock.acquire()
                break
            except HeirloomError as exc:
                if time.monotonic() >= end:
                    raise RigTrouble(exc.message, f"it did not come free in {wait_s:g} s") from exc
            time.sleep(_GLANCE_S)
        try:
            yield
        finally:
            lock.release()

    def _made(self, name: str) -> Path:
        folder = self.folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise os_error(exc, f"cannot make {folder}") from exc
        return folder

    def _read(self, name: str, file: str) -> dict[str, object]:
        try:
            value = json.loads((self.folder(name) / file).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            # What cannot be read is no reason to trust the device.
            return {"reason": f"{file} is damaged", "since": "unknown"} if file == _QUARANTINE else {}
        return value if isinstance(value, dict) else {}

    def _write(self, name: str, file: str, value: object) -> None:
        write_atomic(self._made(name) / file, json.dumps(value).encode())


def shelf_of(rig: Path) -> Shelf:
    """The memory of the rig that a file describes: in the user's state folder, by the file's place."""
    import hashlib

    from platformdirs import user_state_path

    mark = hashlib.sha256(str(rig.resolve()).encode()).hexdigest()[:12]
    return Shelf(user_state_path("heirloom") / "rigs" / f"{rig.stem}-{mark}")
