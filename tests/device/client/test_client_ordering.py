"""Which releases a device takes: the table of DESIGN's authority of floor and memory."""

from typing import Any

import pytest

from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest
from heirloom.device.ordering import check_epoch, check_manifest, check_order

STATE: dict[str, Any] = {"o": [1, 5], "l": [1, 3], "x": [[1, 7]]}


@pytest.mark.parametrize(
    ("order", "repair", "code"),
    [
        ((1, 6), False, None),
        ((2, 0), False, None),
        ((1, 5), False, "E_FLOOR"),  # it is confirmed here and runs
        ((1, 5), True, None),  # nothing runs: the confirmed release may come again
        ((1, 4), False, "E_FLOOR"),
        ((1, 4), True, "E_FLOOR"),  # not even then
        ((1, 2), True, "E_FLOOR"),
        ((0, 900), False, "E_FLOOR"),  # the epoch counts first
        ((1, 7), False, "E_FAILED"),
        ((1, 7), True, "E_FAILED"),
        ((1, 8), False, None),
    ],
)
def test_order(order: tuple[int, int], repair: bool, code: str | None) -> None:
    if code is None:
        check_order(order, "9", STATE, repair)
        return
    with pytest.raises(UpdateError, match=f"{code}: release 9 "):
        check_order(order, "9", STATE, repair)


def test_a_floor_above_the_confirmed_release_holds() -> None:
    with pytest.raises(UpdateError, match=r"E_FLOOR.*floor"):
        check_order((1, 6), "9", {"o": [1, 5], "l": [1, 8], "x": []}, True)


def test_only_targets_opens_an_epoch() -> None:
    check_epoch(1, "9", 1)
    check_epoch(0, "9", 1)
    with pytest.raises(UpdateError, match=r"E_MIX: release 9 is of epoch 2, targets has opened 1"):
        check_epoch(2, "9", 1)


def manifest(**more: Any) -> Manifest:
    return Manifest(**({"product": "p", "board": "b", "version": "9", "epoch": 1, "sequence": 9, "files": []} | more))


def test_product_and_board() -> None:
    check_manifest(manifest(), "p", "b", STATE)
    for product, board in [("q", "b"), ("p", "c"), ("", "")]:
        with pytest.raises(UpdateError, match="E_PRODUCT"):
            check_manifest(manifest(), product, board, STATE)


def test_stepping_stones() -> None:
    check_manifest(manifest(requires=5, via="5"), "p", "b", STATE)
    with pytest.raises(UpdateError, match=r"E_REQUIRES.*sequence 6 first: 6"):
        check_manifest(manifest(requires=6, via="6"), "p", "b", STATE)
    # A new epoch: every sequence of the old one lies below.
    with pytest.raises(UpdateError, match="E_REQUIRES"):
        check_manifest(manifest(epoch=2, requires=1, via="1"), "p", "b", STATE)
    check_manifest(manifest(requires=6, via="6"), "p", "b", {"o": [0, 0]})
