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

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from heirloom.device.judging import Release
    from heirloom.device.media import Media
    from heirloom.device.places import Places

    Progress = Callable[[int, int], object]
    Consent = Callable[[Release], bool]

_STEPS = const(4)
# Of a whole check. The application waits for it, and during a trial its watchdog does not wait for ever.
_CHECK_S = const(180)
# After these, the next poll makes a whole check again although the repository has not changed.
_RETRIED = (E_HASH, E_LENGTH, E_NETWORK, E_NOT_FOUND, E_SPACE, E_STATE, E_TRIAL)
# What stays loaded between two stages; everything else is dropped.
_KEPT = ("errors", "http", "places", "poll", "run", "store", "trial", "updater", "urls")


class Updater:
    """Checks and installs.

    progress(bytes so far, bytes in all) is called while blobs come; consent(release) is asked when the owner's
    switch is "ask". recovering: nothing runs, so the confirmed release may be installed again. looking: this one will
    not install, so what the owner allowed once (owner.accept_stale) is left for the one that can.

    media: the path of a folder or bundle file, on a card or a stick; then nothing else is asked. present: the owner is
    there and wants just this, so updates that are off or asked about are no obstacle.

    health: asked before the running release is confirmed; see trial.health().
    """

    def __init__(
        self,
        progress: "Optional[Progress]" = None,
        consent: "Optional[Consent]" = None,
        recovering: bool = False,
        looking: bool = False,
        media: str = "",
        present: bool = False,
        health: "Optional[Callable[[], object]]" = None,
    ) -> None:
        from heirloom.device import owner

        if health:
            heirloom_boot.watch.health = health
        self.completed = False  # the last check reached verified, fresh metadata, or the owner wants none
        self._progress = progress or _quiet
        self._consent = consent
        self._recovering = recovering
        self._looking = looking
        self._device = heirloom_boot.read_json("device.json")
        self._owner = owner.load().as_dict()
        self._media = media
        self._present = present and bool(media)
        self._http: "Any" = None  # a protocols.Transport
        self._medium: "Optional[Media]" = None
        if not media:
            from heirloom.device.http import Http

            self._http = Http()
        self._places: "Optional[Places]" = None
        self._stone: "Optional[str]" = None  # the release found is only the way to another one
        heirloom_boot.forget(*_KEPT)

    def places(self) -> "Places":
        """Where the repository lies, as root, owner and provisioning say."""
        if self._media:
            from heirloom.device.media import Media
            from heirloom.device.places import Places

            self._http = self._medium = medium = Media(self._media)
            where = Places(medium, [medium.base])
        else:
            from heirloom.device import finding

            where = finding.places(self._http, self._owner, self._device)
        self._places = where
        return where

    def check(self) -> "Optional[Release]":
        """Asks the repository; returns the release to install, or None when this device has it. Raises UpdateError.

        Blocks; the network must be up (network.connect()).
        """
        self.completed = False
        try:
            if not self._media:
                self._http.within(_patience_s())
            release = self._check()
        except UpdateError as error:
            self._record(None, str(error), settled=self.completed and error.code not in _RETRIED)
            error.recorded = True
            raise
        finally:
            self._close()
            if not self._media:
                self._http.within(0)
            heirloom_boot.forget(*_KEPT)
        text = f"release {release.version} is available" if release else "up to date"
        waiting = self._waiting(release)
        self._record(text, settled=bool(waiting) or not (release or self._stone), found=bool(release), waiting=waiting)
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
        return self._approved(release) or bool(self._consent and self._consent(release))

    def _approved(self, release: "Release") -> bool:
        if self._owner["updates"] != "ask" or self._present:
            return True
        return bool(heirloom_boot.current().get("k") == release.order)

    def _waiting(self, release: "Optional[Release]") -> "Any":
        """What the owner is told of a release that waits for their yes; 0 when none does."""
        if not release or self._approved(release):
            return 0
        return {"version": release.version, "order": release.order, "notes": (release.notes or "")[:200]}

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

            fetched = install.install(self._places or self.places(), self._progress, release.sha256)
        except UpdateError as error:
            self._record(None, str(error))
            error.recorded = True
            raise
        finally:
            self._close()
        fetched["requests"] = self._http.requests
        self._record(f"installed {release.version}", fetched=fetched, settled=not self._stone, waiting=0)
        return True

    def _check(self) -> "Optional[Release]":
        accept_stale = not self._looking and _take_stale()
        forbidden = "" if self._owner["network"] or self._media else "the owner allows no network"
        if self._owner["updates"] == "off" and not self._present:
            forbidden = "the owner has switched updates off"
        if forbidden:
            self.completed = True
            raise UpdateError(E_OWNER, forbidden)
        version = self._stone = None
        for _ in range(_STEPS):
            from heirloom.device import finding

            places = self._places or self.places()
            found = finding.find(places, self._device, self._owner, version, accept_stale)
            self.completed = True
            del finding
            heirloom_boot.forget(*_KEPT)
            from heirloom.device import judging

            verdict = judging.judge(found, places, self._device, self._owner, self._recovering, bool(version))
            if not isinstance(verdict, str):
                return verdict
            version = self._stone = verdict
            del judging
            heirloom_boot.forget(*_KEPT)
        raise UpdateError(E_REQUIRES, f"more than {_STEPS} stepping stones in a row")

    def _close(self) -> None:
        if self._http:
            self._http.close()

    def _record(self, *what: "Any", **more: "Any") -> None:
        if self._media:
            # The network is to be asked all the same; this medium only when it holds something else.
            settled, more["settled"], more["media"] = more.get("settled"), False, self._media
            more["news"] = self._medium.news() if settled and self._medium else ""
        from heirloom.device import judging

        judging.record(self._places, *what, **more)


def _patience_s() -> int:
    """Seconds that a check may take: a release that is on trial needs the rest to show that it works."""
    if not heirloom_boot.current()["t"]:
        return _CHECK_S
    return min(_CHECK_S, int(heirloom_boot.timing("trial_timeout_s", 300)) * 3 // 4)


def _take_stale() -> bool:
    from heirloom.device import owner

    taken = owner.take_stale()
    del owner
    heirloom_boot.forget(*_KEPT)
    return taken


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches."""
