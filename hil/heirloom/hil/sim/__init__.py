"""Simulated devices: MicroPython's unix port over a strict model of a board's flash."""

from heirloom.hil.sim.device import CutKind, DeviceTimeout, FlashCounters, SimDevice
from heirloom.hil.sim.settings import SSID
from heirloom.hil.sim.supervisor import Power
from heirloom.hil.units import DeviceError

__all__ = ["SSID", "CutKind", "DeviceError", "DeviceTimeout", "FlashCounters", "Power", "SimDevice"]
