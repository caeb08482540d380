"""What a port does around boot.py and main.py: order, resets and their causes, soft reset, exceptions."""

import time
from collections.abc import Callable

import pytest

from heirloom.cli.errors import HeirloomError
from heirloom.hil.sim import DeviceError, DeviceTimeout, Power, SimDevice

MakeDevice = Callable[..., SimDevice]

PICO, ESP32 = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
SCRIPTS = {"boot.py": "print('boot runs')", "main.py": "print('main runs')"}
PROMPT = ">>> "
ONCE = """
import machine, os
print('cause', machine.reset_cause())
if 'done' not in os.listdir():
    os.mkdir('done')
"""


def test_a_hard_start_runs_both_scripts_in_order_and_ends_at_the_repl(make_device: MakeDevice) -> None:
    device = make_device(SCRIPTS)
    device.power_on()
    device.wait_for(PROMPT)
    said = device.console()
    assert said.index("boot runs") < said.index("main runs") < said.index("MicroPython") < said.index(PROMPT)
    assert "_sim" not in said


def test_both_scripts_and_the_repl_share_main(make_device: MakeDevice) -> None:
    device = make_device({"boot.py": "a = 1", "main.py": "b = a + 1\nprint(__name__)"})
    device.power_on()
    device.wait_for("__main__")
    assert device.exec("print(a, b, sorted(globals()))") == "1 2 ['__name__', 'a', 'b']\n"


def test_a_soft_reset_as_mpremote_does_it_skips_main(make_device: MakeDevice) -> None:
    device = make_device(SCRIPTS)
    device.run_until("main runs(.|\n)*>>> ")
    device.exec("kept = 1")
    for count in range(2, 5):
        device.soft_reset()
        assert device.boots == count
    assert device.exec("print('kept' in globals())") == "False\n"
    assert device.console().count("main runs") == 1


def test_a_soft_reset_from_the_friendly_repl_runs_both(make_device: MakeDevice) -> None:
    device = make_device(SCRIPTS)
    device.run_until("main runs(.|\n)*>>> ")
    device.send(b"\x04")
    device.wait_for("MPY: soft reboot\nboot runs\nmain runs\n(.|\n)*>>> ")
    assert device.boots == 2


def test_a_device_may_be_held_at_the_repl(make_device: MakeDevice) -> None:
    device = make_device(SCRIPTS)
    device.power_on(hold_repl=True)
    device.wait_for(PROMPT)
    assert "boot runs" in device.console()
    assert "main runs" not in device.console()
    device.send(b"import machine; machine.reset()\r")
    device.wait_for("main runs")


def test_an_exception_in_boot_leaves_the_board_at_the_repl(make_device: MakeDevice) -> None:
    device = make_device({"boot.py": "def f():\n    1 / 0\nf()\n", "main.py": "print('main runs')"})
    device.run_until(PROMPT)
    traceback = (
        '  File "boot.py", line 3, in <module>\n  File "boot.py", line 2, in f\nZeroDivisionError: divide by zero\n'
    )
    assert "Traceback (most recent call last):\n" + traceback in device.console()
    assert "main runs" not in device.console()


def test_an_exception_in_main_ends_at_the_repl(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "import nothing_like_this"})
    device.run_until(PROMPT)
    assert "ImportError: no module named 'nothing_like_this'" in device.console()


def test_a_syntax_error_is_shown_with_its_place(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "x = 1\ny = = 2\n"})
    device.run_until(PROMPT)
    assert 'File "main.py", line 2\nSyntaxError' in device.console()


def test_sys_exit_in_main_is_a_soft_reset(make_device: MakeDevice) -> None:
    device = make_device(
        {
            "boot.py": "import os\ntry:\n    os.mkdir('once')\n    first = True\nexcept OSError:\n    first = False",
            "main.py": "import sys\nif first:\n    sys.exit()\nprint('second')",
        }
    )
    device.run_until("second")
    assert device.boots == 2


def test_execfile_runs_a_script_as_main(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "execfile('app.py', {'__name__': '__main__'})", "app.py": "print(__name__)\n1/0"})
    device.run_until(PROMPT)
    assert "__main__" in device.console()
    assert 'File "main.py", line 1, in <module>\n  File "app.py", line 2, in <module>\n' in device.console()


@pytest.mark.parametrize(
    ("board", "code", "cause"),
    [
        (PICO, "machine.reset()", 3),
        (PICO, "machine.deepsleep(50)", 3),
        (PICO, "machine.WDT(timeout=100)\nwhile True: pass", 3),
        (PICO, "machine.soft_reset()", 1),
        (ESP32, "machine.reset()", 2),
        (ESP32, "machine.deepsleep(50)", 4),
        (ESP32, "machine.WDT(timeout=100)\nwhile True: pass", 3),
        (ESP32, "machine.soft_reset()", 5),
    ],
)
def test_reset_causes_are_those_of_the_port(make_device: MakeDevice, board: str, code: str, cause: int) -> None:
    device = make_device({"main.py": ONCE + "".join(f"    {line}\n" for line in code.splitlines())}, board=board)
    device.power_on()
    assert device.wait_for(r"cause (\d)")[1] == "1"
    assert device.wait_for(r"cause (\d)", 5)[1] == str(cause)
    assert device.boots == 2
    device.power_cycle()
    assert device.wait_for(r"cause (\d)")[1] == "1"


@pytest.mark.parametrize(
    ("board", "known"),
    [
        (PICO, ["PWRON_RESET", "WDT_RESET"]),
        (ESP32, ["DEEPSLEEP_RESET", "HARD_RESET", "PWRON_RESET", "SOFT_RESET", "WDT_RESET"]),
    ],
)
def test_constants_of_reset_causes_are_those_of_the_port(make_device: MakeDevice, board: str, known: list[str]) -> None:
    device = make_device({}, board=board)
    device.power_on()
    code = "import machine; print(sorted(name for name in dir(machine) if name.endswith('_RESET')))"
    assert device.exec(code) == f"{known}\n"


def test_a_soft_reset_keeps_the_hardware_cause_of_an_rp2040(make_device: MakeDevice) -> None:
    device = make_device({})
    device.run_until(PROMPT)
    device.send(b"import machine; machine.reset()\r")
    device.wait_for("MicroPython(.|\n)*>>> ")
    device.soft_reset()
    assert device.exec("import machine; print(machine.reset_cause())") == "3\n"


def test_deep_sleep_without_an_end_lasts_until_the_power_is_switched(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "import machine\nprint('sleepy')\nmachine.deepsleep()"}, board=ESP32)
    device.run_until("sleepy")
    time.sleep(0.2)
    assert device.power is Power.ASLEEP
    assert device.boots == 1
    device.power_cycle()
    device.wait_for("sleepy")


def test_a_power_cut_is_not_a_reset(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "open('f', 'w').close()"})
    device.cut_power_at(1)
    device.power_on()
    assert device.wait_off() is Power.CUT
    assert device.boots == 1
    with pytest.raises(HeirloomError, match="did not say"):
        device.wait_for("anything", 0.1)
    device.power_on()
    assert device.exec("import machine; print(machine.reset_cause())") == "1\n"


def test_a_corrupted_file_system_on_an_esp32_waits_for_repair(make_device: MakeDevice) -> None:
    device = make_device(board=ESP32)
    device.write_filesystem(b"\x00" * device.board.flash.filesystem_size)
    device.power_on()
    device.wait_for("filesystem appears to be corrupted")


def test_a_corrupted_file_system_on_an_rp2040_is_formatted_silently(make_device: MakeDevice) -> None:
    device = make_device()
    device.write_filesystem(b"\x00" * device.board.flash.filesystem_size)
    device.run_until(PROMPT)
    assert device.exec("import os; print(os.listdir())") == "[]\n"


def test_what_the_device_raises_comes_back_as_an_error(make_device: MakeDevice) -> None:
    device = make_device({})
    device.power_on()
    with pytest.raises(DeviceError, match="ValueError: nope") as caught:
        device.exec("raise ValueError('nope')")
    assert 'File "<stdin>", line 1, in <module>' in caught.value.traceback
    assert device.exec("print('goes on')") == "goes on\n"


def test_a_silent_device_is_a_timeout_that_shows_its_last_words(make_device: MakeDevice) -> None:
    device = make_device(SCRIPTS)
    device.power_on()
    with pytest.raises(DeviceTimeout, match="did not say 'never'") as caught:
        device.wait_for("never", 0.3)
    assert "main runs" in caught.value.advice


def test_a_long_console_drops_its_beginning_but_no_follower_misses_a_line(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "for i in range(1500):\n    print(i, 'x' * 1000)\nprint('end')"})
    device.power_on()
    position, lines = 0, ""
    while "end\n" not in lines:
        more, position = device.console_since(position)
        lines += more
    assert [int(line.split()[0]) for line in lines.splitlines()[:1500]] == list(range(1500))
    assert len(device.console()) <= 1 << 20
    assert device.wait_for("end")


def test_booting_to_the_repl_takes_under_150_ms(make_device: MakeDevice) -> None:
    device = make_device({})
    device.run_until(PROMPT)  # the first boot of a process also starts the zygote
    times = []
    for _ in range(5):
        device.power_off()
        start = time.monotonic()
        device.run_until(PROMPT)
        times.append(time.monotonic() - start)
    assert min(times) < 0.15
