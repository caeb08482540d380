"""Commands about devices."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import emit, note, progress
from heirloom.cli.project import Project
from heirloom.hil import commands_flash, commands_owner
from heirloom.hil.chaos.command import chaos_command
from heirloom.hil.commands_attest import attest_command
from heirloom.hil.commands_dev import dev_command
from heirloom.hil.commands_provision import provision_command
from heirloom.hil.commands_report import report_command
from heirloom.hil.commands_rig import list_command, run_command
from heirloom.hil.demo.command import demo
from heirloom.hil.powercut.command import mutants_command, powercut_command
from heirloom.signing.options import PassphraseFd


def register(app: typer.Typer) -> None:
    """Add `demo`, `dev`, `device` and `hil` to the program."""
    app.command("demo")(demo)
    app.command("dev")(dev_command)
    device = group(app, "device", "Devices: make, provision, boot and look at them.")
    device.command("new")(new_command)
    device.command("provision")(provision_command)
    device.command("boot")(boot_command)
    device.command("console")(console_command)
    device.command("shell")(shell_command)
    device.command("status")(status_command)
    device.command("log")(log_command)
    commands_flash.register(device)
    commands_owner.register(device)
    hil = group(app, "hil", "The rig: prove on many devices what is promised.")
    hil.command("powercut")(powercut_command)
    hil.command("mutants")(mutants_command)
    hil.command("attest")(attest_command)
    hil.command("report")(report_command)
    hil.command("chaos")(chaos_command)
    hil.command("list")(list_command)
    hil.command("run")(run_command)
    will = group(app, "will", "The will: the hand-over to successors, signed ahead and sealed.")
    will.command("rehearse")(rehearse_command)


def _complete_device() -> list[str]:
    from heirloom.hil.devices import names

    return names(Project.load())


def _complete_simulated() -> list[str]:
    from heirloom import boards

    return [name for name in boards.names() if boards.load(name).simulated]


_Name = Annotated[str, typer.Argument(autocompletion=_complete_device, help="The device.")]
_Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds to wait.")]


def new_command(
    name: Annotated[str, typer.Argument(help="A name for it.")],
    board: Annotated[
        str | None, typer.Option(autocompletion=_complete_simulated, help="Default: the project's simulated board.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PLACE", help="The device resolves NAME (or NAME:PORT) to 127.0.0.1[:PORT]."),
    ] = None,
    clock: Annotated[str, typer.Option(metavar="board|host", help="What its clock shows at a start.")] = "board",
) -> None:
    """Make a simulated device with an erased flash."""
    from heirloom.hil import devices

    if clock not in ("board", "host"):
        raise UsageError(f"--clock {clock}: it must be board or host")
    hosts = dict(_pair("--host", text) for text in host or [])
    with devices.create(Project.load(), name, board, hosts, clock) as device:
        emit({"device": device.name, "board": device.board.name, "id": device.id, "directory": device.directory})


def boot_command(
    name: _Name,
    until: Annotated[
        str, typer.Option(metavar="confirmed|PATTERN", help="Wait for a confirmed release, or for this on the console.")
    ] = "confirmed",
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Its owner takes expired metadata, at the next check only.")
    ] = False,
    stick: Annotated[
        Path | None,
        typer.Option(
            "--stick", exists=True, file_okay=False, metavar="FOLDER", help="A simulated device finds this at /sd."
        ),
    ] = None,
    from_stick: Annotated[
        bool, typer.Option("--from-stick", help="Its owner wants what is there installed, whatever the switches say.")
    ] = False,
    timeout: _Timeout = 60.0,
) -> None:
    """Switch a device on until it says something, then off."""
    from heirloom.hil import devices, owners

    if from_stick and stick is None:
        raise UsageError("--from-stick: there is no stick", "name its folder with --stick")
    with devices.open_device(Project.load(), name) as device:
        if stick is not None:
            device.insert(stick)
        if from_stick:
            owners.install_from(device, "/sd", timeout)
        if accept_stale:
            devices.accept_stale(device, timeout)
        with progress(f"waiting for {name}: {until}"):
            done = devices.boot(device, until, timeout)
        emit(done)


def console_command(
    name: _Name,
    seconds: Annotated[float | None, typer.Option("--for", metavar="S", help="End after so many seconds.")] = None,
) -> None:
    """Switch a device on and show what it says. Its serial port can be used meanwhile. Ctrl-C ends."""
    from heirloom.hil import devices, live

    with closing(devices.open_unit(Project.load(), name)) as unit, unit.live(hold_repl=False) as console:
        note(f"serial port: {console.place} (Ctrl-C ends)")
        live.stream(console, seconds)


def shell_command(
    name: _Name,
    run: Annotated[bool, typer.Option("--run", help="Run main.py instead of holding the device at the REPL.")] = False,
) -> None:
    """Switch a device on and type at its REPL. Ctrl-] ends."""
    from heirloom.hil import devices, live

    live.check_terminal()
    with closing(devices.open_unit(Project.load(), name)) as unit, unit.live(hold_repl=not run) as console:
        note("Ctrl-] ends")
        live.shell(console)


def status_command(name: _Name, timeout: _Timeout = 20.0) -> None:
    """Ask a device what runs on it. It is held at the REPL for that; no trial is spent."""
    from heirloom.hil import devices, report

    with closing(devices.open_unit(Project.load(), name)) as unit:
        found = devices.report(unit, timeout)
    emit(found, lambda console: report.status(console, found))


def log_command(name: _Name, timeout: _Timeout = 20.0) -> None:
    """Show the log that a device keeps, and what was recorded of its console."""
    from heirloom.hil import devices

    with closing(devices.open_unit(Project.load(), name)) as unit:
        found = devices.log(unit, timeout)
    emit(found, lambda console: console.print(f"{found['console']}\n{found['device']}", markup=False))


def rehearse_command(
    share: Annotated[list[Path], typer.Option(exists=True, metavar="FILE", help="A trustee's share; repeat.")],
    will: Annotated[
        Path | None, typer.Option(exists=True, metavar="FILE", help="The will. Default: the live one of the project.")
    ] = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Open the will in a copy and let a simulated device follow: would it work? Nothing of it stays.

    It takes as many shares and successors' keys as the opening itself.
    """
    from heirloom.hil.rehearsal import rehearse

    rehearsed = rehearse(Project.load(), share, will, passphrase_fd)
    emit(
        rehearsed,
        lambda console: console.print(
            f"The will works: a {rehearsed.board} that trusted root {rehearsed.before} follows to root {rehearsed.root}"
            f" and runs {rehearsed.release}. Nothing was published, and the copy is gone.",
            markup=False,
            soft_wrap=True,
        ),
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UsageError(f"{option} {text}: it must be of the form KEY=VALUE")
    return key, value
