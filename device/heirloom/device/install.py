"""From a verified release manifest to the release that boots next: stage, check all, activate by one rename."""

import os

import heirloom_boot
from micropython import const

from heirloom.device import blobs
from heirloom.device.errors import E_HASH, E_SPACE, E_TRIAL, UpdateError
from heirloom.device.store import flash_error, remove

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

    from heirloom.device.manifest import Manifest
    from heirloom.device.places import Places

    Progress = Callable[[int, int], object]

STAGING = "/heirloom/slots/staging.cbor"


def install(places: "Places", progress: "Progress") -> "dict[str, int]":
    """Installs the release whose verified manifest lies at STAGING; returns what was fetched. Raises UpdateError.

    progress(bytes so far, bytes in all) is called now and then.
    """
    if heirloom_boot.current()["t"]:
        raise UpdateError(
            E_TRIAL, "a release is on trial; nothing else is installed until it is confirmed or rolled back"
        )
    manifest = blobs.load(STAGING)
    work = blobs.Blobs()
    _stage(manifest, places, work, progress)
    _activate(manifest)
    return {"bytes": work.bytes, "blobs": work.fetched}


def _stage(manifest: "Manifest", places: "Places", work: blobs.Blobs, progress: "Progress") -> None:
    """Brings every blob of the release to flash and hashes all of them there."""
    wanted = work.missing(manifest)
    _make_room(work, wanted)
    total = sum([length for length, _ in wanted])
    for length, sha256 in wanted:
        work.fetch(places, length, sha256, lambda done: progress(done, total))
    for length, sha256 in work.damaged(manifest):
        remove(blobs.path_of(sha256))  # flash went bad under a good name: once more from the network
        work.fetch(places, length, sha256, lambda done: progress(done, total))
        if not work.intact(length, sha256):
            raise UpdateError(E_HASH, "flash does not keep what is written to it")


def _make_room(work: blobs.Blobs, wanted: "list[tuple[int, bytes]]") -> None:
    """Collects garbage; when that is not enough gives up the fallback slot. Raises UpdateError E_SPACE."""
    _collect()
    try:
        work.check_space(wanted)
    except UpdateError as error:
        if error.code != E_SPACE or not heirloom_boot.current()["f"]:
            raise
        _set(f=None)
        _collect()
        work.check_space(wanted)


def _collect() -> None:
    """Removes what neither slot nor the staged release names."""
    state = heirloom_boot.current()
    paths = [STAGING]
    for slot in (state["a"], state["f"]):
        if not slot:
            continue
        path = heirloom_boot.slot_path(slot)
        try:
            blobs.load(path)
            paths.append(path)
        except UpdateError:
            if slot == state["a"]:
                return  # what the running release needs is not known: nothing is removed
            _set(f=None)  # a fallback that nobody can read is none
    blobs.collect(paths)


def _activate(manifest: "Manifest") -> None:
    """Makes the staged release the active one, on trial from the next boot. All its blobs were hashed."""
    state = heirloom_boot.current()
    old = state["a"]
    new = "b" if old == "a" else "a"
    if state["f"]:
        _set(f=None)  # before its manifest is overwritten
    try:
        os.rename(STAGING, heirloom_boot.slot_path(new))
    except OSError as error:
        raise flash_error(error, "slot " + new) from None
    _set(
        a=new,
        f=old,
        t=[heirloom_boot.TRIAL_BOOTS, heirloom_boot.TRIAL_POWER_LOSSES, heirloom_boot.ORDERLY],
        y=[manifest.epoch, manifest.sequence, manifest.floor, manifest.confirm],
        d=0,
        # The client that verified this release runs on with it, unless the release brings one that has to prove itself.
        h=None if _brings_client(manifest) else heirloom_boot.CHECKED,
        c=None,
        k=None,
    )
    heirloom_boot.log(f"release {manifest.version} is installed and on trial from the next boot")


def _brings_client(manifest: "Manifest") -> bool:
    return any(path.startswith("lib/heirloom/") for path, _, _ in manifest.files)


def _set(**values: "Any") -> None:
    try:
        heirloom_boot.change(**values)
    except OSError as error:
        raise flash_error(error, "state") from None
