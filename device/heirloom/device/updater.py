"""Finding and installing releases: what an application, main.py and the recovery call.

    updater = Updater()
    release = updater.check()          # verified, newer, and not against the owner's will; or None
    if release and updater.install(release):
        machine.reset()                # the new release starts its trial

Order of authority: floor, owner, channel. Every refusal is an UpdateError with a code and a sentence. Modules are
loaded by stage and dropped after it: the verified metadata (finding), the manifest (judging), the blobs (install).
"""

import heirloom_boot
from micropython import const

from heirloom.device.errors import (
    E_HASH,
    E_LENGTH,
    E_NETWORK,
    E_NOT_FOUND,
    E_OWNER,
    E_REQUIRES,
    E_SPACE,
    E_STATE,
    E_TRIAL,
    UpdateError,
)
from heirloom.device.http import Http

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.judging import Release
    from heirloom.device.places import Places

    Progress = Callable[[int, int], object]
    Consent = Callable[[Release], bool]

_STEPS = const(4)
# After these, the next poll makes a whole check again although the repository has not changed.
_RETRIED = (E_HASH, E_LENGTH, E_NETWORK, E_NOT_FOUND, E_SPACE, E_STATE, E_TRIAL)
# What stays loaded between two stages; everything else is dropped.
_KEPT = ("errors", "http", "places", "poll", "run", "store", "trial", "updater", "urls")


class Updater:
    """Checks and installs.

    progress(bytes so far, bytes in all) is called while blobs come; consent(release) is asked when the owner's
    switch is "ask". recovering: nothing runs, so the confirmed release may be installed again. looking: this one will
    not install, so what the owner allowed once (owner.accept_stale) is left for the one that can.
    """

    def __init__(
        self,
        progress: "Optional[Progress]" = None,
        consent: "Optional[Consent]" = None,
        recovering: bool = False,
        looking: bool = False,
    ) -> None:
        from heirloom.device import owner

        self.completed = False  # the last check reached verified, fresh metadata, or the owner wants none
        self._progress = progress or _quiet
        self._consent = consent
        self._recovering = recovering
        self._looking = looking
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
            self._record(None, str(error), settled=self.completed and error.code not in _RETRIED)
            error.recorded = True
            raise
        finally:
            self._http.close()
            heirloom_boot.forget(*_KEPT)
        self._record(f"release {release.version} is available" if release else "up to date", settled=not release)
        return release

    async def apoll(self) -> "Optional[Release]":
        """check() in an event loop, which runs on while the network comes up. The check itself blocks it."""
        import asyncio

        from heirloom.device.network import connecting

        for wait_ms in connecting():
            await asyncio.sleep_ms(wait_ms)
        return self.check()

    def wants(self, release: "Release") -> bool:
        """Whether the owner lets this release be installed: switched on, or said yes to it."""
        if self._owner["updates"] != "ask":
            return True
        return heirloom_boot.current().get("k") == release.order or bool(self._consent and self._consent(release))

    def approve(self, release: "Release") -> None:
        """The owner's yes to one release, for the install at the next boot."""
        heirloom_boot.change(k=release.order, d=1)

    def install(self, release: "Release") -> bool:
        """Fetches and activates a release that check() returned; True when the next boot runs it. Raises UpdateError.

        False: the owner wants to be asked, and said no or was not there.
        """
        if not self.wants(release):
            self._record(f"release {release.version} waits for the owner's yes", settled=True)
            return False
        heirloom_boot.log(f"installing {release.version}")
        try:
            from heirloom.device import install

            fetched = install.install(self._places or self.places(), self._progress)
        except UpdateError as error:
            self._record(None, str(error))
            error.recorded = True
            raise
        finally:
            self._http.close()
        fetched["requests"] = self._http.requests
        self._record(f"installed {release.version}", fetched=fetched, settled=True)
        return True

    def _check(self) -> "Optional[Release]":
        accept_stale = not self._looking and _take_stale()
        forbidden = "" if self._owner["network"] else "the owner allows no network"
        if self._owner["updates"] == "off":
            forbidden = "the owner has switched updates off"
        if forbidden:
            self.completed = True
            raise UpdateError(E_OWNER, forbidden)
        version = None  # of a stepping stone
        for _ in range(_STEPS):
            from heirloom.device import finding

            places = self._places or self.places()
            found = finding.find(places, self._device, self._owner, version, accept_stale)
            self.completed = True
            del finding
            heirloom_boot.forget(*_KEPT)
            from heirloom.device import judging

            verdict = judging.judge(found, places, self._device, self._owner, self._recovering)
            if not isinstance(verdict, str):
                return verdict
            version = verdict
            del judging
            heirloom_boot.forget(*_KEPT)
        raise UpdateError(E_REQUIRES, f"more than {_STEPS} stepping stones in a row")

    def _record(self, *what: "Any", **more: "Any") -> None:
        from heirloom.device import judging

        judging.record(self._places, *what, **more)


def _take_stale() -> bool:
    from heirloom.device import owner

    taken = owner.take_stale()
    del owner
    heirloom_boot.forget(*_KEPT)
    return taken


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches."""
