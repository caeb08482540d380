"""The emulated boards behind the protocol: real firmware starts, power cuts are exact, and the network is a cage.

One short case for each emulator; the stories are in tests/lifecycle (`make emulated`).
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from heirloom.boards.images import lfs
from heirloom.cli.errors import RigTrouble
from heirloom.hil.drivers import Driver, Resource, open_driver, unavailable_reason

WHOLE, TORN = b"new " * 300, b"old " * 300

# What a program on the board can try: joins the network, then asks for each place.
TRY = """
import network, socket, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect({ssid!r})
for _ in range(200):
    if wlan.isconnected(): break
    time.sleep_ms(100)
def get(host, port):
    s = socket.socket()
    s.settimeout(3)
    try:
        s.connect((host, port))
        s.send(b"hello")
        return s.recv(9).decode()
    except OSError:
        return None
    finally:
        s.close()
def ask(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    try:
        s.sendto(b"hello", (host, port))
        return s.recvfrom(9)[0].decode()
    except OSError:
        return None
    finally:
        s.close()
print([get(*place) for place in {tcp!r}], [ask(*place) for place in {udp!r}])
"""


def emulated(driver: str, board: str, folder: Path) -> Driver:
    resource = Resource(f"{driver}-{board}", driver, board)
    if reason := unavailable_reason(resource):
        pytest.skip(reason)
    return open_driver(resource, folder)


@pytest.fixture
def door() -> Iterator[tuple[int, int, int]]:
    """Three servers of this machine: the one that the board may reach, another one, and one for datagrams."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))

    def answer(server: socket.socket) -> None:
        while True:
            try:
                with server.accept()[0] as connection:
                    connection.settimeout(60)
                    connection.recv(9)
                    connection.sendall(b"answer")
            except OSError:
                return

    def echo() -> None:
        while True:
            try:
                data, sender = datagrams.recvfrom(99)
                datagrams.sendto(data, sender)
            except OSError:
                return

    for target, arguments in ((answer, (servers[0],)), (answer, (servers[1],)), (echo, ())):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    yield servers[0].getsockname()[1], servers[1].getsockname()[1], datagrams.getsockname()[1]
    for one in (*servers, datagrams):
        one.close()


def is_a_cage(driver: Driver, door: tuple[int, int, int], gateways: list[str]) -> None:
    """Only the one port answers, by its one address."""
    allowed, other, datagrams = door
    url = driver.connect(allowed)
    host = url.removeprefix("http://").partition(":")[0]
    gateways = [host, *gateways]
    tcp = [(host, allowed), (host, allowed), *((one, other) for one in gateways), ("127.0.0.1", other), ("1.1.1.1", 80)]
    udp = [*((one, datagrams) for one in gateways), *((one, 53) for one in gateways), ("1.1.1.1", 53)]
    driver.power_on()
    driver.wait_for(">>> ", 30)
    assert driver.network is not None
    said = driver.exec(TRY.format(ssid=driver.network.ssid, tcp=tcp, udp=udp), 120)
    expected = ["answer", "answer", *[None] * (len(tcp) - 2)], [None] * len(udp)
    assert said.strip() == f"{expected[0]} {expected[1]}"


@pytest.mark.slow
@pytest.mark.emulated
@pytest.mark.timeout(1800)
def test_the_network_of_an_emulated_pico_w_is_a_cage(tmp_path: Path, door: tuple[int, int, int]) -> None:
    with emulated("rp2040", "RPI_PICO_W", tmp_path / "device") as driver:
        is_a_cage(driver, door, [])


@pytest.mark.slow
@pytest.mark.emulated
@pytest.mark.timeout(1800)
def test_the_network_of_an_emulated_esp32_is_a_cage(tmp_path: Path, door: tuple[int, int, int]) -> None:
    with emulated("esp32", "ESP32_GENERIC", tmp_path / "device") as driver:
        is_a_cage(driver, door, ["10.0.2.2", "10.0.2.3"])


REPLACE = f"with open('/f.new', 'w') as f: f.write({WHOLE.decode()!r})\nimport os\nos.rename('/f.new', '/f')\n"


@pytest.mark.slow
@pytest.mark.emulated
@pytest.mark.timeout(1800)
def test_power_fails_exactly_at_each_flash_command_of_a_real_pico(tmp_path: Path) -> None:
    """A file replaced by rename is the old one or the new one, wherever the power fails, also half-way in a page."""
    with emulated("rp2040", "RPI_PICO_W", tmp_path / "device") as driver:
        layout = driver.board.flash
        before = lfs.build(layout, {"/f": TORN, "/main.py": REPLACE.encode()})
        driver.write_filesystem(before)
        driver.power_on()
        driver.wait_for(">>> ", 30)
        driver.power_off()
        operations = driver.flash_operations
        assert lfs.read(layout, driver.filesystem_image())["/f"] == WHOLE
        assert operations > 4
        seen = []
        for operation in range(1, operations + 1):
            driver.write_filesystem(before)
            driver.cut_power_at(operation, "torn")
            driver.power_on()
            driver.wait_off(30)
            seen.append(lfs.read(layout, driver.filesystem_image())["/f"])
        assert set(seen) <= {TORN, WHOLE}
        assert seen == sorted(seen, key=lambda content: content == WHOLE), "first the old one, then the new one"
        assert seen[0] == TORN


@pytest.mark.timeout(300)
def test_a_real_esp32_c3_starts_behind_its_real_bootloader(tmp_path: Path) -> None:
    with emulated("esp32", "ESP32_GENERIC_C3", tmp_path / "device") as driver:
        driver.write_filesystem(lfs.build(driver.board.flash, {"/main.py": b"print('it', 'runs')\n"}))
        driver.power_on()
        driver.wait_for("it runs", 30)
        code = "from esp32 import Partition\nprint(Partition(Partition.RUNNING).info()[4])"
        assert driver.exec(code).strip() == "ota_0"
        driver.exec("with open('/kept', 'w') as f: f.write('whole')")
        driver.cut_power()
        assert not driver.is_on
        assert lfs.read(driver.board.flash, driver.filesystem_image())["/kept"] == b"whole"


@pytest.mark.timeout(300)
def test_an_emulator_that_dies_is_trouble_of_the_rig(tmp_path: Path) -> None:
    with emulated("esp32", "ESP32_GENERIC_C3", tmp_path / "device") as driver:
        flash = tmp_path / "device" / "flash.bin"
        flash.write_bytes(b"")  # QEMU refuses a flash of no size
        driver.power_on()
        with pytest.raises(RigTrouble, match="the emulator ended by itself"):
            driver.wait_for("never", 30)
