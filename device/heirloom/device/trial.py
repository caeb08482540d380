"""What an application may say while its release is on trial. Nothing here does anything outside a trial.

from heirloom.device import trial
trial.confirm()        # confirm mode "app": this release is healthy
trial.health(check)    # asked before the release is confirmed: False, or an exception, and it has failed
trial.orderly()        # before machine.deepsleep() or a deliberate machine.reset()
trial.fail("no sensor answers")
"""

import heirloom_boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

confirm = heirloom_boot.confirm
orderly = heirloom_boot.orderly


def health(check: "Callable[[], object]") -> None:
    """Has `check()` asked once, before this release is confirmed in whatever mode.

    When it returns False or raises, the release is marked failed, and the device goes back to the one before. It
    runs in the application's event loop, or in a timer where there is none, so it should be quick.
    """
    heirloom_boot.watch.health = check


def running() -> bool:
    """Whether the running release is still on trial."""
    state = heirloom_boot.load()
    return bool(state and state["t"])


def fail(reason: str) -> None:
    """A health check failed: the release is marked failed, and the device goes back to the one before at once."""
    import machine

    state = heirloom_boot.load()
    if state and state["t"]:
        heirloom_boot.log("health check: " + reason)
        state["t"][0] = 1
        heirloom_boot.charge(state, False)
        heirloom_boot.save(state)
        machine.reset()
