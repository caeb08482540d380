"""Whether the release that the metadata points to is one for this device, now. Keeps the outcome, too."""

import binascii
import hashlib
import json
import time

import heirloom_boot
from micropython import const

from heirloom.device.clock import now
from heirloom.device.errors import E_FIRMWARE, E_HASH, E_LENGTH, E_OWNER, E_REQUIRES, E_TRIAL, UpdateError
from heirloom.device.store import read, write_atomic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Union

    from heirloom.device.finding import Found
    from heirloom.device.manifest import Manifest
    from heirloom.device.places import Places

_STAGING = "/heirloom/slots/staging.cbor"
_STEADY_MS = const(600_000)


class Release:
    """A release that may be installed. Its manifest lies on flash, verified; `order` is [epoch, sequence]."""

    def __init__(self, manifest: "Manifest", sha256: bytes) -> None:
        self.sha256 = sha256  # of the manifest
        self.version = manifest.version
        self.order = [manifest.epoch, manifest.sequence]
        self.install = manifest.install
        self.notes = manifest.notes

    def __repr__(self) -> str:
        return f"<release {self.version} {self.order}>"


def judge(
    found: "Found",
    places: "Places",
    device: "dict[str, Any]",
    owner: "dict[str, Any]",
    recovering: bool,
    stone: bool = False,
) -> "Union[Release, str, None]":
    """The release to install, the version of the stepping stone to take first, or None when the device has it already.

    stone: what was found is itself a stepping stone. Raises UpdateError when the device's memory, the owner or the
    release itself say no.
    """
    from heirloom.device import ordering

    state = heirloom_boot.current()
    if state["a"] and hashlib.sha256(read(heirloom_boot.slot_path(state["a"]))).digest() == found[2]:
        return None
    repairs = recovering or _runs_older(found, state)
    epoch, sequence = found[3].get("epoch"), found[3].get("sequence")
    # What the signed role says is judged before anything is fetched, and the manifest again after.
    if isinstance(epoch, int) and isinstance(sequence, int):
        ordering.check_order((epoch, sequence), str(found[3].get("version")), state, repairs)
    manifest = _manifest(found, places)
    ordering.check_epoch(manifest.epoch, manifest.version, found[4])
    ordering.check_order(manifest.order, manifest.version, state, repairs)
    if not stone:  # a version that the owner pinned may need one on the way
        _ask_owner(manifest, owner)
    _ask_power(manifest, state)
    try:
        ordering.check_manifest(manifest, str(device.get("product")), str(device.get("board")), state)
    except UpdateError as error:
        if error.code != E_REQUIRES or not manifest.via:
            raise
        return manifest.via
    if manifest.firmware:
        _check_firmware(manifest.firmware[0])
    return Release(manifest, found[2])


def _runs_older(found: "Found", state: "dict[str, Any]") -> bool:
    """Whether what was found is the highest confirmed release, and one before it runs, or none: its slot was lost."""
    from heirloom.device.manifest import Manifest

    if not state["a"]:
        return True
    if [found[3].get("epoch"), found[3].get("sequence")] != state["o"]:
        return False
    try:
        return bool(list(Manifest.decode(read(heirloom_boot.slot_path(state["a"]))).order) < state["o"])
    except UpdateError:
        return False


def _check_firmware(length: int) -> None:
    try:
        from heirloom.device import firmware
    except ImportError:
        raise UpdateError(
            E_FIRMWARE, "the release brings firmware, and that of this unit is not replaced over the air"
        ) from None
    firmware.check(length)


def _ask_owner(manifest: "Manifest", owner: "dict[str, Any]") -> None:
    if owner["pinned"] not in (None, manifest.version):
        raise UpdateError(E_OWNER, f"the owner pinned {owner['pinned']}, the channel has {manifest.version}")


def _ask_power(manifest: "Manifest", state: "dict[str, Any]") -> None:
    if state.get("w") == list(manifest.order) and time.ticks_diff(time.ticks_ms(), 0) < _STEADY_MS and state["a"]:
        raise UpdateError(E_TRIAL, f"release {manifest.version} lost power too often and waits for 10 steady minutes")


def _manifest(found: "Found", places: "Places") -> "Manifest":
    """The manifest, verified and on flash; fetched unless it lies there from an install that was cut."""
    from heirloom.device.manifest import Manifest

    sha256 = found[2]
    data = read(_STAGING)
    if hashlib.sha256(data).digest() != sha256:
        data = _fetched(found, places)
        write_atomic(_STAGING, data)
    return Manifest.decode(data)


def _fetched(found: "Found", places: "Places") -> bytes:
    """The manifest from the first place that has it as it was signed."""
    from heirloom.device.manifest import MAX_LENGTH

    path, length, sha256 = found[:3]
    folder, _, name = path.rpartition("/")
    prefix = str(binascii.hexlify(sha256), "ascii")
    wrong = UpdateError(E_HASH, f"{path} is not what was signed")
    for _ in range(len(places)):
        try:
            data = places.read(f"targets/{folder}/{prefix}.{name}", min(length, MAX_LENGTH))
            if hashlib.sha256(data).digest() == sha256:
                return data
        except UpdateError as error:
            if error.code != E_LENGTH:
                raise
            wrong = error
        places.next()
    raise wrong


def record(
    places: "Optional[Places]",
    result: "Optional[str]",
    error: "Optional[str]" = None,
    fetched: "Optional[dict[str, int]]" = None,
    settled: bool = False,
    found: bool = False,
    waiting: "Any" = None,
    media: str = "",
    news: str = "",
) -> None:
    """Keeps the outcome for status reports and for the poll, best effort.

    settled: nothing is left to do until the repository changes. Only then may a poll be content with "not modified".
    found: a release to install. waiting: what waits for the owner's yes; 0: nothing does; None: as before. media: the
    medium that was asked instead of the network; news: its timestamp, when it need not be asked again.
    """
    last = heirloom_boot.read_json("last")
    before = last.get("check") or {}
    line = f"check: {result or error}"
    if (result, error) != (before.get("result"), before.get("error")):
        heirloom_boot.log(line)
    elif error:
        print("heirloom:", line)  # the log has it already
    last["check"] = {"time": now(), "result": result, "error": error}
    last["etag"] = heirloom_boot.read_json("trust/time").get("etag", "") if settled else ""
    if fetched:
        last["fetched"] = fetched
    if found:
        last["media"] = media
    if waiting is not None:
        last["waiting"] = waiting or None
    if media:
        last["news"] = news
    if places:
        if not media:
            last["urls"] = places.urls()
        last["metadata"] = places.versions or last.get("metadata")
    try:
        write_atomic("/heirloom/last", json.dumps(last).encode())
    except UpdateError:
        pass
