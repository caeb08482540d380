"""Founded products, copied from one that is made once; the program, run in this process."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from signing_product import ANSWERS, PASSPHRASE, Product, Program, Ran, write_app

from heirloom.cli.main import run
from heirloom.cli.project import Project
from heirloom.signing import founding, keyfile


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that cost nothing to make and open, where a test makes hundreds."""
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)
    return PASSPHRASE


@pytest.fixture(scope="session")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("founded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEIRLOOM_KEYS", str(folder / "keys"))
        patch.setattr(keyfile, "SCRYPT_N", 2)
        # A day ago, so that nothing is from the future where a test takes the clock of this machine.
        now = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        founding.found(folder / "project", ANSWERS, PASSPHRASE, now)
    write_app(folder / "project" / "app")
    return folder


@pytest.fixture
def product(_founded: Path, tmp_path: Path, home: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch) -> Product:
    """A product of two boards with an application and no release; the working directory is its project."""
    folder = tmp_path / "weather"
    shutil.copytree(_founded / "project", folder)
    shutil.copytree(_founded / "keys", home / "keys")
    monkeypatch.chdir(folder)
    return Product(Project.load(folder))


@pytest.fixture
def heirloom(capfd: pytest.CaptureFixture[str]) -> Program:
    """Runs the program in this process."""

    def program(*argv: object) -> Ran:
        capfd.readouterr()
        code = run([str(word) for word in argv])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return program


@pytest.fixture
def secret_fd() -> Callable[[str], int]:
    """An open file descriptor with a secret in it."""

    def make(secret: str) -> int:
        reader, writer = os.pipe()
        os.write(writer, secret.encode() + b"\n")
        os.close(writer)
        return reader

    return make
