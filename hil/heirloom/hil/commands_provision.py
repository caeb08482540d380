"""`heirloom device provision`: a simulated device, or a unit at a port, gets the client, an identity and trust."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import ask_secret, confirm, emit, note, progress, warn
from heirloom.cli.project import Project

if TYPE_CHECKING:
    from heirloom.boards import Board
    from heirloom.hil.provision import Network
    from heirloom.hil.serial.ports import Port
    from heirloom.hil.serial.record import Record

_WIFI_VARIABLE = "HEIRLOOM_WIFI_PASSWORD"
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class _Wanted:
    """The options that say what a device gets."""

    urls: list[str]
    root: Path | None
    channel: str
    timing: dict[str, float]


def provision_command(
    name: Annotated[str, typer.Argument(help="The device.")],
    port: Annotated[
        str | None,
        typer.Option(metavar="auto|PORT", help="Where a unit is: auto, a file, a USB serial number, or a URL."),
    ] = None,
    board: Annotated[str | None, typer.Option(help="What is at the port. Default: the project's only board.")] = None,
    firmware: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Write this MicroPython; .bin or .uf2."),
    ] = None,
    wifi: Annotated[str | None, typer.Option(metavar="SSID", help="The network it joins; asks the password.")] = None,
    wifi_password_fd: Annotated[
        int | None, typer.Option(metavar="N", help="Read the password from this open file descriptor.")
    ] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Keep nothing that is on it.")] = False,
    volume: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The USB drive of an RP2 in BOOTSEL mode.")
    ] = None,
    url: Annotated[list[str] | None, typer.Option(help="Base URL of the repository; may be repeated.")] = None,
    root: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Root metadata. Default: the repository's.")
    ] = None,
    channel: Annotated[str, typer.Option(help="The channel it follows.")] = "stable",
    timing: Annotated[
        list[str] | None, typer.Option(metavar="KEY=SECONDS", help="For demonstrations: as in check_after_s=1.")
    ] = None,
) -> None:
    """Give a device the client, an identity and a root of trust.

    A simulated device loses what was on it. With --port a physical or emulated unit is provisioned: firmware where it
    has none or --firmware names one, then the files, then a first start that reports itself. A unit of this product
    keeps its identity, releases and /data: running it again repairs. The password of the Wi-Fi comes from
    HEIRLOOM_WIFI_PASSWORD, a file descriptor or a question, never from the command line.
    """
    from heirloom.hil import devices
    from heirloom.hil.serial import record

    project = Project.load()
    wanted = _Wanted(url or [], root, channel, dict(_timing(text) for text in timing or []))
    place = devices.folder(project, name)
    if port is None and volume is None and not record.exists(place):
        if firmware or wifi or board or erase:
            raise UsageError("--firmware, --wifi, --board and --erase are for units at a port", "name it with --port")
        _provision_simulated(project, name, wanted)
        return
    network = _network(wifi, wifi_password_fd)
    _provision_unit(project, name, port, board, firmware, volume, network, wanted, erase=erase)


def _timing(text: str) -> tuple[str, float]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UsageError(f"--timing {text}: it must be of the form KEY=VALUE")
    try:
        seconds = float(value)
    except ValueError as exc:
        raise UsageError(f"--timing {key}={value}: {value!r} is no number of seconds") from exc
    return key, int(seconds) if seconds.is_integer() else seconds


def _network(ssid: str | None, descriptor: int | None) -> "list[Network] | None":
    from heirloom.hil.provision import Network

    if ssid is None:
        return None
    password = ask_secret(
        f"password of the network {ssid}", env=_WIFI_VARIABLE, fd=descriptor, option="--wifi-password-fd"
    )
    return [Network(ssid, password)]


def _provision_simulated(project: Project, name: str, wanted: _Wanted) -> None:
    from heirloom.hil import devices

    with devices.open_device(project, name) as device:
        if not devices.is_blank(device):
            confirm(f"Replace everything on device {name}?")
        with progress(f"provisioning {name}"):
            done = devices.provision(
                project, device, urls=wanted.urls, root=wanted.root, channel=wanted.channel, timing=wanted.timing
            )
    emit(done)


def _provision_unit(
    project: Project,
    name: str,
    port: str | None,
    board: str | None,
    firmware: Path | None,
    volume: Path | None,
    network: "list[Network] | None",
    wanted: _Wanted,
    *,
    erase: bool,
) -> None:
    from heirloom.hil import devices
    from heirloom.hil import firmware as images
    from heirloom.hil.serial import record
    from heirloom.hil.serial.provisioning import Provisioning

    place = devices.folder(project, name)
    record.check_is_unit(place, name)
    model = _board(project, board, record.read(place) if record.exists(place) else None)
    version = project.boards[model.name].micropython if model.name in project.boards else None
    order = devices.order(
        project,
        model,
        urls=wanted.urls,
        root=wanted.root,
        channel=wanted.channel,
        timing=wanted.timing,
        networks=network,
        erase=erase,
    )
    with progress(f"provisioning {name}") as bar:
        turn = Provisioning(
            name=name,
            order=order,
            port=_port(project, name, port, model, volume),
            image=firmware,
            default_image=images.find(model, version),
            volume=volume,
            known=devices.known_identity(place),
            agree=confirm,
            bar=bar,
        )
        enrolled = turn.run()
        definition = project.boards[model.name].definition if model.name in project.boards else None
        seen = record.Record(name, model.name, enrolled.identity.id, enrolled.port, definition)
        devices.remember(place, seen, enrolled.identity)
        bar.step(f"first start of {name}")
        reported = devices.first_report(place, _PATIENCE_S) if enrolled.answers else None
    if reported is None:
        note(f"{name} cannot be started from here; start it, and then: heirloom device status {name}")
    if "wifi" in model.capabilities and network is None and not enrolled.kept:
        warn(f"{name} knows no Wi-Fi network; give it one with --wifi SSID")
    emit(
        {
            "device": name,
            "board": model.name,
            "id": enrolled.identity.id,
            "urls": order.urls,
            "channel": order.channel,
            "port": enrolled.port.device,
            "way": enrolled.way,
            "micropython": enrolled.micropython,
            "kept": enrolled.kept,
            "written": enrolled.written,
            "reported": reported,
        }
    )


def _board(project: Project, name: str | None, known: "Record | None") -> "Board":
    from heirloom import boards

    if name is None and known is not None:
        return known.load_board()
    if name is None:
        if len(project.boards) != 1:
            have = ", ".join(project.boards) or "none"
            raise UsageError(f"which board? The project has {have}", "name it with --board")
        name = next(iter(project.boards))
    settings = project.boards.get(name)
    return boards.load(name, settings.definition if settings else None)


def _port(project: Project, name: str, text: str | None, board: "Board", volume: Path | None) -> "Port | None":
    """Where the unit is; None: only the drive of its loader is there."""
    from heirloom.hil import devices
    from heirloom.hil.serial import ports, record, volumes

    place = devices.folder(project, name)
    if text is None:
        return record.read(place).port if record.exists(place) and volume is None else None
    taken = [record.read(other).port for other in devices.units(project) if other != place]
    if text == ports.AUTO and record.exists(place):
        known = record.read(place).port
        if known.serial_number or known.location:
            return known
    if text == ports.AUTO and board.hardware.flashing == "uf2" and volumes.mounted():
        return None
    return ports.choose(text, board, taken)
