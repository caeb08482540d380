"""Commands by which an owner speaks to a device. Its console is in their hands: that is physical presence."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import confirm, emit, progress
from heirloom.cli.project import Project

if TYPE_CHECKING:
    from rich.console import Console

_Name = Annotated[str, typer.Argument(help="The device.")]
_Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds to wait.")]
_UNSET = ("channel", "pin", "url", "media")


def register(device: typer.Typer) -> None:
    """Add the commands to the group `device`."""
    device.command("owner")(owner_command)
    device.command("forget")(forget_command)
    device.command("reset")(reset_command)
    device.command("new-owner")(new_owner_command)
    device.command("adopt")(adopt_command)


def owner_command(
    name: _Name,
    updates: Annotated[str | None, typer.Option(metavar="on|ask|off", help="Install by itself, ask, or not.")] = None,
    network: Annotated[
        bool | None, typer.Option("--network/--no-network", help="May it use the network for updates?")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="The channel it follows.")] = None,
    pin: Annotated[str | None, typer.Option(metavar="VERSION", help="Take this version and no other.")] = None,
    url: Annotated[str | None, typer.Option(help="A place of the owner's, looked at first.")] = None,
    tls_only: Annotated[bool | None, typer.Option("--tls-only/--no-tls-only", help="Never without encryption?")] = None,
    media: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where a card or stick is looked at by itself, as in /sd.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="|".join(_UNSET), help="Take a switch back; may be repeated.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Say yes to the release that waits.")] = False,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Take expired metadata, at the next check only.")
    ] = False,
    install_from: Annotated[
        str | None, typer.Option(metavar="PATH", help="Install from a card or stick there, at the next start.")
    ] = None,
    timeout: _Timeout = 20.0,
) -> None:
    """Show the owner's switches, or set some of them. What is set holds from the next start.

    The device obeys them before anything that a release or a server says.
    """
    from heirloom.hil import devices, owners

    wishes = {"updates": updates, "network": network, "channel": channel, "pinned": pin, "url": url}
    wishes |= {"tls_only": tls_only, "media": media}
    changes: dict[str, object] = {key: value for key, value in wishes.items() if value is not None}
    for switch in unset or ():
        if switch not in _UNSET:
            raise UsageError(
                f"--unset {switch}: there is no such switch to take back", f"known are {', '.join(_UNSET)}"
            )
        changes["pinned" if switch == "pin" else switch] = None
    with closing(devices.open_unit(Project.load(), name)) as unit:
        found = owners.speak(
            unit, changes, approve=approve, accept_stale=accept_stale, install_from=install_from, timeout_s=timeout
        )
    emit(found, lambda console: _show(console, found))


def _show(console: "Console", found: "dict[str, object]") -> None:
    switches = found["owner"]
    if isinstance(switches, dict):
        for key, value in switches.items():
            text = {True: "yes", False: "no", None: "-"}.get(value, value) if not isinstance(value, str) else value
            console.print(f"{key:10} {text}", markup=False)
    waiting = found.get("waiting")
    if isinstance(waiting, dict):
        console.print(f"{waiting.get('version')} waits for a yes: heirloom device owner NAME --approve", markup=False)
    if found.get("approved"):
        console.print(f"{found['approved']} is installed at the next start", markup=False)
    if found.get("owner_damaged"):
        console.print("What was set cannot be read any more: updates are off until something is set", markup=False)


def forget_command(name: _Name, timeout: _Timeout = 20.0) -> None:
    """Forget which releases failed on a device, so that they are tried again."""
    from heirloom.hil import devices, owners

    with closing(devices.open_unit(Project.load(), name)) as unit:
        count = owners.ask(unit, "presence.forget_failed", {}, timeout)
    emit({"device": name, "forgotten": count})


def reset_command(
    name: _Name,
    wifi: Annotated[bool, typer.Option("--wifi", help="Forget the networks, too.")] = False,
    timeout: _Timeout = 30.0,
) -> None:
    """Factory reset: erase what the application wrote and what the owner set.

    The release, the floor below which nothing is installed, and the identity stay.
    """
    from heirloom.hil import devices, owners

    with closing(devices.open_unit(Project.load(), name)) as unit:
        confirm(f"Erase the settings of device {name}?")
        owners.ask(unit, "ownership.factory_reset", {"wifi": wifi}, timeout)
    emit({"device": name, "reset": True, "wifi_forgotten": wifi})


def new_owner_command(name: _Name, timeout: _Timeout = 30.0) -> None:
    """Pass a device on: a factory reset, its networks forgotten, and a new secret."""
    from heirloom.hil import devices, owners

    with closing(devices.open_unit(Project.load(), name)) as unit:
        confirm(f"Erase what the owner of device {name} set, its networks, and its secret?")
        owners.new_owner(unit, timeout)
    emit({"device": name, "new_secret": True})


def adopt_command(
    name: _Name,
    root: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="The root to trust. Default: the repository's."),
    ] = None,
    url: Annotated[list[str] | None, typer.Option(help="Base URL of the repository; may be repeated.")] = None,
    channel: Annotated[str, typer.Option(help="The channel it follows.")] = "stable",
    other_product: Annotated[
        bool, typer.Option("--other-product", help="The device may become another product than it is.")
    ] = False,
    timeout: _Timeout = 60.0,
) -> None:
    """Let a device trust this project's root in place of the one that it has. What its application wrote stays.

    For a device whose maker is gone and left no will. Only over its console: nothing on the network or on a stick can
    do it. The device then takes this project's releases, whatever it had installed before, and has a new secret.
    """
    from heirloom.hil import devices, owners

    project = Project.load()
    adoption = owners.adoption(project, root, url or [], channel, other_product=other_product)
    with closing(devices.open_unit(project, name)) as unit:
        owners.check_board(project, unit)
        confirm(f"Replace the root of trust of device {name}? The one before is gone then")
        with progress(f"adopting {name}"):
            version = owners.adopt(unit, adoption, timeout)
    emit(
        {
            "device": name,
            "product": project.product.name,
            "root": version,
            "urls": adoption.urls,
            "fingerprint": adoption.fingerprint,
        }
    )
