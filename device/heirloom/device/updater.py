"""Finding and installing releases: what an application, main.py and the recovery call.

    updater = Updater()
    release = updater.check()          # verified, newer, and not against the owner's will; or None
    if release and updater.install(release):
        machine.reset()                # the new release starts its trial

Order of authority: floor, owner, channel. Every refusal is an UpdateError with a code and a sentence. Modules are loaded
by stage and dropped after it: metadata, then the manifest, then the blobs.
"""

import json
import time

import heirloom_boot

from heirloom.device.errors import E_HASH, E_OWNER, E_REQUIRES, UpdateError
from heirloom.device.http import Http
from heirloom.device.store import read, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.finding import Found
    from heirloom.device.manifest import Manifest
    from heirloom.device.places import Places

    Progress = Callable[[int, int], object]
    Consent = Callable[["Release"], bool]

_STAGING = "/heirloom/slots/staging.cbor"
_YEAR_2000 = 946684800
_STEPS = 4
_STEADY_MS = 600_000
# What stays loaded between two stages; everything else is dropped.
_KEPT = ("errors", "http", "network", "places", "poll", "run", "store", "trial", "updater")


class Release:
    """A release that may be installed. Its manifest lies on flash, verified; `order` is [epoch, sequence]."""

    def __init__(self, manifest: "Manifest") -> None:
        self.version = manifest.version
        self.order = [manifest.epoch, manifest.sequence]
        self.install = manifest.install
        self.notes = manifest.notes

    def __repr__(self) -> str:
        return f"<release {self.version} {self.order}>"


class Updater:
    """Checks and installs.

    progress(bytes so far, bytes in all) is called while blobs come; consent(release) is asked when the owner's
    switch is "ask". recovering: nothing runs, so the confirmed release may be installed again.
    """

    def __init__(
        self, progress: "Optional[Progress]" = None, consent: "Optional[Consent]" = None, recovering: bool = False
    ) -> None:
        from heirloom.device import owner

        self.completed = False  # the last check reached verified, fresh metadata, or the owner wants none
        self._progress = progress or _quiet
        self._consent = consent
        self._recovering = recovering
        self._device = heirloom_boot.read_json("device.json")
        self._owner = owner.load().as_dict()
        self._http = Http()
        self._places: "Optional[Places]" = None
        heirloom_boot.forget(*_KEPT)

    def places(self) -> "Places":
        """Where the repository lies, as root, owner and provisioning say."""
        from heirloom.device import finding

        self._places = finding.places(self._http, self._owner, self._device)
        return self._places

    def check(self) -> "Optional[Release]":
        """Asks the repository; returns the release to install, or None when this device has it. Raises UpdateError.

        Blocks; the network must be up (network.connect()).
        """
        self.completed = False
        try:
            release = self._check()
        except UpdateError as error:
            self._record(None, str(error))
            raise
        finally:
            self._http.close()
            heirloom_boot.forget(*_KEPT)
        self._record(f"release {release.version} is available" if release else "up to date")
        return release

    async def apoll(self) -> "Optional[Release]":
        """check() in an event loop: waits for the network without blocking it. The check itself blocks."""
        import asyncio

        from heirloom.device.network import connecting

        if not self._forbidden():
            for wait_ms in connecting():
                await asyncio.sleep_ms(wait_ms)
        return self.check()

    def wants(self, release: Release) -> bool:
        """Whether the owner lets this release be installed: switched on, or said yes to it."""
        if self._owner["updates"] != "ask":
            return True
        return _state().get("k") == release.order or bool(self._consent and self._consent(release))

    def approve(self, release: Release) -> None:
        """The owner's yes to one release, for the install at the next boot."""
        heirloom_boot.change(k=release.order, d=1)

    def install(self, release: Release) -> bool:
        """Fetches and activates a release that check() returned; True when the next boot runs it. Raises UpdateError.

        False: the owner wants to be asked, and said no or was not there.
        """
        if not self.wants(release):
            return False
        heirloom_boot.log(f"installing {release.version}")
        try:
            from heirloom.device import install

            fetched = install.install(self._places or self.places(), self._progress)
        except UpdateError as error:
            self._record(None, str(error))
            raise
        finally:
            self._http.close()
        fetched["requests"] = self._http.requests
        self._record(f"installed {release.version}", None, fetched)
        return True

    def _forbidden(self) -> str:
        if self._owner["updates"] == "off":
            return "the owner has switched updates off"
        return "" if self._owner["network"] else "the owner allows no network"

    def _check(self) -> "Optional[Release]":
        if self._forbidden():
            self.completed = True
            raise UpdateError(E_OWNER, self._forbidden())
        from heirloom.device import finding

        board, channel = self._device.get("board"), self._owner["channel"] or self._device.get("channel") or "stable"
        found = finding.find(self.places(), board, channel, _now())
        self.completed = True
        del finding
        heirloom_boot.forget(*_KEPT)
        for _ in range(_STEPS):
            if _is_active(found[2]):
                return None
            manifest = self._judged(found)
            try:
                return self._fitting(manifest)
            except UpdateError as error:
                if error.code != E_REQUIRES or not manifest.via:
                    raise
                found = self._stone(board, manifest.via)
        raise UpdateError(E_REQUIRES, f"more than {_STEPS} stepping stones in a row")

    def _stone(self, board: str, version: str) -> "Found":
        from heirloom.device import finding

        stone = finding.stepping_stone(self._places or self.places(), board, version, _now())
        del finding
        heirloom_boot.forget(*_KEPT)
        if not stone:
            raise UpdateError(E_REQUIRES, f"the stepping stone {version} is not listed any more")
        return stone

    def _judged(self, found: "Found") -> "Manifest":
        """The manifest of a target that the device's memory and the owner let pass."""
        from heirloom.device.ordering import check_order

        state, custom = _state(), found[3]
        repairs = self._recovering or not state["a"]
        order = [custom.get("epoch"), custom.get("sequence")]
        # What the signed role says is judged before anything is fetched, and the manifest again after.
        if all(isinstance(number, int) for number in order):
            check_order(order, str(custom.get("version")), state, repairs)
        manifest = self._manifest(found)
        check_order(manifest.order, manifest.version, state, repairs)
        if self._owner["pinned"] not in (None, manifest.version):
            raise UpdateError(E_OWNER, f"the owner pinned {self._owner['pinned']}, the channel has {manifest.version}")
        if state.get("w") == list(manifest.order) and time.ticks_ms() < _STEADY_MS and state["a"]:
            raise UpdateError(E_OWNER, f"release {manifest.version} lost power too often and waits for 10 steady minutes")
        return manifest

    def _manifest(self, found: "Found") -> "Manifest":
        """The manifest, verified and on flash; fetched unless it lies there from an install that was cut."""
        import hashlib

        from heirloom.device.manifest import MAX_LENGTH, Manifest

        path, length, sha256, _ = found
        data = read(_STAGING)
        if hashlib.sha256(data).digest() != sha256:
            folder, _, name = path.rpartition("/")
            places = self._places or self.places()
            data = places.read(f"targets/{folder}/{_hex(sha256)}.{name}", min(length, MAX_LENGTH))
            if len(data) != length or hashlib.sha256(data).digest() != sha256:
                raise UpdateError(E_HASH, f"{path} is not what was signed")
            write_atomic(_STAGING, data)
        return Manifest.decode(data)

    def _fitting(self, manifest: "Manifest") -> Release:
        from heirloom.device.ordering import check_manifest

        check_manifest(manifest, self._device.get("product"), self._device.get("board"), _state())
        return Release(manifest)

    def _record(self, result: "Optional[str]", error: "Optional[str]" = None, fetched: "Any" = None) -> None:
        """Keeps the outcome for status reports, best effort."""
        last = heirloom_boot.read_json("last")
        before = last.get("check") or {}
        if (result, error) != (before.get("result"), before.get("error")):
            heirloom_boot.log(f"check: {result or error}")
        last["check"] = {"time": _now(), "result": result, "error": error}
        if fetched:
            last["fetched"] = fetched
        try:
            write_atomic("/heirloom/last", json.dumps(last).encode())
        except UpdateError:
            pass


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


def _state() -> "dict[str, Any]":
    return heirloom_boot.load() or heirloom_boot.new_state()


def _hex(data: bytes) -> str:
    import binascii

    return str(binascii.hexlify(data), "ascii")


def _now() -> int:
    """Unix seconds by the device's clock, which may be years behind."""
    return int(time.time()) + (_YEAR_2000 if time.gmtime(0)[0] == 2000 else 0)


def _is_active(sha256: bytes) -> bool:
    import hashlib

    active = _state()["a"]
    return bool(active) and hashlib.sha256(read(heirloom_boot.slot_path(active))).digest() == sha256
