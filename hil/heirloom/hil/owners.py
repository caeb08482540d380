"""What an owner says at a device's REPL, whatever way it is reached: holding its console is physical presence."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.project import Project
from heirloom.hil import devices
from heirloom.hil.provision import Identity
from heirloom.hil.units import DeviceError, Repl, Unit
from heirloom.signing.wholeness import fingerprint

_PART_BYTES = 768  # what a device takes of a root at once

_CALL = """
import json, heirloom_boot
module = heirloom_boot.client({module!r})
try:
    done = module.{function}(**{arguments!r})
    print(json.dumps({{"done": done.as_dict() if hasattr(done, "as_dict") else done}}))
except Exception as error:
    if not hasattr(error, "code"):
        raise
    print(json.dumps({{"error": str(error)}}))
"""
_ADVICE = {
    "E_STATE": "`heirloom device status` shows what it has",
    "E_OWNER": "`heirloom device owner` shows and changes the switches",
}


def call(repl: Repl, name: str, function: str, arguments: Mapping[str, object], timeout_s: float) -> object:
    """Call a function of the client that is for the person at the device.

    Args:
        repl: Of the device.
        name: The device, for messages.
        function: As in "presence.change".
        arguments: By name; what JSON knows.
        timeout_s: Seconds.

    Returns:
        What it returned, as JSON knows it.

    Raises:
        HeirloomError: The device refused; its own sentence. Or it has no client that knows the function.
    """
    module, _, attribute = function.partition(".")
    code = _CALL.format(module=module, function=attribute, arguments=dict(arguments))
    try:
        answer = json.loads(repl.exec(code, timeout_s).strip().rpartition("\n")[2])
    except DeviceError as exc:
        if "ImportError" in exc.traceback or "AttributeError" in exc.traceback:
            raise HeirloomError(
                f"the client on device {name} does not know {function}",
                "provision it: `heirloom device provision`",
            ) from exc
        raise
    except ValueError as exc:
        raise RigTrouble(f"the answer of device {name} is no JSON: {exc}") from exc
    if not isinstance(answer, dict):
        raise RigTrouble(f"the answer of device {name} is no object")
    if "error" in answer:
        sentence = str(answer["error"])
        raise HeirloomError(f"device {name}: {sentence}", _ADVICE.get(sentence.partition(":")[0], ""))
    return answer.get("done")


def ask(unit: Unit, function: str, arguments: Mapping[str, object], timeout_s: float) -> object:
    """Hold a unit at its REPL and `call` once.

    Raises:
        HeirloomError: As `call`; or it does not answer.
    """
    with unit.at_repl() as repl:
        return call(repl, unit.name, function, arguments, timeout_s)


def install_from(unit: Unit, path: str, timeout_s: float) -> None:
    """The owner wants what is on a card or a stick at `path`; it is installed at the next start."""
    ask(unit, "presence.install_from", {"path": path}, timeout_s)


def speak(
    unit: Unit,
    changes: Mapping[str, object],
    *,
    approve: bool = False,
    accept_stale: bool = False,
    install_from: str | None = None,
    timeout_s: float = 20.0,
) -> dict[str, object]:
    """Say all that an owner wants in one visit, and what the switches are then.

    Args:
        unit: The device.
        changes: Switches by the device's names; None takes one back.
        approve: Yes to the release that waits.
        accept_stale: Take what has expired, once.
        install_from: A path on the device to install from at the next start.
        timeout_s: Seconds for each step.

    Raises:
        HeirloomError: The device refused; what was said before that holds.
    """
    found: dict[str, object] = {"device": unit.name}
    with unit.at_repl() as repl:

        def say(function: str, **arguments: object) -> object:
            return call(repl, unit.name, function, arguments, timeout_s)

        if changes:
            say("presence.change", **changes)
        if approve:
            found["approved"] = say("presence.approve")
        if accept_stale:
            say("presence.accept_stale")
        if install_from is not None:
            say("presence.install_from", path=install_from)
        report = say("status.report")
    if not isinstance(report, dict):
        raise RigTrouble(f"the report of device {unit.name} is no object")
    shown = ("owner", "owner_damaged", "waiting", "accept_stale", "media_once")
    return found | {key: report.get(key) for key in shown}


@dataclass(frozen=True)
class Adoption:
    """What a device shall trust.

    Attributes:
        root: The root metadata, verified by its own keys.
        fingerprint: Of it, for people.
        other_product: The device may be of another product.
    """

    product: str
    root: bytes = field(repr=False)
    fingerprint: str
    urls: list[str]
    channel: str
    other_product: bool


def adoption(
    project: Project, root: Path | None, urls: Sequence[str], channel: str, *, other_product: bool
) -> Adoption:
    """What a device shall trust to belong to a project.

    Raises:
        HeirloomError: The root is missing, no root or of another product; or no place is known.
    """
    data = devices.read_root(root or project.repository / "metadata" / "root.json", project.product.name)
    places = list(urls) or list(project.product.urls)
    if not places:
        raise HeirloomError("the device would know no place to look for updates", "give --url, or [product] urls")
    return Adoption(project.product.name, data, fingerprint(data), places, channel, other_product)


def check_board(project: Project, unit: Unit) -> None:
    """Raise HeirloomError if a project has boards, and the unit's is not among them."""
    if project.boards and unit.board.name not in project.boards:
        raise HeirloomError(
            f"device {unit.name} is a {unit.board.name}, which is no board of this project",
            f"the project has {', '.join(project.boards)}",
        )


def adopt(unit: Unit, wanted: Adoption, timeout_s: float) -> int:
    """Give a device another root of trust, and a new secret, which is kept beside it. Returns the root's version.

    Raises:
        HeirloomError: The device refused: nothing was changed. After any other failure it is done whole at the next
            start or not at all; saying it again does no harm.
    """
    secret = secrets.token_hex(32)
    with unit.at_repl() as repl:
        for start in range(0, len(wanted.root), _PART_BYTES):
            part = base64.b64encode(wanted.root[start : start + _PART_BYTES]).decode()
            call(repl, unit.name, "ownership.receive_root", {"part": part, "first": start == 0}, timeout_s)
        arguments: dict[str, object] = {"product": wanted.product, "urls": wanted.urls, "channel": wanted.channel}
        arguments |= {"secret": secret, "other": wanted.other_product}
        done = call(repl, unit.name, "ownership.adopt", arguments, timeout_s)
        devices.keep_identity(unit.directory, Identity(unit.id, secret))
    if not isinstance(done, dict):
        raise RigTrouble(f"device {unit.name} did not say which root it has adopted")
    return int(str(done.get("root")))


def new_owner(unit: Unit, timeout_s: float) -> None:
    """Erase what was its owner's, and give it a new secret, which is kept beside it."""
    secret = secrets.token_hex(32)
    ask(unit, "ownership.new_owner", {"secret": secret}, timeout_s)
    devices.keep_identity(unit.directory, Identity(unit.id, secret))
