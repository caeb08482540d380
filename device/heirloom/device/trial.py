"""What an application may say while its release is on trial. Nothing here does anything outside a trial.

from heirloom.device import trial
trial.confirm()        # confirm mode "app": this release is healthy
trial.orderly()        # before machine.deepsleep() or a deliberate machine.reset()
trial.fail("no sensor answers")
"""

import heirloom_boot

confirm = heirloom_boot.confirm
orderly = heirloom_boot.orderly


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
