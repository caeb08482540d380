"""Migrations: a release with heirloom_migrate.py in its root changes what the application keeps; a rollback undoes it.

The migration runs before the application, in /app, with the release's modules, and finds the files under `keep` where
the application finds them; but it and the application of a trial work on a copy of them. Each start of a trial begins
with a fresh copy of what the release before left. Confirming commits: at the next start the copy takes the place of
what is under /data. Anything else, a rollback above all, throws it away. Nothing of this is in the state: which copy it
is, a note beside it says, and whether it counts, the order of the highest confirmed release (docs/adr/0012).
"""

import json
import os
import sys

import heirloom_boot
from micropython import const

from heirloom.device.blobs import load, size
from heirloom.device.errors import UpdateError
from heirloom.device.store import remove, write_atomic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

HOME = "/heirloom/migrated"
NAME = "heirloom_migrate"
_COPY = HOME + "/data/"
_NOTE = HOME + "/note"
_DATA = "/data/"
_CHUNK_BYTES = const(512)
_FOLDER = const(0x4000)


def settle(state: "dict[str, Any]", slot: str) -> None:
    """What is to be done before the application starts: commits or drops a copy, makes one and migrates it.

    Resets when the migration fails, which counts as a fault of its release.
    """
    # Until the first write after a power cut, littlefs hides files beside one whose move to another folder was cut.
    remove(HOME + "/nothing")
    note = heirloom_boot.read_json("migrated/note")
    if note and note["order"] == state["o"]:
        _commit(note)
    clear(HOME)
    if not state["t"]:
        return
    try:
        manifest = load(heirloom_boot.slot_path(slot))
        if any(path in (NAME + ".py", NAME + ".mpy") for path, _, _ in manifest.files):
            heirloom_boot.log("migrating for release " + manifest.version)
            _migrate(slot, outermost(manifest.keep), list(manifest.order))
    except Exception as error:
        import machine

        heirloom_boot.log("the migration failed: %r" % error)
        heirloom_boot._keep_traceback(error)  # noqa: SLF001 - of the chooser, which older devices have as well
        clear(HOME)
        heirloom_boot.charge(state, False)
        heirloom_boot.save(state)
        machine.reset()


def outermost(keep: "Any") -> "list[str]":
    """The paths of which none lies in another."""
    return [path for path in keep if not any(path.startswith(other + "/") for other in keep)]


def _migrate(slot: str, keep: "list[str]", order: "list[int]") -> None:
    from heirloom.device.appfs import AppFS

    for path in keep:
        if _kind(_DATA + path) >= 0:
            _make_folders(_COPY + path)
            _copy(_DATA + path, _COPY + path)
    _make_folders(_COPY + "x")
    os.chdir("/")
    os.umount("/app")
    os.mount(AppFS(heirloom_boot.slot_path(slot), data=_COPY), "/app")
    before = sys.path[:]
    sys.path[:] = ["/app/lib", "/app"] + [entry for entry in before if not entry.startswith("/app")]
    os.chdir("/app")
    known = set(sys.modules)
    try:
        __import__(NAME)
    finally:
        os.chdir("/")
        sys.path[:] = before
        for name in list(sys.modules):
            if name not in known:
                del sys.modules[name]  # the application finds its modules as after any start
    write_atomic(_NOTE, json.dumps({"order": order, "keep": keep}).encode())


def _commit(note: "dict[str, Any]") -> None:
    """The copy takes the place of what is kept, path by path; a power cut anywhere, and the next start goes on."""
    if not note.get("cleared"):
        for path in note["keep"]:
            if _kind(_COPY + path) < 0:
                clear(_DATA + path)  # the migration, or the application since, removed it
        note["cleared"] = True
        # From here on, what is missing in the copy has been moved.
        write_atomic(_NOTE, json.dumps(note).encode())
    for path in note["keep"]:
        kind = _kind(_COPY + path)
        if kind < 0:
            continue
        _make_folders(_DATA + path)
        if kind == _FOLDER or _kind(_DATA + path) == _FOLDER:
            clear(_DATA + path)  # a file is replaced by the rename itself
        os.rename(_COPY + path, _DATA + path)
    remove(_NOTE)


def _kind(path: str) -> int:
    """What os.stat says of the type, -1 when there is nothing."""
    try:
        return os.stat(path)[0]
    except OSError:
        return -1


def clear(path: str) -> None:
    """Removes a file or folder with all that is in it; no error when there is none."""
    if _kind(path) == _FOLDER:
        for name in os.listdir(path):
            clear(path + "/" + name)
        os.rmdir(path)
    else:
        remove(path)


def _make_folders(path: str) -> None:
    """The folders above a path."""
    at = path.find("/", 1)
    while at > 0:
        if _kind(path[:at]) < 0:
            os.mkdir(path[:at])
        at = path.find("/", at + 1)


def _copy(source: str, target: str) -> None:
    if _kind(source) == _FOLDER:
        os.mkdir(target)
        for name in os.listdir(source):
            _copy(source + "/" + name, target + "/" + name)
        return
    chunk = bytearray(_CHUNK_BYTES)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while True:
            count = reader.readinto(chunk)
            if not count:
                break
            writer.write(chunk if count == _CHUNK_BYTES else memoryview(chunk)[:count])
    if size(target) != size(source):
        raise UpdateError("E_STATE", "flash does not keep what is written to it")
