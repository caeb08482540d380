"""The simulated devices of a project: folders in .heirloom/devices/, and what the commands do with them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.hil.provision import Identity, Network, build_filesystem
from heirloom.hil.sim import DeviceTimeout, SimDevice
from heirloom.hil.sim.device import LOG

CONFIRMED = r"heirloom: release .* confirmed"
IDENTITY = "identity.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# The client sets the path when it mounts a release; before that, the folder /heirloom hides the package heirloom.
_PATH = """
import json, sys
if sys.path[0] == "":
    sys.path.append(sys.path.pop(0))
"""
_REPORT = f"""{_PATH}
from heirloom.device import status
print(json.dumps(status.report()))
"""
_ACCEPT_STALE = f"""{_PATH}
from heirloom.device import owner
owner.accept_stale()
"""
_LOG = """
for half in ("/heirloom/log.old", "/heirloom/log"):
    try:
        with open(half) as file:
            print(file.read(), end="")
    except OSError:
        pass
"""


def folder(project: Project, name: str) -> Path:
    """Where the device lies.

    Raises:
        HeirloomError: That is no name of a device.
    """
    if not _NAME.fullmatch(name):
        raise HeirloomError(f"{name!r} is no name for a device", "letters, digits and . _ - (at most 64)")
    return project.state_dir / "devices" / name


def names(project: Project) -> list[str]:
    """The simulated devices of the project."""
    return sorted(path.parent.name for path in (project.state_dir / "devices").glob("*/device.toml"))


def open_device(project: Project, name: str) -> SimDevice:
    """The device `name`.

    Raises:
        HeirloomError: There is none; names those that are there.
    """
    place = folder(project, name)
    if not place.is_dir():
        known = names(project)
        advice = f"there are {', '.join(known)}" if known else f"make it with `heirloom device new {name}`"
        raise HeirloomError(f"no device {name}", advice)
    return SimDevice(place)


def create(project: Project, name: str, board: str | None, hosts: Mapping[str, str], clock: str) -> SimDevice:
    """Make a device with an erased flash.

    Args:
        project: Where it belongs to.
        name: Its name.
        board: Its board; None: the only simulated one of the project.
        hosts: As `Settings.hosts`.
        clock: As `Settings.clock`.

    Raises:
        HeirloomError: It exists, or the board is unknown.
    """
    place = folder(project, name)
    if place.exists():
        raise HeirloomError(f"device {name} exists already", "choose another name")
    model = board or _only_simulated(project)
    settings = project.boards.get(model)
    definition = settings.definition if settings else None
    return SimDevice.create(place, model, name=name, definition=definition, hosts=hosts, clock=clock)


def _only_simulated(project: Project) -> str:
    from heirloom.boards import load

    found = [name for name, settings in project.boards.items() if load(name, settings.definition).simulated]
    if len(found) != 1:
        have = ", ".join(found) or "none"
        raise HeirloomError(f"which board? The project has these simulated ones: {have}", "name it with --board")
    return found[0]


def provision(
    project: Project,
    device: SimDevice,
    *,
    urls: Sequence[str],
    root: Path | None,
    channel: str,
    timing: Mapping[str, float],
) -> dict[str, object]:
    """Write the file system of a provisioned device into its flash. Everything that was there is lost.

    Args:
        project: Its product, and where the root metadata lies by default.
        device: Switched off.
        urls: Base URLs of the repository; empty: those of heirloom.toml.
        root: Root metadata to trust; None: metadata/root.json of the repository.
        channel: Which channel the device follows.
        timing: As for `build_filesystem`.

    Raises:
        HeirloomError: Board, product, root or URLs do not fit together.
    """
    if project.boards and device.board.name not in project.boards:
        raise HeirloomError(
            f"device {device.name} is a {device.board.name}, which is no board of this project",
            f"the project has {', '.join(project.boards)}",
        )
    places = list(urls) or project.product.urls
    if not places:
        raise HeirloomError("the device would know no place to look for updates", "give --url, or [product] urls")
    path = root or project.repository / "metadata" / "root.json"
    image = build_filesystem(
        device.board,
        project.product.name,
        _read_root(path, project.product.name),
        places,
        channel,
        _identity(device),
        timing,
        networks=[Network(device.settings.ssid, device.settings.password or "")],
        build_dir=project.state_dir / "build" / "client",
    )
    device.write_filesystem(image)
    return {"device": device.name, "board": device.board.name, "id": device.id, "urls": places, "channel": channel}


def is_blank(device: SimDevice) -> bool:
    """Whether its flash is erased."""
    image = device.filesystem_image()
    return image.count(b"\xff") == len(image)


def _read_root(path: Path, product: str) -> bytes:
    """The root metadata, read as a device would have to trust it.

    Raises:
        HeirloomError: It is missing, no root metadata, or of another product.
    """
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    try:
        data = path.read_bytes()
        metadata: Metadata[Root] = Metadata[Root].from_bytes(data)
        metadata.verify_delegate(Root.type, metadata)
    except OSError as exc:
        raise os_error(exc, f"cannot read the root metadata {path}") from exc
    except (RepositoryError, ValueError) as exc:
        raise HeirloomError(f"{path} is no valid root metadata: {exc}", "name another file with --root") from exc
    said = metadata.signed.unrecognized_fields.get("x-heirloom-product", product)
    if said != product:
        raise HeirloomError(f"{path} is the root of product {said!r}, this project is {product!r}")
    return data


def _identity(device: SimDevice) -> Identity:
    """Its identity, made at the first provisioning and kept beside its flash."""
    path = device.directory / IDENTITY
    if path.exists():
        try:
            kept = json.loads(path.read_bytes())
            return Identity(id=str(kept["id"]), secret=str(kept["secret"]))
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise HeirloomError(f"{path} is damaged", "delete it to give the device a new secret") from exc
    identity = Identity.new(device.id)
    write_atomic(path, json.dumps(asdict(identity)).encode(), mode=0o600)
    return identity


def report(device: SimDevice, timeout_s: float) -> dict[str, object]:
    """What the device says about itself, read at its REPL: boot.py runs, main.py does not, no trial is spent.

    Raises:
        HeirloomError: It is not provisioned, or does not answer.
    """
    device.power_on(hold_repl=True)
    try:
        answer = json.loads(device.exec(_REPORT, timeout_s))
    except ValueError as exc:
        raise RigTrouble(f"the report of device {device.name} is no JSON: {exc}") from exc
    finally:
        device.power_off()
    if not isinstance(answer, dict):
        raise RigTrouble(f"the report of device {device.name} is {type(answer).__name__}, no object")
    return answer


def log(device: SimDevice, timeout_s: float) -> dict[str, str]:
    """The log that the client keeps on the device, and what was recorded of its console."""
    console = device.directory / LOG
    recorded = console.read_text(encoding="utf-8") if console.exists() else ""
    device.power_on(hold_repl=True)
    try:
        kept = device.exec(_LOG, timeout_s)
    finally:
        device.power_off()
    return {"device": kept, "console": recorded}


def accept_stale(device: SimDevice, timeout_s: float) -> None:
    """Say at its REPL, for the owner: the next update check takes expired metadata, once.

    Raises:
        HeirloomError: It is not provisioned, or does not answer.
    """
    device.power_on(hold_repl=True)
    try:
        device.exec(_ACCEPT_STALE, timeout_s)
    finally:
        device.power_off()


def boot(device: SimDevice, until: str, timeout_s: float) -> dict[str, object]:
    """Switch it on, wait for `until` ("confirmed" or a pattern on its console), switch it off.

    Raises:
        HeirloomError: It did not say so in time.
    """
    pattern = CONFIRMED if until == "confirmed" else until
    try:
        re.compile(pattern)
    except re.error as exc:
        raise HeirloomError(f"{until!r} is no regular expression: {exc}") from exc
    device.power_on()
    try:
        said = device.wait_for(pattern, timeout_s)[0]
    except DeviceTimeout as exc:
        raise HeirloomError(exc.message, exc.advice) from exc
    finally:
        boots = device.boots
        device.power_off()
    return {"device": device.name, "said": said, "boots": boots, "flash": asdict(device.flash)}
