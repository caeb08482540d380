"""What an owner who stands beside the device may allow once: an update from expired metadata (docs/adr/0006).

    from heirloom.device import presence
    presence.accept_stale()            # at the REPL, or where the application reads a button held down
    machine.reset()

Only a person's act at the device may lead to this call. Nothing that a release, a server or a stick brings sets it.
"""

import os

import heirloom_boot

from heirloom.device.store import flash_error, write_atomic

# A file of its own: the owner's switches have a second copy, from which a permission would come back.
_STALE = "/heirloom/stale-once"


def accept_stale() -> None:
    """The next check that could install takes expired metadata, whatever comes of it; signatures and versions hold.

    That check is due at the next start. Raises UpdateError.
    """
    write_atomic(_STALE, b"1")
    try:
        heirloom_boot.change(d=1)
    except OSError as error:
        raise flash_error(error, "state") from None


def pending() -> bool:
    """Whether the permission is there and not yet used."""
    return heirloom_boot.exists(_STALE)


def take() -> bool:
    """Uses the permission up; whether there was one.

    It has left flash before this returns, so a power cut after it never gives a second one.
    """
    try:
        os.remove(_STALE)
    except OSError:
        return False
    return True
