"""`machine` and `time` of a simulated board: strict where the client depends on them."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.hil.sim import DeviceError, SimDevice
from heirloom.hil.sim.page import Exit, ReplMode, Word
from heirloom.hil.sim.scripts import TARGET

MakeDevice = Callable[..., SimDevice]

PICO, ESP32 = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"


def test_host_and_board_agree_on_the_words_of_the_control_page() -> None:
    """The board's modules cannot import page.py, so they repeat the numbers that they use."""
    known = {
        **{w.name: w for w in Word},
        **{f"EXIT_{e.name}": e for e in Exit},
        **{f"MODE_{m.name}": m for m in ReplMode},
    }
    found = 0
    for path in TARGET.glob("*.py"):
        for line in path.read_text().splitlines():
            name, equals, value = line.partition(" = const(")
            if equals and name.removeprefix("_") in known:
                assert int(value.rstrip(")")) == known[name.removeprefix("_")], f"{path.name}: {line}"
                found += 1
    assert found > 20


@pytest.mark.parametrize(("timeout", "message"), [(8389, "too large"), (0, "WDT timeout")])
def test_the_watchdog_of_an_rp2040_refuses_long_times(make_device: MakeDevice, timeout: int, message: str) -> None:
    device = make_device({})
    device.power_on()
    with pytest.raises(DeviceError, match=message):
        device.exec(f"import machine; machine.WDT(timeout={timeout})")
    device.exec("machine.WDT(timeout=8388)")


def test_an_esp32_takes_a_long_watchdog(make_device: MakeDevice) -> None:
    device = make_device({}, board=ESP32)
    device.power_on()
    device.exec("import machine; machine.WDT(timeout=60000)")


def test_the_watchdog_spares_who_feeds_it_and_cannot_be_stopped(make_device: MakeDevice) -> None:
    feeding = """
import machine, time
print('up')
w = machine.WDT(timeout=200)
for i in range(10):
    time.sleep_ms(50)
    w.feed()
print('fed')
w = None
"""
    device = make_device({"main.py": feeding})
    device.run_until("fed")
    assert device.boots == 1
    device.wait_for("up")
    assert device.boots == 2


def test_the_watchdog_survives_a_soft_reset(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "print('main')"})
    device.run_until("main(.|\n)*>>> ")
    device.exec("import machine; machine.WDT(timeout=400)")
    device.soft_reset()
    assert device.boots == 2
    device.wait_for("main", 3)
    assert device.boots == 3


TIMER = """
import machine, time, asyncio
ticks = 0
def tick(t):
    global ticks
    ticks += 1
def count(what, run):
    global ticks
    ticks = 0
    run()
    print(what, 'ok' if 5 <= ticks <= 11 else ticks)
def busy():
    end = time.ticks_add(time.ticks_ms(), 220)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        pass
async def idle():
    await asyncio.sleep_ms(220)
t = machine.Timer({id}, mode=machine.Timer.PERIODIC, period=20, callback=tick)
count('busy', busy)
count('sleep', lambda: time.sleep(0.22))
count('sleep_ms', lambda: time.sleep_ms(220))
count('asyncio', lambda: asyncio.run(idle()))
t.deinit()
ticks = 0
time.sleep_ms(60)
print('deinit', ticks)
t.init(mode=machine.Timer.ONE_SHOT, period=20, callback=tick)
time.sleep_ms(100)
print('one shot', ticks)
"""


@pytest.mark.parametrize(("board", "id"), [(PICO, "-1"), (ESP32, "0")])
def test_timers_fire_while_the_program_computes_sleeps_and_idles(make_device: MakeDevice, board: str, id: str) -> None:
    device = make_device({}, board=board)
    device.power_on()
    said = device.exec(TIMER.replace("{id}", id))
    assert said.splitlines() == ["busy ok", "sleep ok", "sleep_ms ok", "asyncio ok", "deinit 0", "one shot 1"]


def test_an_exception_in_a_timer_is_printed_and_the_timer_goes_on(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "import machine\nmachine.Timer(-1, period=30, callback=lambda t: 1 / 0)"})
    device.power_on()
    for _ in range(3):
        device.wait_for("ZeroDivisionError: divide by zero")


def test_a_timer_feeds_the_watchdog_while_the_program_is_busy(make_device: MakeDevice) -> None:
    main = """
import machine
w = machine.WDT(timeout=150)
machine.Timer(-1, period=50, callback=lambda t: w.feed())
x = 0
while True:
    x += 1
"""
    device = make_device({"main.py": main})
    device.power_on()
    time.sleep(0.8)
    assert device.boots == 1


@pytest.mark.parametrize(
    ("board", "code"),
    [(PICO, "Timer(0)"), (PICO, "WDT(1)"), (ESP32, "Timer(-1)"), (ESP32, "Timer(4)"), (ESP32, "Timer()")],
)
def test_what_the_chip_lacks_is_refused(make_device: MakeDevice, board: str, code: str) -> None:
    device = make_device({}, board=board)
    device.power_on()
    with pytest.raises(DeviceError, match="ValueError"):
        device.exec(f"import machine; machine.{code}")


def test_unknown_names_of_machine_raise(make_device: MakeDevice) -> None:
    device = make_device({})
    device.power_on()
    for name in ("mem32", "HARD_RESET", "SPI", "bootloader"):
        with pytest.raises(DeviceError, match="AttributeError"):
            device.exec(f"import machine; machine.{name}")


@pytest.mark.parametrize(("board", "year"), [(PICO, 2021), (ESP32, 2000)])
def test_the_clock_starts_where_the_chip_starts_it(make_device: MakeDevice, board: str, year: int) -> None:
    device = make_device({}, board=board)
    device.power_on()
    code = """
import time
print(time.gmtime()[:3], len(time.localtime()), time.mktime(time.gmtime(1234567)), time.gmtime(0)[0])
"""
    assert device.exec(code) == f"({year}, 1, 1) 8 1234567 {1970 if board == PICO else 2000}\n"


def test_a_clock_that_was_set_survives_a_soft_reset_only(make_device: MakeDevice) -> None:
    device = make_device({})
    device.power_on()
    device.exec("import machine; machine.RTC().datetime((2031, 5, 6, 1, 7, 8, 9, 0))")
    device.soft_reset()
    assert device.exec("import time; print(time.gmtime()[:5])") == "(2031, 5, 6, 7, 8)\n"
    device.power_cycle(hold_repl=True)
    assert device.exec("import time; print(time.gmtime()[0])") == "2021\n"


def test_a_device_with_the_clock_of_the_host_knows_the_time(make_device: MakeDevice) -> None:
    device = make_device({}, clock="host")
    device.power_on()
    assert abs(int(device.exec("import time; print(time.time())")) - time.time()) < 3
    assert abs(int(device.exec("print(time.time_ns())")) - time.time_ns()) < 3e9


def test_the_identity_is_that_of_the_device(make_device: MakeDevice) -> None:
    first, second = make_device({}), make_device({}, board=ESP32)
    for device, length in ((first, 8), (second, 6)):
        device.power_on()
        assert device.exec("import machine; print(machine.unique_id().hex())") == f"{device.id}\n"
        assert len(bytes.fromhex(device.id)) == length
    assert first.id != second.id


def test_the_flash_of_the_board_allocates_nothing(make_device: MakeDevice) -> None:
    device = make_device({"data": "x" * 9000})
    device.power_on()
    code = """
import micropython
buffer = bytearray(1024)
def copy(source, target):
    target.write(buffer)
    micropython.heap_lock()
    try:
        read = source.readinto(buffer)
        written = target.write(buffer)
    finally:
        micropython.heap_unlock()
    return read, written
print(*copy(open("data", "rb"), open("copy", "wb")))
"""
    assert device.exec(code) == "1024 1024\n"


def test_the_board_has_as_much_heap_as_a_bare_interpreter_with_160k(make_device: MakeDevice, micropython: Path) -> None:
    measure = "import gc\ngc.collect()\nprint('free', gc.mem_free())"
    command = [str(micropython), "-X", "heapsize=160k", "-c", measure]
    bare = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1])
    device = make_device({"main.py": measure})
    device.power_on()
    free = int(device.wait_for(r"free (\d+)")[1])
    assert bare - 6 * 1024 < free <= bare  # a mounted littlefs takes some, as on a board
