"""From a verified release manifest to the release that boots next: stage, check all, activate by one rename."""

import hashlib
import os

import heirloom_boot
from micropython import const

from heirloom.device import blobs
from heirloom.device.errors import E_FIRMWARE, E_HASH, E_SPACE, E_STATE, E_TRIAL, UpdateError
from heirloom.device.manifest import Manifest
from heirloom.device.store import flash_error, read, remove

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.places import Places

    Progress = Callable[[int, int], object]

STAGING = "/heirloom/slots/staging.cbor"


def install(places: "Places", progress: "Progress", sha256: "Optional[bytes]" = None) -> "dict[str, int]":
    """Installs the release whose verified manifest lies at STAGING; returns what was fetched. Raises UpdateError.

    progress(bytes so far, bytes in all) is called now and then. sha256: of the manifest that was judged. Another check
    may have been made since, and what it left there was perhaps refused.
    """
    if heirloom_boot.current()["t"]:
        raise UpdateError(
            E_TRIAL, "a release is on trial; nothing else is installed until it is confirmed or rolled back"
        )
    data = read(STAGING)
    if sha256 and hashlib.sha256(data).digest() != sha256:
        raise UpdateError(E_STATE, "another release was looked at since this one was found; check again")
    manifest = Manifest.decode(data)
    work = blobs.Blobs()
    _stage(manifest, places, work, progress)
    marks, moved = _marks(manifest, places, progress)
    _activate(manifest, marks)
    if marks and not heirloom_boot.fits(heirloom_boot.current(), heirloom_boot.current()["a"]):
        _switch(manifest)
    fetched = {"bytes": work.bytes + moved, "blobs": work.fetched}
    if work.patched:
        fetched["patches"] = work.patched
    return fetched


def prepare() -> None:
    """Makes room for the staged release before its blobs are fetched beside the application. Raises UpdateError."""
    work = blobs.Blobs()
    _make_room(work, work.missing(blobs.load(STAGING)))


def _stage(manifest: "Manifest", places: "Places", work: blobs.Blobs, progress: "Progress") -> None:
    """Brings every blob of the release to flash and hashes all of them there."""
    wanted = work.missing(manifest)
    _make_room(work, wanted)
    total = sum([length for length, _ in wanted])
    for length, sha256 in wanted:
        if not _patched(manifest, places, work, length, sha256, lambda done: progress(done, total)):
            work.fetch(places, length, sha256, lambda done: progress(done, total))
    for length, sha256 in work.damaged(manifest):
        remove(blobs.path_of(sha256))  # flash went bad under a good name: once more from the network
        work.fetch(places, length, sha256, lambda done: progress(done, total))
        if not work.intact(length, sha256):
            raise UpdateError(E_HASH, "flash does not keep what is written to it")
    for record in manifest.patches:
        if manifest.firmware and record[1] == manifest.firmware[1]:
            continue  # it is still to come
        remove(blobs.partial_of(record[2]))  # one that a power cut left behind when it had done its work


def _patched(
    manifest: "Manifest",
    places: "Places",
    work: blobs.Blobs,
    length: int,
    sha256: bytes,
    progress: "Callable[[int], object]",
) -> bool:
    """Whether a patch made the blob."""
    if not manifest.patches:
        return False
    from heirloom.device import patched

    return patched.fetch(work, places, manifest, length, sha256, progress)


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


def _marks(manifest: "Manifest", places: "Places", progress: "Progress") -> "tuple[Optional[dict[str, str]], int]":
    """Brings the firmware of the release to flash. Returns key p of the state to come, and the bytes that were fetched.

    Without firmware the release belongs to the one that runs; that is written down once a device had several.
    """
    marks = heirloom_boot.current().get("p") or {}
    if not manifest.firmware and not marks:
        return None, 0
    port = heirloom_boot.esp32()
    running = port.mark(port.running())
    mark, moved = running, 0
    if manifest.firmware:
        from heirloom.device import firmware

        total = manifest.firmware[0]
        mark, moved = firmware.stage(manifest, places, lambda done: progress(done, total))
    old = heirloom_boot.current()["a"]
    made = {_other(old): mark}
    if old:
        made[old] = marks.get(old, running)
    return made, moved


def _other(slot: "Optional[str]") -> str:
    return "b" if slot == "a" else "a"


def _switch(manifest: "Manifest") -> None:
    """Has the bootloader start the new firmware next: the commit point. Raises UpdateError E_FIRMWARE when it will not.

    The bytes are what was signed, so a firmware that is refused here has failed.
    """
    state = heirloom_boot.current()
    try:
        partition = heirloom_boot.esp32().find(state["p"][state["a"]])
        if partition is None:
            raise OSError(19)  # ENODEV: it was there when it was written
        partition.set_boot()
    except OSError as error:
        state["t"][0] = 1
        heirloom_boot.charge(state, False)
        heirloom_boot.save(state)
        raise UpdateError(E_FIRMWARE, f"the bootloader refuses the firmware of {manifest.version}: {error!r}") from None


def _activate(manifest: "Manifest", marks: "Optional[dict[str, str]]") -> None:
    """Makes the staged release the active one, on trial from the next boot. All its blobs were hashed."""
    state = heirloom_boot.current()
    old = state["a"]
    new = _other(old)
    switches = not heirloom_boot.fits({"p": marks}, new)
    if state["f"]:
        _set(f=None)  # before its manifest is overwritten
    try:
        if switches or heirloom_boot.exists(heirloom_boot.slot_path(new)[:-5]):
            _bring_mounter(manifest, heirloom_boot.slot_path(new)[:-5])
        os.rename(STAGING, heirloom_boot.slot_path(new))
    except OSError as error:
        raise flash_error(error, "slot " + new) from None
    _set(
        a=new,
        f=old,
        p=marks,
        t=[
            heirloom_boot.TRIAL_BOOTS,
            heirloom_boot.TRIAL_POWER_LOSSES,
            heirloom_boot.SWITCHED if switches else heirloom_boot.ORDERLY,
        ],
        y=[manifest.epoch, manifest.sequence, manifest.floor, manifest.confirm],
        d=0,
        # The client that verified this release runs on with it, unless the release brings one that has to prove itself,
        # or firmware to prove itself on.
        h=None if switches or _brings_client(manifest) else heirloom_boot.CHECKED,
        c=None,
        k=None,
        b=None,
    )
    heirloom_boot.log(f"release {manifest.version} is installed and on trial from the next boot")


def _bring_mounter(manifest: "Manifest", folder: str) -> None:
    """Puts what mounts a slot beside its manifest when firmware comes with a client of its own, else takes it away.

    That firmware may load nothing of what lies in /lib, and the release's own client is found in the mounted slot.
    """
    there = {path: sha256 for path, _, sha256 in manifest.files if path.startswith("lib/heirloom/device/")}
    for name in ("cbor.mpy", "appfs.mpy"):
        sha256 = there.get("lib/heirloom/device/" + name) if manifest.firmware else None
        place = folder
        for part in ("", "/heirloom", "/device"):
            place += part
            if sha256 and not heirloom_boot.exists(place):
                os.mkdir(place)
        remove(place + "/" + name)
        if sha256:
            with open(blobs.path_of(sha256), "rb") as source, open(place + "/" + name, "wb") as copy:
                copy.write(source.read())


def _brings_client(manifest: "Manifest") -> bool:
    return any(path.startswith("lib/heirloom/") for path, _, _ in manifest.files)


def _set(**values: "Any") -> None:
    try:
        heirloom_boot.change(**values)
    except OSError as error:
        raise flash_error(error, "state") from None
