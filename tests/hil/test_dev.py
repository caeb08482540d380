"""`heirloom dev`: the source folder runs on a device over its serial line, and again on each save."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.extras import missing
from heirloom.cli.main import call, run
from heirloom.cli.project import Project
from heirloom.hil.devices import create, open_device
from heirloom.hil.serial.share import snapshot
from heirloom.hil.sim import SimDevice

if missing("serial"):
    pytest.skip("the extra `serial` is not installed: pip install 'heirloom-ota[serial]'", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
PROJECT = """
[product]
name = "weather"
[app]
source = "app"
keep = ["settings.json", "notes"]
"""
MAIN = """
import helper, os, sys
print("version", helper.VERSION, __name__, os.getcwd())
print("listed", sorted(os.listdir("/app")))
with open("settings.json") as file:
    print("settings", file.read())
with open("settings.json", "w") as file:
    file.write("changed")
os.mkdir("notes")
with open("notes/one", "w") as file:
    file.write("kept")
os.rename("notes/one", "notes/two")
print("kept", os.listdir("notes"), open("settings.json").read())
try:
    open("helper.py", "w")
except OSError as error:
    print("refused", error.errno)
with open("all.bin", "rb") as file:
    print("binary", sum(file.read()))
print("done")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "heirloom.toml").write_text(PROJECT)
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text(MAIN)
    (app / "helper.py").write_text("VERSION = 1\n")
    (app / "settings.json").write_text("original")
    (app / "all.bin").write_bytes(bytes(range(256)) * 4)
    monkeypatch.chdir(tmp_path)
    return Project.load()


@pytest.fixture
def kitchen(project: Project) -> None:
    with create(project, "kitchen", "SIM_RPI_PICO_W", {}, "board") as device:
        files = {"/main.py": b"print('the signed release runs')\nwhile True: pass\n", "/app-data": b"x"}
        device.write_filesystem(lfs.build(device.board.flash, files))


def files_on(project: Project) -> dict[str, bytes]:
    with open_device(project, "kitchen") as device:
        return lfs.read(device.board.flash, device.filesystem_image())


def dev_until(
    capsys: pytest.CaptureFixture[str], pattern: str, act: Callable[[str], None] = lambda _: None, *words: str
) -> tuple[str, str]:
    """`heirloom dev` until it has said something, then Ctrl-C. Returns what it said on stdout and stderr.

    Args:
        capsys: Pytest's.
        pattern: Looked for in both.
        act: Told all that was said, now and then.
        words: More of the command line.
    """
    said = ["", ""]

    def watch() -> None:
        for _ in range(600):
            captured = capsys.readouterr()
            said[0], said[1] = said[0] + captured.out, said[1] + captured.err
            if re.search(pattern, "".join(said)):
                os.kill(os.getpid(), signal.SIGINT)
                return
            act(said[0])
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert run(["dev", *words, "--for", "60"]) == 0
    watcher.join()
    captured = capsys.readouterr()
    return said[0] + captured.out, said[1] + captured.err


@pytest.mark.usefixtures("kitchen")
def test_the_source_folder_runs_as_a_release_would_and_again_on_save(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_on(project)
    app = project.root / "app"
    source = {path.name: path.read_bytes() for path in app.iterdir()}

    def edit(said: str) -> None:
        if "done" in said and source["helper.py"] == (app / "helper.py").read_bytes():
            (app / "helper.py").write_text("VERSION = 22\n")

    out, _ = dev_until(capsys, "version 22 .*\n", edit, "kitchen")
    assert "version 1 __main__ /app\n" in out
    assert "listed ['all.bin', 'helper.py', 'main.py', 'settings.json']" in out
    assert "settings original" in out
    assert "kept ['two'] changed" in out
    assert "refused 30" in out
    assert f"binary {sum(range(256)) * 4}" in out
    assert "version 22 __main__ /app\n" in out
    assert files_on(project) == before, "nothing is written on the device"
    source["helper.py"] = b"VERSION = 22\n"
    assert {path.name: path.read_bytes() for path in app.iterdir()} == source, "nor into the source folder"
    kept = project.state_dir / "dev/kitchen"
    assert (kept / "settings.json").read_text() == "changed"
    assert (kept / "notes/two").read_text() == "kept"


def test_a_hard_reset_restores_the_release_of_a_unit_at_a_port(
    project: Project, make_device: MakeDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    from heirloom.hil.serial.ports import Port
    from heirloom.hil.serial.record import Record

    device = make_device({"main.py": "print('the signed release runs')\nwhile True: pass\n"})
    device.run_until("signed release")
    folder = project.state_dir / "devices/porch"
    folder.mkdir(parents=True)
    Record("porch", device.board.name, device.id, Port(str(device.tty))).write(folder)
    (project.root / "app/main.py").write_text("print('from the source')\nwhile True:\n    pass\n")
    dev_until(capsys, "from the source")
    device.wait_for("the signed release runs", 10)


@pytest.mark.usefixtures("kitchen")
def test_ctrl_c_ends_it_cleanly(project: Project) -> None:
    (project.root / "app/main.py").write_text("print('runs')\nwhile True:\n    open('helper.py').read()\n")
    code = "from heirloom.cli.main import main; main(['dev', 'kitchen'])"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "runs\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "runs: 1" in out
    assert "Traceback" not in err


@pytest.mark.usefixtures("kitchen")
def test_a_crash_shows_its_traceback_and_waits(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "app/main.py").write_text("print('begins')\n1 / 0\n")
    out, _ = dev_until(capsys, "main.py has ended; waiting for a change")
    assert 'File "/app/main.py", line 2' in out
    assert "ZeroDivisionError" in out


ESCAPES = """
import os
for path in ("/app/../heirloom.toml", "link", "/app/notes/../../../heirloom.toml"):
    for mode in ("r", "w", "a"):
        try:
            open(path, mode)
            print("OPENED", path, mode)
        except OSError:
            pass
for act in (lambda: os.remove("main.py"), lambda: os.mkdir("new"), lambda: os.rename("helper.py", "notes/x")):
    try:
        act()
        print("CHANGED")
    except OSError:
        pass
print("tried")
"""


@pytest.mark.usefixtures("kitchen")
def test_a_device_reaches_nothing_outside_of_the_folder(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    secret = project.root / "heirloom.toml"
    before = secret.read_bytes()
    (project.root / "app/link").symlink_to(secret)
    (project.root / "app/main.py").write_text(ESCAPES)
    out, err = dev_until(capsys, "tried")
    assert "OPENED" not in out
    assert "CHANGED" not in out
    assert secret.read_bytes() == before
    assert "read-only (EROFS), as in a release" in err


def test_what_cannot_be_run_is_told(project: Project) -> None:
    with pytest.raises(UsageError, match="which device"):
        call(["dev"])
    (project.root / "app/main.py").unlink()
    with pytest.raises(HeirloomError, match=r"there is no main\.py in"):
        call(["dev", "kitchen"])


def test_what_editors_leave_beside_a_file_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("1")
    before = snapshot(tmp_path)
    for name in (".main.py.swp", "main.py~", "#main.py#", "main.py.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").touch()
    assert snapshot(tmp_path) == before
    (tmp_path / "main.py").write_text("22")
    assert snapshot(tmp_path) != before


def test_a_device_that_asks_nonsense_is_not_answered_wrongly(project: Project) -> None:
    from heirloom.hil.serial.share import Share

    sent: list[bytes] = []
    questions = bytearray(b"\xff\xff\xff\xff")
    share = Share(
        project.root / "app", [], project.root / "kept", lambda count: bytes(questions[:count]), sent.append, print
    )
    share.answer(99)
    assert sent == [b"\x18"]
    share.answer(1)  # a path of negative length is the folder itself
    assert sent[-1][0] == 0
    with pytest.raises(HeirloomError, match="a file that is not open"):
        share.answer(6)
