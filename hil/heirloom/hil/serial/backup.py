"""The backup of a unit at a port: the whole flash of an ESP32, or the files of any unit; its secret included."""

import tomllib
from collections.abc import Mapping

from heirloom.cli import tar
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.output import Progress
from heirloom.hil import flasher
from heirloom.hil.flasher import Region
from heirloom.hil.serial.files import Files
from heirloom.hil.serial.record import FILE_NAME
from heirloom.hil.serial.unit import SerialUnit

_FLASH, _IDENTITY, _FILES = "flash.bin", "identity.json", "files"
_ADVICE = "take the backup of this device"


def make(unit: SerialUnit, bar: Progress, *, files_only: bool) -> bytes:
    """A tar of the unit. It holds its secret.

    Args:
        unit: The unit.
        bar: Told of what goes on.
        files_only: Only the files, over the REPL, also of an ESP32.

    Raises:
        HeirloomError: It cannot be read.
        RigTrouble: It does not answer.
    """
    found = _known(unit)
    size = unit.board.flash.size
    if unit.board.hardware.flashing == "esptool" and not files_only:
        bar.step(f"reading the flash of {unit.name}", size)
        with unit.loader() as port:
            _check_chip(unit, port)
            found[_FLASH] = flasher.read(port, unit.board.chip, 0, size, lambda count: bar.update(completed=count))
    else:
        with unit.at_repl() as repl:
            files = Files(repl, unit.name)
            sizes = files.sizes()
            bar.step(f"reading the files of {unit.name}", sum(sizes.values()))
            for path in sizes:
                found[_FILES + path] = files.get(path, bar.advance)
    return tar.pack(found.items(), mode=0o600)


def _known(unit: SerialUnit) -> dict[str, bytes]:
    """What the project knows of it."""
    try:
        paths = [unit.directory / name for name in (FILE_NAME, _IDENTITY)]
        return {path.name: path.read_bytes() for path in paths if path.exists()}
    except OSError as exc:
        raise os_error(exc, f"cannot read device {unit.name}") from exc


def restore(unit: SerialUnit, data: bytes, bar: Progress) -> None:
    """Put a backup back into the unit that it was made of. Cut short, it is to be run again.

    Args:
        unit: The unit.
        data: As `make` gave it.
        bar: Told of what goes on.

    Raises:
        HeirloomError: The backup is damaged or of another unit; nothing was changed.
        RigTrouble: The unit does not answer.
    """
    found = dict(tar.unpack(data, "the backup"))
    _check(unit, found)
    if _FLASH in found:
        _restore_flash(unit, found[_FLASH], bar)
    else:
        _restore_files(unit, {name[len(_FILES) :]: content for name, content in found.items() if "/" in name}, bar)
    if _IDENTITY in found:
        write_atomic(unit.directory / _IDENTITY, found[_IDENTITY], mode=0o600)


def _check(unit: SerialUnit, found: Mapping[str, bytes]) -> None:
    others = {name for name in found if not name.startswith(f"{_FILES}/")}
    if FILE_NAME not in found or not others <= {FILE_NAME, _IDENTITY, _FLASH}:
        raise HeirloomError("this is no backup of a unit at a port", _ADVICE)
    try:
        said = tomllib.loads(found[FILE_NAME].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise HeirloomError("the settings in the backup are damaged", "find an unchanged copy") from exc
    of = (said.get("board"), said.get("id"))
    if of != (unit.board.name, unit.id):
        raise HeirloomError(
            f"the backup is of a {of[0]}, id {of[1]}; device {unit.name} is a {unit.board.name}, id {unit.id}", _ADVICE
        )
    size = unit.board.flash.size
    if _FLASH in found and len(found[_FLASH]) != size:
        raise HeirloomError(
            f"the flash in the backup has {len(found[_FLASH])} bytes, that of the device {size}", _ADVICE
        )


def _check_chip(unit: SerialUnit, port: str) -> None:
    """Esptool takes any chip of the kind; a backup belongs to one."""
    chip = flasher.identify(port, unit.board.chip)
    if chip.id != unit.id:
        raise HeirloomError(f"the device at {port} has the id {chip.id}; {unit.name} has {unit.id}", _ADVICE)


def _restore_flash(unit: SerialUnit, flash: bytes, bar: Progress) -> None:
    with unit.loader() as port:
        _check_chip(unit, port)
        bar.step(f"writing the flash of {unit.name}", len(flash))
        flasher.write(port, unit.board.chip, [Region(0, flash)], lambda count: bar.update(completed=count))


def _restore_files(unit: SerialUnit, wanted: Mapping[str, bytes], bar: Progress) -> None:
    with unit.at_repl() as repl:
        files = Files(repl, unit.name)
        files.remove(sorted(set(files.sizes()) - set(wanted)))
        differing = files.differing(wanted)
        bar.step(f"writing files to {unit.name}", sum(len(wanted[path]) for path in differing))
        for path in differing:
            files.put(path, wanted[path], bar.advance)
