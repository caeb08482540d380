"""The devices of a project: folders in .heirloom/devices/, and what the commands do with them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.hil.order import Order
from heirloom.hil.provision import FOLDERS, Identity, Network
from heirloom.hil.serial import record
from heirloom.hil.serial.unit import SerialUnit
from heirloom.hil.sim import DeviceTimeout, SimDevice, settings
from heirloom.hil.sim.device import LOG
from heirloom.hil.units import Unit

CONFIRMED = r"heirloom: release .* confirmed"
IDENTITY = "identity.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# The client sets the path when it mounts a release; before that, the folder /heirloom hides the package heirloom.
REPL_PATH = """
import json, sys
if sys.path[0] == "":
    sys.path.append(sys.path.pop(0))
"""
REPORT = f"""{REPL_PATH}
from heirloom.device import status
print(json.dumps(status.report()))
"""
_ACCEPT_STALE = f"""{REPL_PATH}
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
    """The devices of the project, simulated and at ports."""
    place = project.state_dir / "devices"
    return sorted(
        path.parent.name for kind in (settings.FILE_NAME, record.FILE_NAME) for path in place.glob(f"*/{kind}")
    )


def units(project: Project) -> list[Path]:
    """The folders of the units at ports."""
    return sorted(path.parent for path in (project.state_dir / "devices").glob(f"*/{record.FILE_NAME}"))


def open_device(project: Project, name: str) -> SimDevice:
    """The simulated device `name`.

    Raises:
        HeirloomError: There is none, or it is a unit at a port.
    """
    place = _existing(project, name)
    if record.exists(place):
        raise HeirloomError(f"device {name} is a unit at a port, and this is only for simulated ones")
    return SimDevice(place)


def open_unit(project: Project, name: str) -> SimDevice | SerialUnit:
    """The device `name`, in whatever way it is reached.

    Raises:
        HeirloomError: There is none; names those that are there.
    """
    place = _existing(project, name)
    return SerialUnit(place) if record.exists(place) else SimDevice(place)


def _existing(project: Project, name: str) -> Path:
    place = folder(project, name)
    if not place.is_dir():
        known = names(project)
        advice = f"there are {', '.join(known)}" if known else f"make it with `heirloom device new {name}`"
        raise HeirloomError(f"no device {name}", advice)
    return place


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
    described = project.boards.get(model)
    definition = described.definition if described else None
    return SimDevice.create(place, model, name=name, definition=definition, hosts=hosts, clock=clock)


def _only_simulated(project: Project) -> str:
    from heirloom.boards import load

    found = [name for name, settings in project.boards.items() if load(name, settings.definition).simulated]
    if len(found) != 1:
        have = ", ".join(found) or "none"
        raise HeirloomError(f"which board? The project has these simulated ones: {have}", "name it with --board")
    return found[0]


def order(
    project: Project,
    board: Board,
    *,
    urls: Sequence[str],
    root: Path | None,
    channel: str,
    timing: Mapping[str, float],
    networks: Sequence[Network] | None = None,
    erase: bool = False,
) -> Order:
    """What devices of this project are provisioned with.

    Args:
        project: Its product, and where the root metadata lies by default.
        board: What they are.
        urls: Base URLs of the repository; empty: those of heirloom.toml.
        root: Root metadata to trust; None: metadata/root.json of the repository.
        channel: Which channel they follow.
        timing: As for `build_filesystem`.
        networks: Wi-Fi networks; None: what a device has already.
        erase: Keep nothing of what is on a device.

    Raises:
        HeirloomError: Board, product, root or URLs do not fit together.
    """
    if project.boards and board.name not in project.boards:
        raise HeirloomError(
            f"the device is a {board.name}, which is no board of this project",
            f"the project has {', '.join(project.boards)}",
        )
    places = list(urls) or project.product.urls
    if not places:
        raise HeirloomError("the device would know no place to look for updates", "give --url, or [product] urls")
    path = root or project.repository / "metadata" / "root.json"
    trusted = read_root(path, project.product.name)
    build_dir = project.state_dir / "build" / "client"
    return Order(board, project.product.name, trusted, places, channel, timing, networks, build_dir, erase)


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
        project: As for `order`, like all the rest.
        device: Switched off.
        urls: As for `order`.
        root: As for `order`.
        channel: As for `order`.
        timing: As for `order`.

    Raises:
        HeirloomError: Board, product, root or URLs do not fit together.
    """
    networks = [Network(device.settings.ssid, device.settings.password or "")]
    wanted = order(project, device.board, urls=urls, root=root, channel=channel, timing=timing, networks=networks)
    content = wanted.content(_identity(device))
    device.write_filesystem(lfs.build(device.board.flash, content, FOLDERS))
    return {"device": device.name, "board": device.board.name, "id": device.id, "urls": wanted.urls, "channel": channel}


def is_blank(device: SimDevice) -> bool:
    """Whether its flash is erased."""
    image = device.filesystem_image()
    return image.count(b"\xff") == len(image)


def read_root(path: Path, product: str) -> bytes:
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
    kept = known_identity(device.directory)
    if kept is None:
        kept = Identity.new(device.id)
        keep_identity(device.directory, kept)
    return kept


def known_identity(directory: Path) -> Identity | None:
    """The identity that the project has of a device.

    Args:
        directory: The device's folder.

    Raises:
        HeirloomError: The file is damaged.
    """
    path = directory / IDENTITY
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_bytes())
        return Identity(id=str(kept["id"]), secret=str(kept["secret"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise HeirloomError(f"{path} is damaged", "delete it to give the device a new secret") from exc


def keep_identity(directory: Path, identity: Identity) -> None:
    """Write a device's identity into its folder, readable for this user only."""
    write_atomic(directory / IDENTITY, json.dumps(asdict(identity)).encode(), mode=0o600)


def remember(place: Path, seen: record.Record, identity: Identity) -> None:
    """Keep a unit at a port among the devices of the project.

    Args:
        place: Its folder; made if it is not there.
        seen: What is known of it.
        identity: Who it is; readable for this user only.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {place}") from exc
    keep_identity(place, identity)
    seen.write(place)


def first_report(place: Path, patience_s: float) -> dict[str, object]:
    """What a unit that was just provisioned says about itself. Afterwards it is reset and runs.

    Args:
        place: Its folder.
        patience_s: How long its port may take to come back.

    Raises:
        RigTrouble: It does not answer.
    """
    unit = SerialUnit(place, patience_s)
    try:
        return report(unit, patience_s)
    finally:
        unit.close()


def report(device: Unit, timeout_s: float) -> dict[str, object]:
    """What the device says about itself, read at its REPL: boot.py runs, main.py does not, no trial is spent.

    Raises:
        HeirloomError: It is not provisioned, or does not answer.
    """
    try:
        with device.at_repl() as repl:
            answer = json.loads(repl.exec(REPORT, timeout_s))
    except ValueError as exc:
        raise RigTrouble(f"the report of device {device.name} is no JSON: {exc}") from exc
    if not isinstance(answer, dict):
        raise RigTrouble(f"the report of device {device.name} is {type(answer).__name__}, no object")
    return answer


def log(device: Unit, timeout_s: float) -> dict[str, str]:
    """The log that the client keeps on the device, and what was recorded of its console."""
    console = device.directory / LOG
    recorded = console.read_text(encoding="utf-8") if console.exists() else ""
    with device.at_repl() as repl:
        kept = repl.exec(_LOG, timeout_s)
    return {"device": kept, "console": recorded}


def accept_stale(device: Unit, timeout_s: float) -> None:
    """Say at its REPL, for the owner: the next update check takes expired metadata, once.

    Raises:
        HeirloomError: It is not provisioned, or does not answer.
    """
    with device.at_repl() as repl:
        repl.exec(_ACCEPT_STALE, timeout_s)


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
