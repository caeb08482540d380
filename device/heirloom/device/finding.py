"""From the places to the release that this device's channel points to, by verified metadata only.

Loads the verification core; the caller drops it again (heirloom_boot.forget) before the next stage.
"""

import heirloom_boot
from micropython import const

from heirloom.device.clock import from_http, now
from heirloom.device.errors import E_MIX, E_NETWORK, E_NOT_FOUND, E_REQUIRES, UpdateError
from heirloom.device.places import Places
from heirloom.device.roles import seconds
from heirloom.device.store import FlashStore, FlashTables
from heirloom.device.tuf import Client

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from heirloom.device.protocols import Transport
    from heirloom.device.target import Target

    # path, length in bytes, SHA-256, custom values: a target without the classes of the core; the epoch of the product.
    Found = tuple[str, int, bytes, dict[str, Any], int]


def places(http: "Transport", owner: "dict[str, Any]", device: "dict[str, Any]") -> Places:
    """Where to look: the owner's own URL, then those that the trusted root names, then those of the provisioning."""
    urls = [owner["url"]]
    client = Client(FlashStore(), Places(http, []), 0)
    try:
        signed = client.value("root", "x-heirloom-urls")
        urls += signed if isinstance(signed, list) else []
    except UpdateError:
        pass  # a damaged root is the business of the check
    finally:
        client.close()
    urls += device.get("urls") or []
    return Places(http, [url for url in urls if isinstance(url, str)], owner["tls_only"])


def find(
    where: Places,
    device: "dict[str, Any]",
    owner: "dict[str, Any]",
    version: "Optional[str]" = None,
    accept_stale: bool = False,
) -> "Found":
    """Brings the metadata up to date and returns the target of the channel's release, or of a version of the board.

    When what a place delivers is refused, the next one is asked. accept_stale: the owner is present and takes what has
    expired, when nothing fresh is to be had. Raises UpdateError: the first that says more than that nobody answered.
    """
    channel = owner["channel"] or device.get("channel") or "stable"
    try:
        return _search(where, device.get("board"), channel, version, False)
    except UpdateError as error:
        if not accept_stale or error.code == E_NETWORK:
            raise
        heirloom_boot.log(f"{error}; what has expired is taken this once, as the owner wants it")
    return _search(where, device.get("board"), channel, version, True)


def _search(where: Places, board: "Any", channel: str, version: "Optional[str]", accept_stale: bool) -> "Found":
    first: "Optional[UpdateError]" = None
    where.forgive()
    while len(where):
        client = Client(FlashStore(), where, now(), None, FlashTables(), accept_stale)
        try:
            client.poll()
            _use_network_clock(client, where.date())
            return _found(client, board, channel, version)
        except UpdateError as error:
            if first is None or first.code == E_NETWORK:
                first = error
            if error.code == E_NETWORK:
                break  # all places were tried
            where.refuse()
        finally:
            where.versions = _versions(client)
            client.close()
    raise first or UpdateError(E_NETWORK, "no place of the repository is known")


def _use_network_clock(client: Client, date: str) -> None:
    """Goes on with the time that the place itself says, where it is later than the device's.

    A device often has no clock of its own, and a place that nobody keeps any more tells so by its date. The network's
    clock is not trusted: it can only make this one check refuse, is forgotten after it, and raises no bound.
    """
    said = from_http(date)
    try:
        client.believe(seconds(said) or 0)
    except UpdateError as error:
        raise UpdateError(error.code, f"{error.sentence}; the network's clock says {said}") from None


def _versions(client: Client) -> "dict[str, int]":
    """Versions of the top-level files that lie here, for status reports."""
    found = {}
    for role in ("root", "timestamp", "snapshot", "targets"):
        try:
            version = client.value(role, "version")
        except UpdateError:
            continue
        if isinstance(version, int):
            found[role] = version
    return found


def _found(client: Client, board: "Any", channel: str, version: "Optional[str]") -> "Found":
    if version:
        target = client.find_target(f"releases/{board}/{version}.cbor")
        if not target:
            raise UpdateError(E_REQUIRES, f"the stepping stone {version} is not listed any more")
    else:
        target = _pointed(client, board, channel)
    epoch = client.value("targets", "x-heirloom-epoch")
    return target.path, target.length, target.sha256, target.custom, epoch if isinstance(epoch, int) else 0


def _pointed(client: Client, board: str, channel: str) -> "Target":
    """The release target of a channel, on which both roles agree."""
    pointer = client.find_target(f"channels/{board}/{channel}")
    if pointer is None:
        raise UpdateError(E_NOT_FOUND, f"the repository has no channel {channel} for {board}")
    path = pointer.custom.get("release")
    target = client.find_target(path) if isinstance(path, str) and path.startswith(f"releases/{board}/") else None
    if target is None or target.sha256 != pointer.sha256 or target.length != pointer.length:
        raise UpdateError(E_MIX, f"channel {channel} points to {path}, which releases-{board} does not list so")
    return target
