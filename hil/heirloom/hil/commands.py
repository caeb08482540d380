"""Commands about devices."""

from pathlib import Path
from typing import Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import confirm, emit, note, progress
from heirloom.cli.project import Project
from heirloom.hil import commands_flash
from heirloom.hil.demo.command import demo
from heirloom.hil.powercut.command import powercut_command
from heirloom.signing.options import PassphraseFd


def register(app: typer.Typer) -> None:
    """Add `demo` and `device` to the program."""
    app.command("demo")(demo)
    device = group(app, "device", "Devices: make, provision, boot and look at them.")
    device.command("new")(new_command)
    device.command("provision")(provision_command)
    device.command("boot")(boot_command)
    device.command("console")(console_command)
    device.command("shell")(shell_command)
    device.command("status")(status_command)
    device.command("log")(log_command)
    commands_flash.register(device)
    group(app, "hil", "The rig: prove on many devices what is promised.").command("powercut")(powercut_command)
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


def provision_command(
    name: _Name,
    url: Annotated[list[str] | None, typer.Option(help="Base URL of the repository; may be repeated.")] = None,
    root: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Root metadata. Default: the repository's.")
    ] = None,
    channel: Annotated[str, typer.Option(help="The channel it follows.")] = "stable",
    timing: Annotated[
        list[str] | None, typer.Option(metavar="KEY=SECONDS", help="For demonstrations: as in check_after_s=1.")
    ] = None,
) -> None:
    """Give a device the client, an identity and a root of trust. What was on it is lost."""
    from heirloom.hil import devices

    project = Project.load()
    times = {key: _seconds(key, value) for key, value in (_pair("--timing", text) for text in timing or [])}
    with devices.open_device(project, name) as device:
        if not devices.is_blank(device):
            confirm(f"Replace everything on device {name}?")
        with progress(f"provisioning {name}"):
            done = devices.provision(project, device, urls=url or [], root=root, channel=channel, timing=times)
    emit(done)


def boot_command(
    name: _Name,
    until: Annotated[
        str, typer.Option(metavar="confirmed|PATTERN", help="Wait for a confirmed release, or for this on the console.")
    ] = "confirmed",
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Its owner takes expired metadata, at the next check only.")
    ] = False,
    timeout: _Timeout = 60.0,
) -> None:
    """Switch a device on until it says something, then off."""
    from heirloom.hil import devices

    with devices.open_device(Project.load(), name) as device:
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

    with devices.open_device(Project.load(), name) as device:
        device.power_on()
        note(f"serial port: {device.tty} (Ctrl-C ends)")
        live.stream(device, seconds)


def shell_command(
    name: _Name,
    run: Annotated[bool, typer.Option("--run", help="Run main.py instead of holding the device at the REPL.")] = False,
) -> None:
    """Switch a device on and type at its REPL. Ctrl-] ends."""
    from heirloom.hil import devices, live

    with devices.open_device(Project.load(), name) as device:
        device.power_on(hold_repl=not run)
        note("Ctrl-] ends")
        live.shell(device)


def status_command(name: _Name, timeout: _Timeout = 20.0) -> None:
    """Ask a device what runs on it. It is held at the REPL for that; no trial is spent."""
    from heirloom.hil import devices, report

    with devices.open_device(Project.load(), name) as device:
        found = devices.report(device, timeout)
    emit(found, lambda console: report.status(console, found))


def log_command(name: _Name, timeout: _Timeout = 20.0) -> None:
    """Show the log that a device keeps, and what was recorded of its console."""
    from heirloom.hil import devices

    with devices.open_device(Project.load(), name) as device:
        found = devices.log(device, timeout)
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


def _seconds(key: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError as exc:
        raise UsageError(f"--timing {key}={value}: {value!r} is no number of seconds") from exc
    return int(seconds) if seconds.is_integer() else seconds
