"""Keys that never leave a token: a ceremony is signed with them, and a simulated board follows it."""

from collections.abc import Callable

import pytest
from e2e_world import CONFIRMED, NewUnit, World

from heirloom.hil.demo.steps import BOARD, Workshop, weather
from heirloom.signing.keys import KeyStore

RELEASES = f"releases-{BOARD}"


@pytest.mark.timeout(180)
def test_a_board_follows_keys_that_were_made_on_a_token(
    world: World,
    shop: Workshop,
    new_unit: NewUnit,
    new_token: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = new_token().replace(" ", "+")
    monkeypatch.setenv("HEIRLOOM_PIN", "135790")
    held = {"root-1": "anna-root", "targets-1": "anna-targets", f"{RELEASES}-1": "anna-releases"}
    for name in held.values():
        shop.heirloom("key", "new", name, "--uri", f"hsm:?label={label}")
    replaced = [word for old, new in held.items() for word in ("--replace-key", f"{old}={new}")]
    shop.heirloom("ceremony", "start", *replaced)
    shop.heirloom("ceremony", "sign")
    shop.heirloom("ceremony", "finish")

    # Now two of three roots and targets are signed with the token, and every release.
    store = KeyStore(shop.keys_dir)
    for old in (*held, "root-3", "targets-3"):
        (shop.keys_dir / f"{old}.pem").unlink()
    shop.heirloom("ceremony", "start", "--renew", "root", "--renew", "targets")
    shop.heirloom("ceremony", "sign")
    shop.heirloom("ceremony", "finish")
    repository = shop.repository
    for role, metadata in {"root": repository.root(), "targets": repository.targets()}.items():
        assert store.public(f"anna-{role}").keyid in metadata.signatures
    assert {key["name"] for key in shop.heirloom("key", "list")["keys"] if key["here"]} >= set(held.values())

    shop.publish("1.1.0", weather("1.1.0"))
    assert set(shop.repository.role(RELEASES).signatures) == {store.public("anna-releases").keyid}
    world.shops["token"] = shop
    unit = new_unit("1.0.0")
    world.serve("token")
    unit.power_on()
    unit.wait_for(r"weather 1\.1\.0 starting")
    unit.wait_for(CONFIRMED)
    assert unit.report()["metadata"]["root"] == 3  # type: ignore[index]
