"""A button that is held down, as the word of a person at the device.

    from heirloom.device import button, owner

    asyncio.create_task(button.watch(pin, owner.approve))      # beside an application with an event loop
    if button.held(pin):                                       # at the start of any application
        owner.install_from("/sd")

One that is stuck, or shorted, is nobody's word: it counts only when it was, or is then, seen released.
"""

import time

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

_STEP_MS = const(100)
_LET_GO_MS = const(30000)


class Hold:
    """Looks at a pin each 100 ms; `due()` is true once for each time it was held long enough."""

    def __init__(self, pin: "Any", hold_s: int, pressed: int) -> None:
        self._pin = pin
        self._steps = hold_s * 1000 // _STEP_MS
        self._pressed = pressed
        self._left = 0  # 0: not seen released yet, or its press was taken

    def due(self) -> bool:
        """Call this each 100 ms."""
        if self._pin.value() != self._pressed:
            self._left = self._steps
        elif self._left:
            self._left -= 1
            return not self._left
        return False


async def watch(
    pin: "Any", action: "Callable[[], object]", hold_s: int = 5, pressed: int = 0, restart: bool = True
) -> None:
    """Calls action() each time the button is held for so many seconds, and restarts then so that it takes effect.

    pin: has value(). pressed: what it gives while the button is down; 0 for one that connects to ground.
    """
    import asyncio

    hold = Hold(pin, hold_s, pressed)
    while True:
        await asyncio.sleep_ms(_STEP_MS)
        if hold.due():
            act(action, restart)


def held(pin: "Any", hold_s: int = 5, pressed: int = 0) -> bool:
    """Whether the button is down now, stays down for so many seconds, and is let go within half a minute then.

    Returns at once when it is not down. For the start of an application.
    """
    for _ in range(hold_s * 1000 // _STEP_MS):
        if pin.value() != pressed:
            return False
        time.sleep_ms(_STEP_MS)
    for _ in range(_LET_GO_MS // _STEP_MS):
        if pin.value() != pressed:
            return True
        time.sleep_ms(_STEP_MS)
    return False


def act(action: "Callable[[], object]", restart: bool) -> None:
    """Does what the person wants; a refusal is said on the console."""
    import heirloom_boot

    try:
        done = action()
        heirloom_boot.log(f"the button was held: {done or 'done'}")
    except Exception as error:
        print("heirloom: the button was held, but", error)
        return
    if restart:
        import machine

        heirloom_boot.orderly()
        machine.reset()
