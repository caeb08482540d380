"""Commands that read or write a device's whole flash."""

from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.output import confirm, emit, note, progress
from heirloom.cli.project import Project

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
) -> None:
    """Write firmware to an ESP32 over its cable, in the layout of its board. Its files stay.

    The image is one that MicroPython publishes for a first installation. Only simulated devices so far.
    """
    from heirloom.hil import devices, firmware

    with devices.open_device(Project.load(), name) as device:
        parts = firmware.read(device, image, force=force)
        regions = firmware.regions(device, parts)
        if not firmware.is_erased(device):
            confirm(f"Replace the firmware of device {name}?")
        with progress(f"flashing {name}", sum(len(region.data) for region in regions)) as bar:
            starts = firmware.flash_simulated(device, regions, lambda count: bar.update(completed=count))
        app = parts.app_image
        emit(
            {"device": name, "board": device.board.name, "version": app.version, "sha256": app.sha256, "starts": starts}
        )


def backup_command(
    name: _Name,
    to: Annotated[Path, typer.Option("--to", dir_okay=False, metavar="FILE", help="A new file.")],
) -> None:
    """Copy a device into a file: flash, settings, identity. The file holds its secret."""
    from heirloom.cli.files import write_atomic
    from heirloom.hil import backup, devices

    with devices.open_device(Project.load(), name) as device:
        if to.exists():
            confirm(f"Replace {to}?")
        data = backup.make(device)
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

    try:
        data = source.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {source}") from exc
    with devices.open_device(Project.load(), name) as device:
        confirm(f"Replace everything on device {name}?")
        backup.restore(device, data)
    emit({"device": name, "restored": source})
