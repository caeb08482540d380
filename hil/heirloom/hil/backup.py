"""The backup of a simulated device: all that makes it this device, its secret included."""

import tomllib

from heirloom.cli import tar
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.hil.devices import IDENTITY
from heirloom.hil.sim import SimDevice
from heirloom.hil.sim.device import FLASH
from heirloom.hil.sim.settings import FILE_NAME

_NAMES = (FILE_NAME, FLASH, IDENTITY)
_ADVICE = "take the backup of this device"


def make(device: SimDevice) -> bytes:
    """A tar of the device: settings, flash, identity. It holds the device's secret.

    Raises:
        HeirloomError: It is switched on, or cannot be read.
    """
    with device.switched_off():
        try:
            found = [(name, path.read_bytes()) for name in _NAMES if (path := device.directory / name).exists()]
        except OSError as exc:
            raise os_error(exc, f"cannot read device {device.name}") from exc
    return tar.pack(found, mode=0o600)


def restore(device: SimDevice, data: bytes) -> None:
    """Put a backup back into the device that it was made of.

    Args:
        device: Switched off.
        data: As `make` gave it.

    Raises:
        HeirloomError: It is damaged or of another device; nothing was changed.
    """
    files = dict(tar.unpack(data, "the backup"))
    if not {FILE_NAME, FLASH} <= set(files) <= set(_NAMES):
        raise HeirloomError("this is no backup of a device", _ADVICE)
    _check_settings(device, files[FILE_NAME])
    if len(files[FLASH]) != device.board.flash.size:
        wanted = device.board.flash.size
        raise HeirloomError(
            f"the flash in the backup has {len(files[FLASH])} bytes, that of the device {wanted}", _ADVICE
        )
    with device.switched_off():
        if IDENTITY in files:
            write_atomic(device.directory / IDENTITY, files[IDENTITY], mode=0o600)
        write_atomic(device.directory / FLASH, files[FLASH])


def _check_settings(device: SimDevice, text: bytes) -> None:
    try:
        said = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise HeirloomError("the settings in the backup are damaged", "find an unchanged copy") from exc
    of = (said.get("board"), said.get("id"))
    if of != (device.board.name, device.id):
        raise HeirloomError(
            f"the backup is of a {of[0]}, id {of[1]}; device {device.name} is a {device.board.name}, id {device.id}",
            _ADVICE,
        )
