"""The REPL of a simulated board: friendly, raw, raw paste, Ctrl-C, and unmodified mpremote on the serial port."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.hil.sim import SimDevice

MakeDevice = Callable[..., SimDevice]


ACCEPT = """
import socket, network
w = network.WLAN()
w.active(True)
w.connect('heirloom-sim')
while not w.isconnected():
    pass
s = socket.socket()
s.bind(('0.0.0.0', 0))
s.listen(1)
s.accept()
"""
FILES = """
import os
i = 0
print('started')
while True:
    with open('n', 'w') as f:
        f.write(str(i) * 1000)
    os.rename('n', 'o')
    i += 1
"""


def typed(device: SimDevice, text: str) -> None:
    device.send(text.replace("\n", "\r").encode())


@pytest.fixture
def prompt(make_device: MakeDevice) -> SimDevice:
    device = make_device({})
    device.run_until(">>> ")
    return device


def test_an_expression_shows_its_value(prompt: SimDevice) -> None:
    typed(prompt, "6 * 7\n")
    prompt.wait_for(r">?6 \* 7\n42\n>>> ")


def test_a_block_goes_on_until_an_empty_line(prompt: SimDevice) -> None:
    typed(prompt, "for i in range(2):\nprint('n', i)\n\n".replace("print", "    print"))
    prompt.wait_for(r"\.\.\. \nn 0\nn 1\n>>> ")


def test_open_brackets_go_on(prompt: SimDevice) -> None:
    typed(prompt, "sum([1,\n2])\n")
    prompt.wait_for(r"\n3\n>>> ")


def test_backspace_and_arrow_keys(prompt: SimDevice) -> None:
    typed(prompt, "12\x7f3\x1b[A\n")
    prompt.wait_for(r"\n13\n>>> ")


def test_paste_mode(prompt: SimDevice) -> None:
    typed(prompt, "\x05def f():\n    return 5\n\nprint(f())\n\x04")
    prompt.wait_for(r"\n5\n>>> ")


def test_sys_exit_at_the_prompt_is_a_soft_reset(prompt: SimDevice) -> None:
    typed(prompt, "raise SystemExit\n")
    prompt.wait_for(r"MPY: soft reboot\n(.|\n)*>>> ")
    assert prompt.boots == 2


@pytest.mark.parametrize(
    "main",
    [
        "while True:\n    pass",
        "import time\nwhile True:\n    time.sleep(100)",
        "import time\ntime.sleep_ms(100000)",
        "import asyncio\nasync def main():\n    await asyncio.sleep(100)\nasyncio.run(main())",
        "import select, sys\np = select.poll()\np.register(sys.stdin, 1)\np.poll()",
        ACCEPT,
        "sum(range(10**9))",
    ],
    ids=["busy", "sleep", "sleep_ms", "asyncio", "poll", "accept", "builtin"],
)
def test_ctrl_c_reaches_the_repl_from_anywhere(make_device: MakeDevice, main: str) -> None:
    device = make_device({"main.py": f"print('started')\n{main}\n"})
    device.run_until("started")
    time.sleep(0.15)
    device.interrupt()
    if "range(10" in main:  # a C function that never returns to the interpreter is not interrupted, as on a board
        assert device.console().count(">>>") == 0
        return
    device.wait_for("KeyboardInterrupt: \n(.|\n)*>>> ", 3)
    assert device.boots == 1


def test_a_program_may_catch_ctrl_c(make_device: MakeDevice) -> None:
    device = make_device(
        {"main.py": "print('started')\ntry:\n    while True: pass\nexcept KeyboardInterrupt:\n    print('caught')"}
    )
    device.run_until("started")
    device.interrupt()
    device.wait_for("caught\n(.|\n)*>>> ")


def test_ctrl_c_just_when_a_program_ends_does_no_harm(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "print('started')"})
    for _ in range(100):
        device.run_until("started")
        device.send(b"\r\x03\r\x01")
        device.wait_for("raw REPL; CTRL-B to exit\n>")
        device.power_off()


def test_ctrl_c_in_the_middle_of_flash_work_leaves_the_file_system_whole(make_device: MakeDevice) -> None:
    device = make_device({"main.py": FILES})
    for _ in range(8):
        device.run_until("started")
        time.sleep(0.02)
        assert device.exec("print(len(set(open('o').read())) > 0)") == "True\n"
        device.power_off()


def test_long_programs_pass_the_raw_repl(prompt: SimDevice) -> None:
    text = "x" * 20000
    assert prompt.exec(f"print(len('{text}'))") == "20000\n"


def test_raw_paste_is_spoken(prompt: SimDevice) -> None:
    supervisor = prompt._on()
    supervisor.tap(True)
    deadline = time.monotonic() + 5
    prompt.send(b"\x01")
    assert supervisor.wait_tapped(b"CTRL-B to exit\r\n>", deadline)
    prompt.send(b"\x05A\x01")
    assert supervisor.wait_tapped(b"R\x01\x80\x00\x01", deadline)
    program = b"print('pasted')" + b" " * 200
    prompt.send(program + b"\x04")
    assert supervisor.wait_tapped(b"\x01", deadline)
    assert supervisor.wait_tapped(b"\x04pasted\r\n\x04\x04>", deadline)
    supervisor.tap(False)


def mpremote(device: SimDevice, *arguments: str) -> str:
    command = [sys.executable, "-m", "mpremote", "connect", str(device.tty), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def _mpremote_installed() -> None:
    pytest.importorskip("mpremote", reason="mpremote is not installed")


@pytest.mark.usefixtures("_mpremote_installed")
def test_unmodified_mpremote_works_on_the_serial_port(make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device({"main.py": "print('main')\nwhile True: pass"})
    device.run_until("main")
    assert mpremote(device, "exec", "print(1+1)").strip() == "2"
    assert device.boots == 2, "mpremote makes a soft reset"
    assert device.console().count("main\n") == 1
    source = tmp_path / "source.py"
    source.write_text("def f():\n    return 'über'\n" * 400)
    mpremote(device, "fs", "cp", str(source), ":copied.py")
    mpremote(device, "fs", "cp", ":copied.py", str(tmp_path / "back.py"))
    assert (tmp_path / "back.py").read_bytes() == source.read_bytes()
    assert "copied.py" in mpremote(device, "fs", "ls")
    device.power_off()
    assert not device.tty.exists()


@pytest.mark.usefixtures("_mpremote_installed")
def test_mpremote_mounts_a_folder_of_the_host(prompt: SimDevice, tmp_path: Path) -> None:
    (tmp_path / "from_host.py").write_text("print('imported')\n")
    (tmp_path / "all.bin").write_bytes(bytes(range(256)) * 10)  # with line ends and Ctrl-C in it
    code = "import from_host\nwith open('all.bin', 'rb') as s, open('copy.bin', 'wb') as t:\n    t.write(s.read())"
    assert "imported" in mpremote(prompt, "mount", str(tmp_path), "exec", code)
    assert (tmp_path / "copy.bin").read_bytes() == (tmp_path / "all.bin").read_bytes()


@pytest.mark.usefixtures("_mpremote_installed")
def test_twenty_soft_resets_of_mpremote_in_a_row(prompt: SimDevice) -> None:
    arguments = []
    for _ in range(20):
        arguments += ["soft-reset", "+"]
    mpremote(prompt, *arguments, "exec", "print('alive')")
    assert prompt.boots >= 20
