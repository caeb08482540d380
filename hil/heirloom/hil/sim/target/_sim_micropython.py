# mypy: ignore-errors
"""The port's `micropython`: kbd_intr() also makes the serial line binary, which the unix port's does not."""

from _sim_flash import poke as _poke
from micropython import *  # noqa: F403 - all else is as it is
from micropython import const

_BINARY = const(19)


def kbd_intr(char):
    _poke(_BINARY, 1 if char < 0 else 0)
