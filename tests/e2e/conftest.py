"""Fixtures of the end-to-end tests: one product and its devices are made once a session; every test gets copies."""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ceremony_scene import PASSPHRASE
from e2e_world import NewUnit, World, copy_of, make_flashes, renew_offline_roles
from stolen_world import Field, Robbed, make_robbed

from heirloom.hil.demo.steps import HOST, Unit, Workshop, weather
from heirloom.hil.demo.story import repaired
from heirloom.hil.demo.wire import Wire
from heirloom.signing import keyfile

# The interpreter and the cross compiler are installed beside this Python, which need not be on the PATH.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A product with release 1.0.0 published on the channel. Not to be changed."""
    workshop = Workshop(tmp_path_factory.mktemp("product") / "1.0.0", f"http://{HOST}/")
    with workshop.at_work(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "SCRYPT_N", 2)  # keys that open at once, for tests that sign a lot
        workshop.found()
        workshop.publish("1.0.0", weather("1.0.0"))
    return workshop


@pytest.fixture(scope="session")
def world(founded: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that is made once."""
    directory = tmp_path_factory.mktemp("world")
    with Wire() as wire:
        made = World(directory, wire, {"1.0.0": founded})
        made.add_shop("1.1.0", "1.0.0", weather("1.1.0"), renew_offline_roles)
        made.add_shop("1.2.0", "1.1.0", weather("1.2.0"))
        made.add_shop("1.3.0", "1.2.0", repaired(directory / "source-1.3.0"))
        make_flashes(made)
        yield made
        made.close()


@pytest.fixture
def shop(founded: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A workshop of this test's own, at work: 1.0.0 is published."""
    workshop = copy_of(founded, tmp_path / "shop")
    with workshop.at_work():
        yield workshop


@pytest.fixture
def new_unit(world: World, tmp_path: Path) -> Iterator[NewUnit]:
    """Makes devices; they are switched off at the end."""
    with ExitStack() as stack:

        def make(flash: str) -> Unit:
            unit = world.unit(tmp_path / f"device{len(list(tmp_path.iterdir()))}", flash)
            stack.callback(unit.sim.close)
            return unit

        yield make
    world.wire.attack = None


@pytest.fixture(scope="session")
def robbed(tmp_path_factory: pytest.TempPathFactory) -> Robbed:
    """The product from which things are stolen, with its whole history. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "SCRYPT_N", 2)
        patch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
        patch.setenv("HEIRLOOM_KEYS", "")
        return make_robbed(tmp_path_factory.mktemp("robbed"))


@pytest.fixture(scope="session")
def field(micropython: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """MicroPython with devices of that product."""
    made = Field(micropython, tmp_path_factory.mktemp("field"))
    yield made
    made.close()
