"""Fixtures of the end-to-end tests: one product is founded for each session, and every test gets a copy of it."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from heirloom.hil.demo.steps import HOST, Workshop, weather

# The interpreter and the cross compiler are installed beside this Python, which need not be on the PATH.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")


def copy_of(original: Workshop, directory: Path) -> Workshop:
    """The same product, with the same keys, in another folder."""
    shutil.copytree(original.directory, directory, symlinks=True)
    copy = Workshop(directory, original.url)
    copy.passphrase = original.passphrase
    return copy


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A product with release 1.0.0 published on the channel. Not to be changed."""
    workshop = Workshop(tmp_path_factory.mktemp("product") / "shop", f"http://{HOST}/")
    with workshop.at_work():
        workshop.found()
        workshop.publish("1.0.0", weather("1.0.0"))
    return workshop


@pytest.fixture
def shop(founded: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A workshop of this test's own, at work: 1.0.0 is published."""
    workshop = copy_of(founded, tmp_path / "shop")
    with workshop.at_work():
        yield workshop
