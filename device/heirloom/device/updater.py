"""Finding and installing releases: what an application, main.py and the recovery call.

    updater = Updater()
    release = updater.check()          # verified, newer, and wanted by the owner; or None
    if release and updater.install(release):
        machine.reset()                # the new release starts its trial

Order of authority: floor, owner, channel. Every refusal is an UpdateError with a code and a sentence.
"""

import json
import time

import heirloom_boot

from heirloom.device import owner as owners
from heirloom.device.errors import E_HASH, E_MIX, E_NETWORK, E_NOT_FOUND, E_OWNER, E_REQUIRES, UpdateError
from heirloom.device.http import Http
from heirloom.device.places import Places
from heirloom.device.store import FlashStore, FlashTables, read, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.manifest import Manifest
    from heirloom.device.tuf import Client, Target

    Progress = Callable[[int, int], object]
    Consent = Callable[["Release"], bool]

LAST = "/heirloom/last"
_STAGING = "/heirloom/slots/staging.cbor"
_YEAR_2000 = 946684800
_STEPS = 4
_STEADY_S = 600


class Release:
    """A release that may be installed; its manifest lies on flash, verified."""

    def __init__(self, manifest: "Manifest") -> None:
        self.manifest = manifest
        self.version = manifest.version

    def __repr__(self) -> str:
        return f"<release {self.version} {self.manifest.order}>"


class Updater:
    """Checks and installs.

    progress(bytes so far, bytes in all) is called while blobs come; consent(release) is asked when the owner's
    switch is "ask". `recovering`: nothing runs, so the confirmed release may be installed again.
    """

    def __init__(self, progress: "Optional[Progress]" = None, consent: "Optional[Consent]" = None, recovering: bool = False) -> None:
        self._progress = progress or _quiet
        self._consent = consent
        self._recovering = recovering
        self._device = heirloom_boot.read_json("device.json")
        self._owner = owners.load()
        self._http = Http()
        self._places = Places(self._http, [])
        self.completed = False  # the last check reached verified, fresh metadata, or the owner wants none

    def check(self) -> "Optional[Release]":
        """Asks the repository; returns the release to install, or None when this device has it. Raises UpdateError.

        Blocks; the network must be up (network.connect()).
        """
        self.completed = False
        try:
            release = self._check()
        except UpdateError as error:
            self._record(str(error))
            raise
        finally:
            self._http.close()
        self._record(f"release {release.version} is available" if release else "up to date")
        return release

    def _check(self) -> "Optional[Release]":
        if self._owner.updates == "off" or not self._owner.network:
            self.completed = True
            raise UpdateError(E_OWNER, "the owner has switched updates off" if self._owner.updates == "off" else "the owner allows no network")
        from heirloom.device.tuf import Client

        client_places = self.places()
        first: "Optional[UpdateError]" = None
        for _ in range(max(1, len(client_places))):
            client = Client(FlashStore(), client_places, _now(), None, FlashTables())
            try:
                client.poll()
                target = self._pointed(client)
                self.completed = True
                return self._judge(client, target)
            except UpdateError as error:
                if self.completed:
                    raise
                if first is None or first.code == E_NETWORK:
                    first = error
                if error.code == E_NETWORK:
                    break  # all places were tried
                client_places.next()  # perhaps only this place is damaged or lies
        raise first or UpdateError(E_NETWORK, "no place is known")

    def places(self) -> Places:
        """Where to look: the owner's own URL, then those that the trusted root names, then those of the provisioning."""
        from heirloom.device.tuf import Client

        urls = [self._owner.url]
        try:
            urls += Client(FlashStore(), self._places, 0).value("root", "x-heirloom-urls") or []  # type: ignore[operator]
        except UpdateError:
            pass  # a damaged root is the business of the check
        urls += self._device.get("urls") or []
        self._places = Places(self._http, [url for url in urls if isinstance(url, str)], self._owner.tls_only)
        return self._places

    async def apoll(self) -> "Optional[Release]":
        """check() in an event loop: waits for the network without blocking it. The check itself blocks."""
        import asyncio

        from heirloom.device.network import connecting

        if self._owner.updates != "off" and self._owner.network:
            for wait_ms in connecting():
                await asyncio.sleep_ms(wait_ms)
        return self.check()

    def wants(self, release: Release) -> bool:
        """Whether the owner lets this release be installed: switched on, or said yes to it."""
        if self._owner.updates != "ask":
            return True
        state = heirloom_boot.load() or heirloom_boot.new_state()
        return state.get("k") == list(release.manifest.order) or bool(self._consent and self._consent(release))

    def _pointed(self, client: "Client") -> "Target":
        """The release target of this device's channel: both roles agree on it."""
        board = self._device.get("board")
        channel = self._owner.channel or self._device.get("channel") or "stable"
        pointer = client.find_target(f"channels/{board}/{channel}")
        if pointer is None:
            raise UpdateError(E_NOT_FOUND, f"the repository has no channel {channel} for {board}")
        path = pointer.custom.get("release")
        target = client.find_target(path) if isinstance(path, str) and path.startswith(f"releases/{board}/") else None
        if target is None or target.sha256 != pointer.sha256 or target.length != pointer.length:
            raise UpdateError(E_MIX, f"channel {channel} points to {path}, which releases-{board} does not list so")
        return target

    def _judge(self, client: "Client", target: "Target") -> "Optional[Release]":
        from heirloom.device.ordering import check_manifest, check_order

        state = heirloom_boot.load() or heirloom_boot.new_state()
        for _ in range(_STEPS):
            if _is_active(target, state):
                return None
            custom = target.custom
            order = [custom.get("epoch"), custom.get("sequence")]
            # What the signed role says is judged before anything is fetched, and the manifest again after.
            if all(isinstance(number, int) for number in order):
                check_order(order, str(custom.get("version")), state, self._repairs(state))
            manifest = self._manifest(target)
            check_order(manifest.order, manifest.version, state, self._repairs(state))
            self._ask_owner(manifest, state)
            try:
                check_manifest(manifest, self._device.get("product"), self._device.get("board"), state)
                return Release(manifest)
            except UpdateError as error:
                stone = manifest.via and client.find_target(f"releases/{manifest.board}/{manifest.via}.cbor")
                if error.code != E_REQUIRES or not stone:
                    raise
                target = stone
        raise UpdateError(E_REQUIRES, f"more than {_STEPS} stepping stones in a row")

    def _repairs(self, state: "dict[str, Any]") -> bool:
        return self._recovering or not state["a"]

    def _ask_owner(self, manifest: "Manifest", state: "dict[str, Any]") -> None:
        if self._owner.pinned not in (None, manifest.version):
            raise UpdateError(E_OWNER, f"the owner pinned {self._owner.pinned}, the channel has {manifest.version}")
        order = list(manifest.order)
        if state.get("w") == order and time.ticks_ms() < _STEADY_S * 1000 and state["a"]:
            raise UpdateError(E_OWNER, f"release {manifest.version} lost power too often; next try after {_STEADY_S} s of steady power")

    def _manifest(self, target: "Target") -> "Manifest":
        """The manifest, verified and on flash; fetched unless it lies there from a cut install."""
        import hashlib

        from heirloom.device.manifest import MAX_LENGTH, Manifest

        data = read(_STAGING)
        if hashlib.sha256(data).digest() != target.sha256:
            folder, _, name = target.path.rpartition("/")
            data = self._places.read(f"targets/{folder}/{_hex(target.sha256)}.{name}", min(target.length, MAX_LENGTH))
            if len(data) != target.length or hashlib.sha256(data).digest() != target.sha256:
                self._places.next()
                raise UpdateError(E_HASH, f"{target.path} is not what {target.role} signed")
            write_atomic(_STAGING, data)
        return Manifest.decode(data)

    def install(self, release: Release) -> bool:
        """Fetches and activates a release that check() returned; True when the next boot runs it. Raises UpdateError.

        False: the owner wants to be asked, and said no or was not there.
        """
        from heirloom.device import install

        if not self.wants(release):
            return False
        heirloom_boot.log(f"installing {release.version}")
        try:
            work = install.stage(release.manifest, self._places, self._progress)
            install.activate(release.manifest)
        except UpdateError as error:
            self._record(str(error))
            raise
        finally:
            self._http.close()
        self._record(f"installed {release.version}", {"bytes": work.bytes, "blobs": work.fetched, "requests": self._http.requests})
        return True

    def approve(self, release: Release) -> None:
        """The owner's yes to one release, for the install at the next boot."""
        heirloom_boot.change(k=list(release.manifest.order), d=1)

    def _record(self, result: str, fetched: "Optional[dict[str, int]]" = None) -> None:
        """Keeps the outcome for status reports, best effort."""
        last = heirloom_boot.read_json("last")
        before = last.get("check") or {}
        if result not in (before.get("result"), before.get("error")):
            heirloom_boot.log("check: " + result)
        last["check"] = {"time": _now(), "result": result if result[:2] != "E_" else None, "error": result if result[:2] == "E_" else None}
        last["http"] = [self._http.sent, self._http.received, self._http.requests]
        if fetched:
            last["fetched"] = fetched
        try:
            write_atomic(LAST, json.dumps(last).encode())
        except UpdateError:
            pass


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


def _hex(data: bytes) -> str:
    import binascii

    return str(binascii.hexlify(data), "ascii")


def _now() -> int:
    """Unix seconds by the device's clock, which may be years behind."""
    return int(time.time()) + (_YEAR_2000 if time.gmtime(0)[0] == 2000 else 0)


def _is_active(target: "Target", state: "dict[str, Any]") -> bool:
    import hashlib

    return bool(state["a"]) and hashlib.sha256(read(heirloom_boot.slot_path(state["a"]))).digest() == target.sha256
