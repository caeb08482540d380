"""`heirloom device ...` on simulated devices."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call, run
from heirloom.cli.project import Project
from heirloom.hil.devices import create, open_device
from heirloom.hil.sim import SimDevice

PROJECT = """
[product]
name = "weather"
urls = ["http://127.0.0.1:8000/", "http://mirror.example/"]
[boards.SIM_RPI_PICO_W]
micropython = "1.29"
"""


LOGGING = """
import os
os.mkdir('/heirloom')
with open('/heirloom/log', 'w') as f:
    f.write('kept line\\n')
print('live')
"""


def root_metadata(product: str) -> bytes:
    """Root metadata as `heirloom init` makes it, reduced to what provisioning looks at."""
    from datetime import UTC, datetime

    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root

    signer = CryptoSigner.generate_ed25519()
    root = Root(expires=datetime(2100, 1, 1, tzinfo=UTC), unrecognized_fields={"x-heirloom-product": product})
    root.add_key(signer.public_key, "root")
    metadata = Metadata(root)
    metadata.sign(signer)
    return metadata.to_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "project"
    (folder / "repository/metadata").mkdir(parents=True)
    (folder / "heirloom.toml").write_text(PROJECT)
    (folder / "repository/metadata/root.json").write_bytes(root_metadata("weather"))
    monkeypatch.chdir(folder)
    return Project.load()


def scripted(project: Project, main: str) -> None:
    with open_device(project, "kitchen") as device:
        device.write_filesystem(lfs.build(device.board.flash, {"/main.py": main.encode()}))


def test_a_device_is_made_and_provisioned(project: Project) -> None:
    made = call(["device", "new", "kitchen"])
    assert isinstance(made, dict)
    assert made["board"] == "SIM_RPI_PICO_W"
    provisioned = call(["device", "provision", "kitchen", "--timing", "check_after_s=1"])
    assert provisioned == {
        "device": "kitchen",
        "board": "SIM_RPI_PICO_W",
        "id": made["id"],
        "urls": ["http://127.0.0.1:8000/", "http://mirror.example/"],
        "channel": "stable",
    }
    assert call(["device", "log", "kitchen"]) == {"device": "", "console": ""}
    status = call(["device", "status", "kitchen"])
    assert isinstance(status, dict)
    assert (status["product"], status["board"], status["id"]) == ("weather", "SIM_RPI_PICO_W", made["id"])
    assert (status["active"], status["boots"]) == (None, 0), "asking spends no boot"
    assert "secret" not in status


STATUS = """
import machine
def report():
    return {"version": "1.0.0", "id": machine.unique_id().hex(), "main": main}
main = False
"""


def test_status_is_what_the_device_says_without_running_main(project: Project) -> None:
    with create(project, "kitchen", None, {}, "board") as device:
        files = {
            "/lib/heirloom/device/status.py": STATUS,
            "/main.py": "from heirloom.device import status\nstatus.main = True\n",
            "/heirloom/state": "a folder /heirloom must not hide the package heirloom",
        }
        device.write_filesystem(lfs.build(device.board.flash, {path: text.encode() for path, text in files.items()}))
        identity = device.id
    assert call(["device", "status", "kitchen"]) == {"version": "1.0.0", "id": identity, "main": False}


def test_boot_waits_for_what_the_device_says(project: Project) -> None:
    call(["device", "new", "kitchen"])
    scripted(project, "import machine\nprint('started 7')\nmachine.reset()")
    done = call(["device", "boot", "kitchen", "--until", r"started \d"])
    assert isinstance(done, dict)
    assert done["said"] == "started 7"
    assert done["boots"] >= 1


PRESENCE = """
def accept_stale():
    with open("/said", "w") as file:
        file.write("yes")
"""


def test_boot_can_say_the_owners_word_first(project: Project) -> None:
    with create(project, "kitchen", None, {}, "board") as device:
        files = {
            "/lib/heirloom/device/owner.py": PRESENCE,
            "/main.py": "import os\nprint('said' in os.listdir('/') and 'the owner is here' or 'nobody is here')\n",
        }
        device.write_filesystem(lfs.build(device.board.flash, {path: text.encode() for path, text in files.items()}))
    for more, said in ([], "nobody is here"), (["--accept-stale"], "the owner is here"):
        done = call(["device", "boot", "kitchen", "--until", r"\w+ \w* ?is here", *more])
        assert isinstance(done, dict)
        assert done["said"] == said


def test_boot_gives_up_with_the_last_lines(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    call(["device", "new", "kitchen"])
    scripted(project, "print('something else')")
    assert run(["device", "boot", "kitchen", "--until", "confirmed", "--timeout", "0.5"]) == 1
    error = capsys.readouterr().err
    assert "did not say" in error
    assert "something else" in error


def test_console_streams_and_the_log_remembers(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    call(["device", "new", "kitchen"])
    scripted(project, LOGGING)
    assert run(["device", "console", "kitchen", "--for", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "live\n" in captured.out
    assert "serial port: " in captured.err
    found = call(["device", "log", "kitchen"])
    assert isinstance(found, dict)
    assert found["device"] == "kept line\n"
    assert "--- power on" in found["console"]
    assert "live" in found["console"]


def test_provisioning_again_asks_first_and_keeps_the_identity(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    call(["device", "new", "kitchen"])
    call(["device", "provision", "kitchen"])
    identity = project.state_dir / "devices/kitchen/identity.json"
    kept = identity.read_bytes()
    assert identity.stat().st_mode & 0o777 == 0o600
    assert run(["device", "provision", "kitchen"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(["device", "provision", "kitchen", "--yes"]) == 0
    assert identity.read_bytes() == kept


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["device", "boot", "nobody"], "no device nobody"),
        (["device", "new", "a/b"], "is no name for a device"),
        (["device", "new", "x", "--board", "RPI_PICO_W"], "is not a simulated board"),
        (["device", "new", "x", "--board", "NOPE"], "no board NOPE"),
        (["device", "new", "x", "--clock", "sun"], "it must be board or host"),
        (["device", "new", "x", "--host", "name"], "KEY=VALUE"),
        (["device", "new", "kitchen"], "exists already"),
        (["device", "provision", "kitchen", "--timing", "check_after_s=soon"], "is no number of seconds"),
        (["device", "provision", "kitchen", "--timing", "chek=1"], "'chek' is unknown"),
        (["device", "boot", "kitchen", "--until", "("], "is no regular expression"),
        (["device", "status", "kitchen"], "ImportError"),
        (["device", "shell", "kitchen"], "needs a terminal"),
    ],
)
def test_wrong_input_gives_one_clear_line(
    project: Project, capsys: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    call(["device", "new", "kitchen"])
    assert run(command) in (1, 2)
    error = capsys.readouterr().err
    assert message in error.splitlines()[-2 if "\n" in error.strip() else -1] or message in error.splitlines()[0]
    assert 'Traceback (most recent call last):\n  File "/' not in error


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (b"{}", "no valid root metadata"),
        (b"nonsense", "no valid root metadata"),
        (root_metadata("other"), "is the root of product 'other'"),
        (root_metadata("weather").replace(b"2100", b"2101"), "no valid root metadata"),
    ],
)
def test_a_root_that_no_device_should_trust_is_refused(project: Project, root: bytes, message: str) -> None:
    call(["device", "new", "kitchen"])
    path = project.root / "other.json"
    path.write_bytes(root)
    with pytest.raises(HeirloomError, match=message):
        call(["device", "provision", "kitchen", "--root", str(path)])


def test_a_board_that_is_not_of_the_project_is_refused(project: Project) -> None:
    call(["device", "new", "hall", "--board", "SIM_ESP32_GENERIC"])
    with pytest.raises(HeirloomError, match="which is no board of this project"):
        call(["device", "provision", "hall"])


def test_a_device_without_a_place_to_look_is_refused(project: Project) -> None:
    (project.root / "heirloom.toml").write_text('[product]\nname = "weather"\n')
    call(["device", "new", "kitchen", "--board", "SIM_RPI_PICO_W"])
    with pytest.raises(HeirloomError, match="no place to look"):
        call(["device", "provision", "kitchen"])


def test_hosts_and_clock_reach_the_device(project: Project) -> None:
    call(["device", "new", "kitchen", "--host", "maker.example=127.0.0.1:9", "--clock", "host"])
    with open_device(project, "kitchen") as device:
        assert device.settings.hosts == {"maker.example": "127.0.0.1:9"}
        assert device.settings.clock == "host"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('board = "SIM_RPI_PICO_W"\nname = "x"', "id is missing"),
        ('board = "SIM_RPI_PICO_W"\nname = "x"\nid = "zz"', "hexadecimal"),
        ('board = "SIM_RPI_PICO_W"\nname = "x"\nid = "aa"\nclok = 1', "did you mean 'clock'"),
        ('board = "SIM_RPI_PICO_W"\nname = "x"\nid = "aa"\nclock = "sun"', "clock is 'sun'"),
        ('board = "SIM_RPI_PICO_W"\nname = "x"\nid = "aa"\n[hosts]\na = "8.8.8.8"', "only reaches 127.0.0.1"),
        ("nonsense", "not TOML"),
    ],
)
def test_a_wrong_device_toml_names_the_key(project: Project, text: str, message: str) -> None:
    create(project, "kitchen", None, {}, "board").close()
    (project.state_dir / "devices/kitchen/device.toml").write_text(text)
    with pytest.raises(HeirloomError, match=message) as caught:
        open_device(project, "kitchen")
    assert "device.toml" in caught.value.message


def test_a_damaged_flash_file_is_trouble_of_the_rig(project: Project) -> None:
    create(project, "kitchen", None, {}, "board").close()
    (project.state_dir / "devices/kitchen/flash.bin").write_bytes(b"\xff" * 100)
    assert run(["device", "boot", "kitchen"]) == 4


HOLDER = """
import sys, time
from pathlib import Path
from heirloom.hil.sim import SimDevice
device = SimDevice(Path(sys.argv[1]))
device.power_on()
print("holding", flush=True)
time.sleep(60)
"""


def test_one_process_at_a_time_runs_a_device_and_a_killed_one_lets_go(project: Project) -> None:
    create(project, "kitchen", None, {}, "board").close()
    folder = project.state_dir / "devices/kitchen"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(HeirloomError, match=f"in use by process {holder.pid}"):
            call(["device", "boot", "kitchen"])
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    deadline = time.monotonic() + 5
    while boards_running(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not boards_running(folder), "the board ends with the process that ran it"
    with SimDevice(folder) as device:
        device.run_until(">>> ")


def boards_running(folder: Path) -> list[int]:
    """Processes that have the flash of the device in their memory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder / "flash.bin") in (entry / "maps").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


REPORTED = {
    "client": "0.1.0",
    "product": "weather",
    "board": "SIM_RPI_PICO_W",
    "id": "e186",
    "active": {"slot": "b", "version": "1.1.0", "epoch": 0, "sequence": 2},
    "fallback": {"slot": "a", "version": None, "epoch": None, "sequence": None},
    "trial": {"boots_left": 2, "power_left": 10, "started": True},
    "confirmed": [0, 1],
    "floor": [0, 0],
    "failed": [[0, 3], [0, 4]],
    "metadata": {"root": 1, "timestamp": 4},
    "last_check": {"time": 1, "result": None, "error": "E_STALE: timestamp has expired"},
    "owner": {"updates": "ask", "pinned": None, "network": True},
    "traceback": "Traceback\n  OSError: 30\x1b[2J\n",
    "news": "of a newer client",
}


def test_a_report_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from heirloom.hil import report

    report.status(Console(width=200), REPORTED)
    said = capsys.readouterr().out
    for line in (
        "device       e186 weather SIM_RPI_PICO_W",
        "runs         1.1.0 (slot b), on trial: 2 starts and 10 losses of power left",
        "before       a damaged release (slot a)",
        "confirmed    epoch 0, sequence 1",
        "floor        none",
        "failed       epoch 0, sequence 3, epoch 0, sequence 4",
        "last check   E_STALE: timestamp has expired",
        "owner        updates ask, network yes",
        "metadata     root 1, timestamp 4",
        "news         of a newer client",
    ):
        assert line in said.splitlines()
    assert "OSError: 30\\x1b[2J" in said
    report.status(Console(width=200), {})  # an old client says less
    assert "runs         nothing" in capsys.readouterr().out.splitlines()
