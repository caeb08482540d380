"""Devices of every kind behind one protocol: simulated, emulated, physical."""

from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.hil.drivers.protocol import Capability, CutKind, Driver, FirmwareKind
from heirloom.hil.drivers.resource import Resource

__all__ = ["Capability", "CutKind", "Driver", "FirmwareKind", "Resource", "open_driver", "unavailable_reason"]


def open_driver(resource: Resource, directory: Path) -> Driver:
    """The driver of a resource, switched off.

    Args:
        resource: The device.
        directory: Its folder: what outlives a power cycle, and its log.

    Raises:
        HeirloomError: It cannot be driven here; `unavailable_reason` says so beforehand.
    """
    if reason := unavailable_reason(resource):
        raise HeirloomError(reason, "see docs/rigs.md")
    if resource.driver == "sim":
        from heirloom.hil.drivers.sim import SimDriver

        return SimDriver(resource, directory)
    if resource.driver == "rp2040":
        from heirloom.hil.drivers.rp2040 import Rp2040Driver

        return Rp2040Driver(resource, directory)
    if resource.driver == "esp32":
        from heirloom.hil.drivers.esp32 import Esp32Driver

        return Esp32Driver(resource, directory)
    from heirloom.hil.drivers.serial import SerialDriver

    return SerialDriver(resource, directory)


def unavailable_reason(resource: Resource) -> str | None:
    """Why a resource cannot be driven on this machine, or None."""
    if resource.driver == "sim":
        from importlib.util import find_spec

        return None if find_spec("micropython_run") else "no MicroPython's unix port: pip install 'heirloom-ota[sim]'"
    if resource.driver == "rp2040":
        from heirloom.hil.drivers import rp2040

        return rp2040.unavailable_reason(resource)
    if resource.driver == "esp32":
        from heirloom.hil.drivers import esp32

        return esp32.unavailable_reason(resource)
    from importlib.util import find_spec

    return None if find_spec("serial") else "no pyserial: pip install 'heirloom-ota[serial]'"
