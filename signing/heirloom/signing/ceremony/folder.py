"""The folder of a ceremony: files that are written once and never change, so that copies of it always merge.

    proposal.json                          what it is about
    base/N.ROLE.json                       the signed metadata that it builds on, for signers without the repository
    documents/N.ROLE.json                  what gets signed, unsigned
    signatures/N.ROLE.json.KEYID.json      one signature
    aborted.json                           it is over

It comes by mail, on a stick or from git: everything read here is bounded, and nothing is believed.
"""

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic

PROPOSAL, ABORTED = "proposal.json", "aborted.json"
BASE, DOCUMENTS, SIGNATURES = "base", "documents", "signatures"

MAX_FILE_BYTES = 1_000_000
MAX_SIGNATURE_BYTES = 8192
MAX_SIGNATURES = 1024

_SIGNATURE = re.compile(r"([1-9][0-9]*\.[A-Za-z0-9._-]+\.json)\.([0-9a-f]{64})\.json")
_TEMPORARY = ".new-"


def create(parent: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Make the folder `name` whole, or not at all.

    Args:
        parent: Where ceremonies lie; made if it does not exist.
        name: Of the folder.
        files: Relative path to content.

    Raises:
        HeirloomError: It exists or cannot be written.
    """
    folder = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
        temporary.chmod(0o755)
        for path, data in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(temporary / path, data)
        if folder.exists():
            shutil.rmtree(temporary)
            raise HeirloomError(f"{folder} exists already")
        temporary.rename(folder)
        _sync(parent)
    except OSError as exc:
        raise os_error(exc, f"cannot make {folder}") from exc
    return folder


def _sweep(parent: Path) -> None:
    """Remove what a killed program left."""
    for path in parent.glob(_TEMPORARY + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_once(path: Path, data: bytes) -> bool:
    """Write a file that never changes. Returns False if it was there already.

    Raises:
        HeirloomError: It is there with other content, or cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        _sweep(path.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
            os.link(temporary, path)  # a link, unlike a rename, fails if the name is taken
        finally:
            with suppress(OSError):
                Path(temporary).unlink()
        _sync(path.parent)
    except FileExistsError:
        return False
    except OSError as exc:
        raise os_error(exc, f"cannot write {path}") from exc
    return True


def read(folder: Path, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
    """The file `name` of the folder, or None if it is not there.

    Raises:
        HeirloomError: It is no regular file, is larger than `limit` bytes, or cannot be read.
    """
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                raise HeirloomError(f"{path} is no file of at most {limit} bytes", "it is not part of a ceremony")
            return stream.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc


def signatures(folder: Path) -> dict[tuple[str, str], str]:
    """The signatures that lie in the folder, believed by nobody yet: (document, keyid) to the signature.

    Raises:
        HeirloomError: A file is damaged, or there are too many.
    """
    found = {}
    try:
        places = (folder / SIGNATURES).iterdir() if (folder / SIGNATURES).is_dir() else ()
        names = sorted(path.name for path in places)
    except OSError as exc:
        raise os_error(exc, f"cannot read {folder / SIGNATURES}") from exc
    if len(names) > MAX_SIGNATURES:
        raise HeirloomError(f"{folder} has more than {MAX_SIGNATURES} signatures")
    for name in names:
        match = _SIGNATURE.fullmatch(name)
        if match is not None:
            found[match[1], match[2]] = _signature(folder, name, match[2])
    return found


def _signature(folder: Path, name: str, keyid: str) -> str:
    path = f"{SIGNATURES}/{name}"
    try:
        fields = json.loads(read(folder, path, MAX_SIGNATURE_BYTES) or b"")
        if set(fields) != {"keyid", "sig"} or fields["keyid"] != keyid or not isinstance(fields["sig"], str):
            raise ValueError("it needs keyid and sig")
        bytes.fromhex(fields["sig"])
    except (ValueError, TypeError, RecursionError) as exc:
        raise HeirloomError(
            f"{folder / path} is no signature: {exc}", "remove the file, and let its holder sign again"
        ) from exc
    return str(fields["sig"])


def signature_file(document: str, keyid: str) -> str:
    """Where a signature lies, relative to the folder."""
    return f"{SIGNATURES}/{document}.{keyid}.json"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
