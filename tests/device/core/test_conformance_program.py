"""device/conformance, the door for tuf-conformance: its protocol, end to end over HTTP, on MicroPython."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tuf_repository import DEVICE, NOW, Repository

Run = Callable[..., subprocess.CompletedProcess[str]]


class Handler(SimpleHTTPRequestHandler):
    requests: list[str]

    def log_message(self, *_: object) -> None:
        self.requests.append(self.path)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "served" / "metadata")
    for role in made.md.values():
        role.signed.expires = role.signed.expires.replace(year=2099)
    made.add_target("targets", "folder/file.txt", b"content")
    made.rotate_root()
    made.publish("targets")
    target = made.md["targets"].signed.targets["folder/file.txt"]
    (tmp_path / "served" / "targets" / "folder").mkdir(parents=True)
    (tmp_path / "served" / "targets" / "folder" / f"{target.hashes['sha256']}.file.txt").write_bytes(b"content")
    return made


@pytest.fixture
def server(tmp_path: Path, repository: Repository) -> Iterator[tuple[str, list[str]]]:
    assert repository.folder.exists()
    handler: Any = type("Handler", (Handler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "served"))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler.requests
        running.shutdown()


@pytest.fixture
def run(micropython: Path, tmp_path: Path, server: tuple[str, list[str]], repository: Repository) -> Run:
    """Runs a command with the options of the protocol; `init` ran already."""
    (tmp_path / "trusted").mkdir()
    (tmp_path / "downloads").mkdir()
    url, _ = server

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        options = ["--metadata-dir", str(tmp_path / "trusted"), "--metadata-url", f"{url}/metadata"]
        options += ["--target-dir", str(tmp_path / "downloads"), "--target-base-url", f"{url}/targets/"]
        return subprocess.run(
            [str(DEVICE / "conformance"), *options, *words],
            env={**os.environ, "HEIRLOOM_MICROPYTHON": str(micropython)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert command("init", str(repository.folder / "1.root.json")).returncode == 0
    return command


def test_refresh_keeps_the_files_as_they_came(run: Run, tmp_path: Path, repository: Repository) -> None:
    done = run("refresh")
    assert done.returncode == 0, done.stdout
    for role in ("root", "timestamp", "snapshot", "targets"):
        kept = (tmp_path / "trusted" / f"{role}.json").read_bytes()
        assert kept == (repository.folder / repository.file_name(role)).read_bytes()


def test_a_target_is_downloaded_once(run: Run, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    for _ in range(2):
        done = run("--target-name", "folder/file.txt", "download")
        assert done.returncode == 0, done.stdout
    assert [path.read_bytes() for path in (tmp_path / "downloads").iterdir()] == [b"content"]
    assert sum(path.startswith("/targets/") for path in server[1]) == 1


def test_targets_are_taken_in_order_until_one_fails(run: Run, tmp_path: Path) -> None:
    done = run("--target-name", "folder/file.txt", "--target-name", "absent", "download")
    assert done.returncode == 1
    assert "E_NOT_FOUND" in done.stdout
    assert len(list((tmp_path / "downloads").iterdir())) == 1


def test_nothing_is_kept_of_a_wrong_target(run: Run, tmp_path: Path) -> None:
    (file,) = (tmp_path / "served" / "targets" / "folder").iterdir()
    for wrong, code in ((b"contenT", "E_HASH"), (b"content and more", "E_LENGTH"), (b"", "E_HASH")):
        file.write_bytes(wrong)
        done = run("--target-name", "folder/file.txt", "download")
        assert done.returncode == 1
        assert code in done.stdout
        assert not list((tmp_path / "downloads").iterdir())


def test_a_refusal_is_exit_code_1_with_the_sentence(run: Run, repository: Repository) -> None:
    repository.md["timestamp"].signed.expires = NOW.replace(year=2001)
    repository.publish()
    done = run("refresh")
    assert done.returncode == 1
    assert done.stdout.startswith("E_STALE: timestamp has expired on 2001-06-01T00:00:00Z")


def test_wrong_words_are_told(run: Run) -> None:
    done = run("dance")
    assert done.returncode == 1
    assert "usage" in done.stdout
