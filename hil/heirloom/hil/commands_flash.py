"""Commands that read or write a device's whole flash."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.output import confirm, emit, note, progress
from heirloom.cli.project import Project

if TYPE_CHECKING:
    from heirloom.hil.serial.unit import SerialUnit

_PATIENCE_S = 30.0

_Name = Annotated[str, typer.Argument(help="The device.")]


def register(device: typer.Typer) -> None:
    """Add the commands to the group `device`."""
    device.command("flash")(flash_command)
    device.command("backup")(backup_command)
    device.command("restore")(restore_command)


def flash_command(
    name: _Name,
    image: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="As published for a first installation.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Accept under 5 % of a slot left free.")] = False,
    volume: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The USB drive of an RP2 in BOOTSEL mode.")
    ] = None,
) -> None:
    """Write firmware to a device over its cable, in the layout of its board. Its files stay.

    The image is one that MicroPython publishes for a first installation: a .bin for an ESP32, a .uf2 for an RP2.
    """
    from heirloom.hil import devices, firmware
    from heirloom.hil.serial.unit import SerialUnit

    with closing(devices.open_unit(Project.load(), name)) as device:
        if isinstance(device, SerialUnit) and device.board.hardware.flashing == "uf2":
            emit(_flash_uf2(device, image, volume))
            return
        parts = firmware.read(device.board, image, force=force)
        regions = firmware.regions(device.board, parts)
        if not firmware.is_erased(device):
            confirm(f"Replace the firmware of device {name}?")
        with progress(f"flashing {name}", sum(len(region.data) for region in regions)) as bar:
            starts = firmware.flash(device, regions, lambda count: bar.update(completed=count))
        app = parts.app_image
        emit(
            {"device": name, "board": device.board.name, "version": app.version, "sha256": app.sha256, "starts": starts}
        )


def _flash_uf2(unit: "SerialUnit", image: Path, volume: Path | None) -> dict[str, object]:
    from heirloom.boards.images import firmware as images
    from heirloom.hil import firmware
    from heirloom.hil.serial import identify, provisioning, volumes

    data = firmware.read_file(image)
    images.check_uf2(unit.board, data)
    confirm(f"Replace the firmware of device {unit.name}?")
    with progress(f"waiting for the drive of {unit.name}") as bar:
        with unit.serial_port_if_there() as port:
            drive = provisioning.loader_drive(unit.name, unit.board, port, volume)
        bar.step(f"copying firmware to {drive}", len(data))
        volumes.copy(data, drive, bar.advance)
        bar.step(f"waiting for {unit.name} to start")
        unit.patience_s = _PATIENCE_S
        with unit.at_repl() as repl:
            said = identify.ask(repl, unit.name)
    return {"device": unit.name, "board": unit.board.name, "version": said.release}


def backup_command(
    name: _Name,
    to: Annotated[Path, typer.Option("--to", dir_okay=False, metavar="FILE", help="A new file.")],
    files: Annotated[
        bool, typer.Option("--files", help="Of an ESP32 at a port only the files, over its REPL, not its whole flash.")
    ] = False,
) -> None:
    """Copy a device into a file: flash or files, settings, identity. The file holds its secret."""
    from heirloom.cli.files import write_atomic
    from heirloom.hil import backup, devices
    from heirloom.hil.serial import backup as serial_backup
    from heirloom.hil.sim import SimDevice

    with closing(devices.open_unit(Project.load(), name)) as device:
        if to.exists():
            confirm(f"Replace {to}?")
        if isinstance(device, SimDevice):
            data = backup.make(device)
        else:
            with progress(f"reading {name}") as bar:
                data = serial_backup.make(device, bar, files_only=files)
    write_atomic(to, data, mode=0o600)
    note(f"{to} holds the device's secret: keep it as you keep a key")
    emit({"device": name, "file": to, "size": len(data)})


def restore_command(
    name: _Name,
    source: Annotated[
        Path, typer.Option("--from", exists=True, dir_okay=False, metavar="FILE", help="What `backup` wrote.")
    ],
) -> None:
    """Put a backup back into the device that it was made of."""
    from heirloom.cli.files import os_error
    from heirloom.hil import backup, devices
    from heirloom.hil.serial import backup as serial_backup
    from heirloom.hil.sim import SimDevice

    try:
        data = source.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {source}") from exc
    with closing(devices.open_unit(Project.load(), name)) as device:
        confirm(f"Replace everything on device {name}?")
        if isinstance(device, SimDevice):
            backup.restore(device, data)
        else:
            with progress(f"writing {name}") as bar:
                serial_backup.restore(device, data, bar)
    emit({"device": name, "restored": source})
