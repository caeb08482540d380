"""`heirloom serve` as a process, and the thread that keeps the timestamp fresh."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.server import publish
from heirloom.server.publish import Publisher
from heirloom.server.renewing import Renewer
from heirloom.server.serve import listen, url_of
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository

_PROGRAM = "from heirloom.cli.main import main; main()"


@contextmanager
def running(*options: str, code: int = 0, stop: int = signal.SIGTERM) -> Iterator[tuple[str, Callable[[], str]]]:
    """The program, serving. Yields the first line that it says, and what it says on stderr after it was stopped."""
    command = [sys.executable, "-c", _PROGRAM, "serve", "--port", "0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told: list[str] = []
        try:
            yield process.stdout.readline(), lambda: told[0]
        finally:
            process.send_signal(stop)
            _, err = process.communicate(timeout=20)
            told.append(err)
        assert process.returncode == code, err


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_stopped(project, stop):
    with running("--json", stop=stop) as (line, errors):
        url = json.loads(line)["url"]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url + "metadata/timestamp.json") as answer:
            assert answer.read() == (project.repository / "metadata/timestamp.json").read_bytes()
    assert errors() == ""


def test_says_where_for_people(project):
    with running() as (line, errors):
        assert line.startswith("Serving at http://127.0.0.1:")
        assert urllib.request.urlopen(line.split()[2]).status == 200
    assert errors() == "", "quiet by default"


def test_log(project):
    with running("--log") as (line, errors):
        urllib.request.urlopen(line.split()[2] + "metadata/root.json").close()
    assert '"GET /metadata/root.json HTTP/1.1" 200' in errors()


def test_serves_only_without_keys(project):
    shutil.rmtree(project.keys_dir())
    with running() as (line, errors):
        assert urllib.request.urlopen(line.split()[2]).status == 200
    assert errors() == "serving only, the timestamp is not renewed (the online keys are not here)\n"


def test_serves_only_when_told_to(project, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_PASSPHRASE")
    with running("--no-renew") as (line, errors):
        assert line.startswith("Serving at")
    assert "--no-renew" in errors()


def test_serves_a_plain_folder(project, tmp_path, monkeypatch):
    """A copy of the repository is enough: no project, no keys."""
    shutil.copytree(project.repository, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    with running("--repository", "copy", "--json") as (line, _):
        assert urllib.request.urlopen(json.loads(line)["url"] + "metadata/root.json").status == 200


def test_port_in_use(project, heirloom):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = heirloom("serve", "--port", port)
    assert ran.code == 1
    assert ran.err.splitlines() == [
        f"error: cannot listen on 127.0.0.1 port {port}: address already in use",
        "another program listens there: name another port with --port, or 0 for any free one",
    ]


def test_renews_while_serving(project):
    """The running program finds the timestamp due, renews it, and clients get the new one."""
    long_ago = utc_now() - timedelta(days=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "utc_now", lambda: long_ago)
        Publisher(project).renew()
    old = Repository(project.repository).timestamp().signed
    with running("--json") as (line, errors):
        url = json.loads(line)["url"]
        deadline = time.monotonic() + 20
        served = old.version
        while served == old.version and time.monotonic() < deadline:
            with urllib.request.urlopen(url + "healthz") as answer:
                served = json.load(answer)["timestamp"]
    assert served == old.version + 1
    assert errors() == "", "silent with --json"


@pytest.fixture
def clock(monkeypatch):
    """A clock for the publisher that a test moves."""

    class Clock:
        now = utc_now()

        def forward(self, days: float) -> None:
            self.now += timedelta(days=days)

    clock = Clock()
    monkeypatch.setattr(publish, "utc_now", lambda: clock.now)
    return clock


@pytest.fixture
def renewer(project) -> Iterator[Renewer]:
    publisher = Publisher(project)
    publisher.open_keys()
    renewer = Renewer(publisher, look_every_s=0.02)
    renewer.start()
    yield renewer
    renewer.stop()


def version(project) -> int:
    return Repository(project.repository).timestamp().signed.version


def wait_for(project, wanted: int) -> None:
    deadline = time.monotonic() + 10
    while version(project) < wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert version(project) == wanted


def test_renewer_renews_once_at_half_of_the_life(project, clock, renewer):
    before = version(project)
    clock.forward(3)
    time.sleep(0.2)
    assert version(project) == before, "too early: every device would fetch it for nothing"
    clock.forward(1)
    wait_for(project, before + 1)
    time.sleep(0.2)
    assert version(project) == before + 1, "once is enough"
    clock.forward(4)
    wait_for(project, before + 2)


def test_renewer_outlives_trouble(project, clock, renewer, capfd):
    before = version(project)
    away = project.repository.with_name("away")
    project.repository.rename(away)
    clock.forward(4)
    deadline = time.monotonic() + 10
    told = ""
    while "cannot renew" not in told and time.monotonic() < deadline:
        time.sleep(0.05)
        told += capfd.readouterr().err
    time.sleep(0.2)
    told += capfd.readouterr().err
    assert told.count("cannot renew: there is no repository") == 1, "the same trouble is told once"
    away.rename(project.repository)
    wait_for(project, before + 1)


def test_addresses():
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        with listen(host, 0) as listener:
            assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with pytest.raises(HeirloomError, match=r"cannot listen on 192\.0\.2\.1 port 0") as caught:
        listen("192.0.2.1", 0)
    assert "--host" in caught.value.advice


def test_publishing_while_renewing(project, clock, renewer, heirloom):
    """The thread and a person at the same time: each waits for the other, nothing is lost."""
    before = version(project)
    barrier = threading.Barrier(2)

    def person() -> None:
        barrier.wait()
        Publisher(project).publish("1.1.0", channel="stable")

    thread = threading.Thread(target=person)
    thread.start()
    barrier.wait()
    clock.forward(4)
    thread.join()
    wait_for(project, version(project))
    deadline = time.monotonic() + 10
    while Publisher(project).due() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert version(project) in (before + 1, before + 2)
    assert Repository(project.repository).channels("SIM_RPI_PICO_W") == {"stable": "1.1.0"}
    assert Publisher(project).due() == []
