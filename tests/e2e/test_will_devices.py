"""Devices with the maker's root, when the maker is gone: they follow an opened will, and a lasting copy for years."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.hil.demo.steps import BOARD, HOST, Workshop, weather
from heirloom.signing import keyfile
from heirloom.signing.keys import KeyStore

_FAKETIME = shutil.which("faketime")
_YEARS_LATER = "2044-05-06 07:08:09"


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A product with 1.0.0 published and a will. Not to be changed."""
    folder = tmp_path_factory.mktemp("maker")
    workshop = Workshop(folder / "shop", f"http://{HOST}/")
    with pytest.MonkeyPatch.context() as patch, workshop.at_work():
        patch.setattr(keyfile, "SCRYPT_N", 2)
        workshop.found()
        workshop.publish("1.0.0", weather("1.0.0"))
        people = []
        for name in ("eva", "fay"):
            KeyStore(folder / name).create(name, workshop.passphrase)
            people += ["--successor", f"{name}={folder}/{name}/{name}.pub.json"]
        people += [word for name in ("ada", "ben", "cyd") for word in ("--trustee", name)]
        workshop.heirloom("will", "write", *people, "--needed", "2", "--shares", str(folder / "shares"))
    return workshop


@pytest.fixture
def heirs(maker: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A copy of the product with the successors' keys and without the maker's; at work."""
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    copy = Workshop(tmp_path / "heirs", maker.url)
    shutil.copytree(maker.project_dir, copy.project_dir)
    copy.keys_dir.mkdir(mode=0o700)
    for name in ("eva", "fay"):
        for file in (maker.directory.parent / name).iterdir():
            shutil.copy(file, copy.keys_dir)
    copy.passphrase = maker.passphrase
    with copy.at_work():
        yield copy


@pytest.fixture
def shares(maker: Workshop) -> list[str]:
    files = sorted((maker.directory.parent / "shares").iterdir())
    return [word for file in files[:2] for word in ("--share", str(file))]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_rehearsal_takes_a_device_over_and_leaves_no_trace(
    heirs: Workshop, shares: list[str], micropython: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    before = _tree(heirs.directory)
    done = heirs.heirloom("will", "rehearse", *shares)
    assert (done["before"], done["root"], done["release"], done["board"]) == (1, 3, "1.0.0", BOARD)
    assert _tree(heirs.directory) == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_rehearsal_with_too_few_shares_says_so_and_leaves_no_trace(
    heirs: Workshop, shares: list[str], micropython: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    with pytest.raises(HeirloomError, match="1 of the 2 shares"):
        heirs.heirloom("will", "rehearse", *shares[:2])
    assert list((tmp_path / "scratch").iterdir()) == []


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Python's own http.server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


Client = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def client(source_tree: Path, micropython: Path, tmp_path: Path) -> Client:
    """The client under real MicroPython, at any date."""

    def run(*words: str, date: str | None = None) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "HEIRLOOM_MICROPYTHON": str(micropython)}
        command = [str(source_tree / "device/conformance"), "--metadata-dir", str(tmp_path / "trust"), *words]
        if date is not None:
            command = [str(_FAKETIME), date, *command]
        (tmp_path / "trust").mkdir(exist_ok=True)
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    return run


def download(url: str, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    targets = ["--target-dir", str(folder), "--target-base-url", f"{url}targets/"]
    return ["--metadata-url", f"{url}metadata/", *targets, "--target-name", f"channels/{BOARD}/stable", "download"]


def test_a_device_that_slept_follows_the_opened_will_and_installs_what_the_successors_sign(
    heirs: Workshop, shares: list[str], client: Client, tmp_path: Path
) -> None:
    root = heirs.repository_dir / "metadata/1.root.json"
    assert client("init", str(root)).returncode == 0
    answers = [
        "--maker",
        "Friends",
        "--contact",
        "hello@example.org",
        "--url",
        "http://a.example/",
        "--url",
        "http://b.example.net/",
    ]
    heirs.heirloom("will", "open", *shares, *answers)
    heirs.publish("2.0.0", weather("1.1.0"))
    with file_server(heirs.repository_dir) as url:
        done = client(*download(url, tmp_path / "got"))
    assert done.returncode == 0, done.stdout
    (got,) = (tmp_path / "got").iterdir()
    assert got.read_bytes() == heirs.repository.manifest_bytes(BOARD, "2.0.0")
    assert (tmp_path / "trust/root.json").read_bytes() == (heirs.repository_dir / "metadata/3.root.json").read_bytes()


@pytest.mark.skipif(_FAKETIME is None, reason="no `faketime`: apt install faketime")
def test_a_lasting_copy_on_any_file_server_updates_a_device_years_later(
    maker: Workshop, client: Client, tmp_path: Path
) -> None:
    copy = Workshop(tmp_path / "shop", maker.url)
    copy.passphrase = maker.passphrase
    shutil.copytree(maker.directory, copy.directory)
    root = copy.repository_dir / "metadata/1.root.json"
    with copy.at_work():
        copy.heirloom("export", str(tmp_path / "plain"))
        said = copy.heirloom("export", str(tmp_path / "lasting"), "--lasting", "--offline", "--until", "2046-01-01")
    assert said["accepted_until"].startswith("2046-01-01")
    assert client("init", str(root)).returncode == 0
    with file_server(tmp_path / "plain") as url:
        assert client(*download(url, tmp_path / "got")).returncode == 0  # today, an ordinary copy is good enough
        stale = client(*download(url, tmp_path / "stale"), date=_YEARS_LATER)
    assert stale.returncode == 1
    assert "E_STALE" in stale.stdout
    with file_server(tmp_path / "lasting") as url:
        done = client(*download(url, tmp_path / "later"), date=_YEARS_LATER)
        assert done.returncode == 0, done.stdout
        too_late = client(*download(url, tmp_path / "too-late"), date="2046-02-01 00:00:00")
    (got,) = (tmp_path / "later").iterdir()
    assert got.read_bytes() == copy.repository.manifest_bytes(BOARD, "1.0.0")
    assert "E_STALE" in too_late.stdout


@pytest.mark.skipif(_FAKETIME is None, reason="no `faketime`: apt install faketime")
def test_the_will_opens_after_everything_of_the_maker_has_expired(
    heirs: Workshop, shares: list[str], client: Client, tmp_path: Path
) -> None:
    """Years later, on a machine whose clock is right: the opening, the device, and the next release."""
    root = heirs.repository_dir / "metadata/1.root.json"
    assert client("init", str(root)).returncode == 0

    def later(*words: str) -> Any:
        program = [str(_FAKETIME), _YEARS_LATER, sys.executable, "-c", "from heirloom.cli.main import main; main()"]
        return subprocess.run([*program, *words, "--yes"], capture_output=True, text=True, timeout=60, check=False)

    answers = [
        "--maker",
        "Friends",
        "--contact",
        "hello@example.org",
        "--url",
        "http://a.example/",
        "--url",
        "http://b.example.net/",
    ]
    opened = later("will", "open", *shares, *answers)
    assert opened.returncode == 0, opened.stderr
    with file_server(heirs.repository_dir) as url:
        done = client(*download(url, tmp_path / "got"), date=_YEARS_LATER)
    assert done.returncode == 0, done.stdout
