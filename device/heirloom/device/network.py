"""Brings the network up from /heirloom/network.json, so that recovery works when no application does."""

import time

import heirloom_boot
from micropython import const

from heirloom.device.errors import E_NETWORK, UpdateError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterator

WAIT_S = 20
_STEP_MS = const(200)


def connecting() -> "Iterator[int]":
    """Connects step by step: yields milliseconds to wait, and ends when connected. Raises UpdateError E_NETWORK.

    A board without a WLAN is taken to be connected: whether somebody answers shows soon enough.
    """
    try:
        import network
    except ImportError:
        return
    wlan = network.WLAN(network.STA_IF)
    if wlan.isconnected():
        return
    known = heirloom_boot.read_json("network.json").get("networks", ())
    wlan.active(True)
    for entry in known:
        wlan.connect(entry["ssid"], entry.get("password"))
        for _ in range(WAIT_S * 1000 // _STEP_MS):
            if wlan.isconnected():
                return
            yield _STEP_MS
        wlan.disconnect()
    raise UpdateError(E_NETWORK, f"no Wi-Fi: {len(known)} known networks, none lets this device in")


def connect() -> None:
    """Connects, waiting at most 20 s for each known network. Raises UpdateError E_NETWORK."""
    for wait_ms in connecting():
        time.sleep_ms(wait_ms)
