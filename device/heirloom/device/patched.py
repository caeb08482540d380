"""Has a file made of one that the device holds and a patch, so that fewer bytes come over the network.

A patch saves bytes and proves nothing: what it made is hashed as everything else is, and whatever is wrong with it, the
file is fetched in full. Loaded only for a release whose manifest has patches. The patch lies beside the blobs as an
unfinished download, so it goes on after a power cut, and is removed when it was used.
"""

import os

import heirloom_boot

from heirloom.device.blobs import partial_of, path_of, size
from heirloom.device.errors import E_HASH, E_NETWORK, UpdateError
from heirloom.device.store import flash_error, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from heirloom.device.blobs import Blobs
    from heirloom.device.manifest import Manifest
    from heirloom.device.patching import Sink, Source
    from heirloom.device.places import Places

    Choice = tuple[bytes, int, bytes]  # SHA-256 of the old file, length in bytes of the patch, SHA-256 of the patch
    Progress = Callable[[int], object]


def choose(manifest: "Manifest", sha256: bytes, held: "Callable[[bytes], bool]") -> "Optional[Choice]":
    """The shortest patch that leads to this file from one of which held(its SHA-256) is true; None without one."""
    from heirloom.device.patching import ALGORITHM

    best: "Optional[Choice]" = None
    for old, new, patch, length, algorithm in manifest.patches:
        if new == sha256 and algorithm == ALGORITHM and (best is None or length < best[1]) and held(old):
            best = (old, length, patch)
    return best


def fetch(
    work: "Blobs", places: "Places", manifest: "Manifest", length: int, sha256: bytes, progress: "Progress"
) -> bool:
    """Has the blob by a patch; False when it is to be fetched in full. Never raises UpdateError."""
    choice = choose(manifest, sha256, lambda old: size(path_of(old)) >= 0)
    if not choice or not _saves(choice, length, sha256):
        return False
    old = path_of(choice[0])
    try:
        if not work.intact(size(old), choice[0]):
            raise UpdateError(E_HASH, f"blob {old[-12:]}..., which a patch needs, is damaged")
        work.check_space([(choice[1], choice[2]), (length, sha256)])
        _make_blob(work, places, choice, length, sha256, progress)
        return True
    except (UpdateError, MemoryError, ImportError, ValueError) as error:  # ValueError: native code of another firmware
        heirloom_boot.log(f"{error}; a file is fetched in full instead of its patch")
        if getattr(error, "code", "") != E_NETWORK:  # else it goes on next time
            remove(partial_of(choice[2]))
        return False


def _saves(choice: "Choice", length: int, sha256: bytes) -> bool:
    """Whether less has to come for the patch than for the rest of the file."""
    return choice[1] - max(0, size(partial_of(choice[2]))) < length - max(0, size(partial_of(sha256)))


def _make_blob(
    work: "Blobs", places: "Places", choice: "Choice", length: int, sha256: bytes, progress: "Progress"
) -> None:
    new = partial_of(sha256)
    try:
        with open(path_of(choice[0]), "rb") as source:
            work.download(places, choice[1], choice[2], progress)
            with open(new, "wb") as sink:
                make(choice, source, sink, length)
        if not work.intact(length, sha256, new):
            raise UpdateError(E_HASH, f"the patch does not make blob {new[-12:]}...")
        os.rename(new, path_of(sha256))
    except OSError as error:
        remove(new)
        raise flash_error(error, new) from None
    except UpdateError:
        remove(new)
        raise
    remove(partial_of(choice[2]))
    work.fetched += 1
    work.patched += 1


def make(choice: "Choice", source: "Source", sink: "Sink", length: int) -> None:
    """Applies a patch that Blobs.download() brought. Whoever calls this hashes the result, then removes the patch.

    Raises UpdateError, and what source and sink raise.
    """
    from heirloom.device import patching

    with open(partial_of(choice[2]), "rb") as patch:
        patching.apply(patch, source, sink, length)
