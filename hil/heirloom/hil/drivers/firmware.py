"""Firmware images for emulated boards: found in a folder, never downloaded and never committed."""

import os
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.hil.drivers.resource import Resource

VARIABLE = "HEIRLOOM_FIRMWARE"
_SUFFIXES = {"rp2040": ".uf2", "esp32": ".bin"}


def folder() -> Path:
    """Where images lie: HEIRLOOM_FIRMWARE, or ~/.cache/heirloom/firmware."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "heirloom" / "firmware"


def find(resource: Resource) -> Path:
    """The image of a resource: the one it names, else the newest of its board in the folder.

    Raises:
        HeirloomError: There is none.
    """
    if resource.image is not None:
        if not resource.image.is_file():
            raise HeirloomError(f"the image {resource.image} of device {resource.name} is missing", "check the path")
        return resource.image
    suffix = _SUFFIXES.get(resource.driver, ".bin")
    # As MicroPython names them: BOARD-DATE-VERSION.
    found = sorted(folder().glob(f"{resource.board}-2*{suffix}"))
    if not found:
        raise HeirloomError(
            f"no firmware image for {resource.board} in {folder()}",
            f"put MicroPython's {resource.board}-…{suffix} there, or name the folder in {VARIABLE}",
        )
    return found[-1]


def unavailable_reason(resource: Resource) -> str | None:
    """Why there is no image, or None."""
    try:
        find(resource)
    except HeirloomError as exc:
        return exc.message
    return None
