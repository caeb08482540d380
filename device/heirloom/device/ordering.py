"""Which release a device takes: floor and memory first, then what the release itself asks for. Pure.

Orders are (epoch, sequence) and nothing else; versions are for people.
"""

from heirloom.device.errors import E_FAILED, E_FLOOR, E_MIX, E_PRODUCT, E_REQUIRES, UpdateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from heirloom.device.manifest import Manifest


def check_order(order: "Sequence[int]", version: str, state: "dict[str, Any]", repair: bool) -> None:
    """Raise UpdateError unless the device's memory lets it install a release of this order.

    repair: nothing runs that is as new as the highest confirmed release, so that one itself may be installed again.
    """
    order = list(order)
    text = f"release {version} (epoch {order[0]}, sequence {order[1]})"
    if order < state["l"]:
        raise UpdateError(E_FLOOR, f"{text} is below this device's floor {state['l']}")
    if order < state["o"] or (order == state["o"] and not repair):
        raise UpdateError(E_FLOOR, f"{text} does not order above the confirmed {state['o']}")
    if order in state["x"]:
        raise UpdateError(E_FAILED, f"{text} failed on this device before")


def check_epoch(epoch: int, version: str, opened: int) -> None:
    """Raise UpdateError when a release is of an epoch that the targets role has not opened.

    Only its holders open one. So whatever a stolen releases key signed, an epoch more orders above it.
    """
    if epoch > opened:
        raise UpdateError(E_MIX, f"release {version} is of epoch {epoch}, targets has opened {opened}")


def check_manifest(manifest: "Manifest", product: str, board: str, state: "dict[str, Any]") -> None:
    """Raise UpdateError unless the release is for this device and its stepping stone was passed."""
    if manifest.product != product or manifest.board != board:
        raise UpdateError(
            E_PRODUCT, f"the release is for {manifest.product} on {manifest.board}, this is {product} on {board}"
        )
    # A device on which nothing was ever confirmed has nothing to step over.
    if manifest.requires is not None and state["o"] != [0, 0] and state["o"] < [manifest.epoch, manifest.requires]:
        raise UpdateError(
            E_REQUIRES, f"release {manifest.version} needs sequence {manifest.requires} first: {manifest.via}"
        )
