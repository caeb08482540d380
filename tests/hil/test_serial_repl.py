"""The raw REPL over serial lines with faults, and files over it, on simulated boards."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom import boards
from heirloom.boards.images import uf2
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import missing
from heirloom.hil.serial import identify
from heirloom.hil.serial.files import Files
from heirloom.hil.serial.line import Line, LineBroken, holders
from heirloom.hil.serial.repl import NoRepl, SerialRepl
from heirloom.hil.sim import DeviceError, SimDevice
from heirloom.hil.sim.cable import Cable, Faults

if missing("serial"):
    pytest.skip("the extra `serial` is not installed: pip install 'heirloom-ota[serial]'", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
BUSY = "print('busy')\nwhile True:\n    try:\n        while True: pass\n    except KeyboardInterrupt:\n        break\n"
# A second Ctrl-C while the first is being passed over must not end it either.
STUBBORN = """
def spin(depth):
    while True:
        try:
            if depth:
                spin(depth - 1)
        except KeyboardInterrupt:
            pass

print("busy")
spin(3)
"""
FAULTS = {
    "none": Faults(),
    "boot loader's text": Faults(greeting=b"ets Jul 29 2019\r\n\xff\xfe\x80rst:0x1 (POWERON)\r\n>>> load:0x3fff\r\n"),
    "lost interrupts": Faults(lost_interrupts=5),
    "slow": Faults(bytes_per_s=5000),
    "chatter": Faults(chatter=b"sensor 12.5\r\n"),
}


@pytest.mark.parametrize("faults", [f for name, f in FAULTS.items() if name != "chatter"], ids=lambda f: repr(f)[:40])
def test_code_runs_whatever_the_cable_does(make_device: MakeDevice, tmp_path: Path, faults: Faults) -> None:
    device = make_device({"main.py": BUSY, "boot.py": "print('booted')"})
    device.run_until("busy")
    with Cable(device.tty, tmp_path / "cable", faults) as cable, Line(str(cable.port)) as line:
        repl = SerialRepl(line, "porch")
        repl.enter(20)
        repl.soft_reset(20)
        assert repl.exec("print(1 + 1, 'über')", 20) == "2 über\n"
        text = "x" * 3000
        assert repl.exec(f"print(len('{text}'))", 30) == "3000\n"
        with pytest.raises(DeviceError, match="ZeroDivisionError"):
            repl.exec("1 / 0", 20)
        assert repl.exec("print('still there')", 20) == "still there\n"
    assert device.console().count("busy") == 1, "main.py does not run after the soft reset"


def test_a_program_that_never_stops_is_told_with_what_it_said(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device({"main.py": STUBBORN})
    device.run_until("busy")
    with (
        Cable(device.tty, tmp_path / "cable", FAULTS["chatter"]) as cable,
        Line(str(cable.port)) as line,
        pytest.raises(NoRepl, match=r"no REPL at .* after \d+ attempts in 2 s: something answers") as caught,
    ):
        SerialRepl(line, "porch").enter(2)
    assert "press its reset button" in caught.value.advice
    assert "sensor 12.5" in caught.value.advice
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (b"", "check its power"),
        (b"waiting for download\r\n", "BOOT button"),
        (b"invalid header: 0xffffffff\r\n", "no firmware: provision it with --firmware"),
        (b"The filesystem appears to be corrupted.", "its file system is damaged"),
    ],
)
def test_what_a_silent_or_broken_board_says_gives_the_advice(tmp_path: Path, said: bytes, advice: str) -> None:
    import os
    import pty
    import tty

    near, far = pty.openpty()
    tty.setraw(far)
    try:
        with Line(os.ttyname(far)) as line:
            os.write(near, said)
            with pytest.raises(NoRepl) as caught:
                SerialRepl(line, "porch").enter(0.5)
        assert advice in caught.value.advice
    finally:
        os.close(near)
        os.close(far)


def test_a_cable_pulled_out_in_the_middle_is_told(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device({})
    device.run_until(">>> ")
    with Cable(device.tty, tmp_path / "cable", Faults(unplug_after=3000)) as cable, Line(str(cable.port)) as line:
        repl = SerialRepl(line, "porch")
        repl.enter()
        with pytest.raises(LineBroken, match="broke off, and the port is gone") as caught:
            repl.exec("for i in range(1000): print('line', i)")
    assert "plug the device in again" in caught.value.advice
    assert device.exec("print('alive')") == "alive\n"


def test_a_port_that_is_in_use_names_who_has_it(make_device: MakeDevice, tmp_path: Path) -> None:
    import subprocess
    import sys

    device = make_device({})
    device.run_until(">>> ")
    code = f"import serial; s = serial.Serial({str(device.tty)!r}, exclusive=True); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert any(f"({other.pid})" in who for who in holders(str(device.tty)))
        with pytest.raises(RigTrouble, match=rf"is in use by .*\({other.pid}\)") as caught:
            Line(str(device.tty))
        assert "close that program" in caught.value.advice
        other.communicate("\n")


def test_ports_that_cannot_be_opened_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RigTrouble, match=r"no port .*nothing"):
        Line(str(tmp_path / "nothing"))
    with pytest.raises(RigTrouble, match=r"nobody answers at socket://127\.0\.0\.1:1"):
        Line("socket://127.0.0.1:1")
    with pytest.raises(RigTrouble, match="cannot open nonsense://x"):
        Line("nonsense://x")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serial.serial_for_url", denied)
    (tmp_path / "tty").touch()
    with pytest.raises(RigTrouble, match="permission denied") as caught:
        Line(str(tmp_path / "tty"))
    assert "dialout" in caught.value.advice


@pytest.fixture
def repl(make_device: MakeDevice) -> "Callable[..., SerialRepl]":
    lines: list[Line] = []

    def make(board: str = "SIM_RPI_PICO_W") -> SerialRepl:
        device = make_device({"main.py": "while True: pass"}, board=board)
        device.power_on()
        lines.append(Line(str(device.tty)))
        made = SerialRepl(lines[0], "porch")
        made.enter()
        return made

    yield make
    for line in lines:
        line.close()


def test_files_go_there_and_back(repl: "Callable[..., SerialRepl]") -> None:
    files = Files(repl(), "porch")
    data = bytes(range(256)) * 100
    seen: list[int] = []
    files.put("/deep/er/all.bin", data, seen.append)
    assert sum(seen) == len(data)
    files.put("/deep/empty", b"")
    assert files.get("/deep/er/all.bin") == data
    assert files.get("/deep/empty") == b""
    assert files.sizes() == {"/main.py": 16, "/deep/er/all.bin": len(data), "/deep/empty": 0}
    assert files.hashes(["/deep/er/all.bin", "/none"]) == {
        "/deep/er/all.bin": hashlib.sha256(data).hexdigest(),
        "/none": None,
    }
    assert files.differing({"/deep/empty": b"", "/main.py": b"other", "/new": b""}) == ["/main.py", "/new"]
    files.make_folders(["/heirloom/slots"])
    files.remove(["/deep/empty"])
    assert "/deep/empty" not in files.sizes()
    with pytest.raises(DeviceError, match="ENOENT"):
        files.get("/none")


def test_a_full_device_keeps_the_old_file(repl: "Callable[..., SerialRepl]") -> None:
    entered = repl()
    files = Files(entered, "porch")
    files.put("/kept", b"old")
    entered.exec("with open('/fill', 'wb') as f:\n for _ in range(200): f.write(bytes(4096))")
    with pytest.raises(DeviceError, match=r"ENOSPC|28"):
        files.put("/kept", bytes(100_000))
    assert files.get("/kept") == b"old"


@pytest.mark.parametrize("board", ["SIM_RPI_PICO_W", "SIM_ESP32_GENERIC_C3"])
def test_a_board_says_what_it_is_and_is_taken_for_no_other(repl: "Callable[..., SerialRepl]", board: str) -> None:
    said = identify.ask(repl(board), "porch")
    assert len(said.id) >= 12
    assert (said.mpy, said.arch) == ("6.3", "x64")
    identify.check(said, boards.load(board), "porch")
    with pytest.raises(HeirloomError, match="not a SIM_ESP32_GENERIC_S3") as caught:
        identify.check(said, boards.load("SIM_ESP32_GENERIC_S3"), "porch")
    assert caught.value.advice == f"choose --board {board}"


def said(machine: str, **more: object) -> identify.Said:
    values = {"id": "00", "build": "", "version": (1, 27, 0), "mpy": "6.3", "arch": "armv6m", **more}
    return identify.Said(machine=machine, **values)  # type: ignore[arg-type]


def test_real_boards_are_told_apart_by_their_own_words() -> None:
    pico, pico_w = boards.load("RPI_PICO"), boards.load("RPI_PICO_W")
    identify.check(said("Raspberry Pi Pico with RP2040"), pico, "x")
    identify.check(said("Raspberry Pi Pico W with RP2040"), pico_w, "x")
    with pytest.raises(HeirloomError, match="is a Raspberry Pi Pico W with RP2040, not a RPI_PICO") as caught:
        identify.check(said("Raspberry Pi Pico W with RP2040"), pico, "x")
    assert "--board RPI_PICO_W" in caught.value.advice
    with pytest.raises(HeirloomError, match="not a RPI_PICO_W"):
        identify.check(said("Raspberry Pi Pico with RP2040"), pico_w, "x")
    esp32 = boards.load("ESP32_GENERIC")
    identify.check(said("Generic ESP32 module with SPIRAM with ESP32", arch="xtensawin"), esp32, "x")
    with pytest.raises(HeirloomError, match=r"MicroPython 1\.20\.0; the client needs 1\.24 or newer"):
        identify.check(said("Generic ESP32 module with ESP32", arch="xtensawin", version=(1, 20, 0)), esp32, "x")
    with pytest.raises(HeirloomError, match=r"loads \.mpy 6\.1 for xtensawin, a ESP32_GENERIC 6\.3"):
        identify.check(said("Generic ESP32 module with ESP32", arch="xtensawin", mpy="6.1"), esp32, "x")


def test_a_board_that_resets_while_code_runs_is_told(repl: "Callable[..., SerialRepl]") -> None:
    entered = repl()
    started = time.monotonic()
    with pytest.raises(NoRepl, match="did not end"):
        entered.exec("import machine\nmachine.reset()", 1)
    assert time.monotonic() - started < 10
    entered.enter()
    assert entered.exec("print('back')") == "back\n"


def test_no_thread_stays(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device({})
    device.power_on()
    with Cable(device.tty, tmp_path / "cable"):
        assert (tmp_path / "cable").exists()
    assert not (tmp_path / "cable").exists()
    assert not any(thread.name == "cable cable" for thread in threading.enumerate())


def test_published_firmware_says_of_its_hardware_what_the_board_expects(firmware: Path) -> None:
    found = 0
    for name in boards.names():
        board = boards.load(name)
        if board.simulated:
            continue
        for image in firmware.glob(f"{name}-*v1.2[4-9]*"):
            wanted = f"{board.machine} with {board.hardware.mcu}".encode()
            data = uf2.read(image.read_bytes()).data if image.suffix == ".uf2" else image.read_bytes()
            assert wanted in data, f"{image.name} does not say {wanted!r}"
            found += 1
    if not found:
        pytest.skip("no firmware image of 1.24 or newer for these boards")
