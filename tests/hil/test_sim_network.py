"""The network of a simulated board ends at 127.0.0.1, and nothing works before the right Wi-Fi is joined."""

import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from heirloom.hil.sim import DeviceError, SimDevice

MakeDevice = Callable[..., SimDevice]

JOIN = """
import network, time, socket
w = network.WLAN(network.STA_IF)
w.active(True)
w.connect('heirloom-sim', 'any')
while not w.isconnected():
    time.sleep_ms(5)
"""


class Upper(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"hang\n":
                continue
            self.wfile.write(line.upper())


@pytest.fixture
def upper() -> Iterator[int]:
    """The port of a server that answers lines in capitals, and never answers "hang"."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Upper) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def joined(make_device: MakeDevice) -> SimDevice:
    device = make_device({}, hosts={"maker.example": "127.0.0.1", "maker.example:80": "127.0.0.1:4567"})
    device.power_on()
    device.exec(JOIN)
    return device


def test_a_connection_carries_data_in_every_way(joined: SimDevice, upper: int) -> None:
    code = f"""
s = socket.socket()
s.settimeout(5)
s.connect(socket.getaddrinfo("localhost", {upper})[0][-1])
s.write(b"one\\n"); print(s.readline())
s.send(b"two\\n"); print(s.recv(100))
s.sendall(b"three\\n"); b = bytearray(6); print(s.readinto(b), bytes(b))
s.write(b"four\\n"); print(s.read(5))
s.close()
"""
    assert joined.exec(code) == "b'ONE\\n'\nb'TWO\\n'\n6 b'THREE\\n'\nb'FOUR\\n'\n"


def test_asyncio_streams_work(joined: SimDevice, upper: int) -> None:
    code = f"""
import asyncio
async def main():
    r, w = await asyncio.open_connection("127.0.0.1", {upper})
    w.write(b"hello\\n")
    await w.drain()
    print(await r.readline())
    w.close()
    await w.wait_closed()
asyncio.run(main())
"""
    assert joined.exec(code) == "b'HELLO\\n'\n"


def test_a_timeout_is_etimedout_and_timers_run_meanwhile(joined: SimDevice, upper: int) -> None:
    code = f"""
import machine
ticks = []
t = machine.Timer(-1, period=20, callback=lambda t: ticks.append(1))
s = socket.socket()
s.settimeout(0.3)
s.connect(("127.0.0.1", {upper}))
s.write(b"hang\\n")
try:
    s.recv(1)
except OSError as e:
    print(e.errno, len(ticks) > 5)
t.deinit()
"""
    assert joined.exec(code) == "110 True\n"


def test_a_refused_connection_says_so(joined: SimDevice) -> None:
    with pytest.raises(DeviceError, match="ECONNREFUSED"):
        joined.exec("s = socket.socket(); s.connect(('127.0.0.1', 1))")


@pytest.mark.parametrize("place", ["10.0.0.1", "192.0.2.1", "8.8.8.8", "127.0.0.2"])
def test_no_other_address_is_in_reach(joined: SimDevice, place: str) -> None:
    with pytest.raises(DeviceError, match="EHOSTUNREACH"):
        joined.exec(f"s = socket.socket(); s.connect(('{place}', 80))")
    with pytest.raises(DeviceError, match="EHOSTUNREACH"):
        joined.exec(f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('{place}', 53))")


def test_names_resolve_only_from_the_table_of_the_device(joined: SimDevice) -> None:
    code = "print([socket.getaddrinfo('maker.example', p)[0][-1] for p in (80, 8080)])"
    assert joined.exec(code) == "[('127.0.0.1', 4567), ('127.0.0.1', 8080)]\n"
    with pytest.raises(DeviceError, match="OSError: -2"):
        joined.exec("socket.getaddrinfo('example.org', 80)")


def test_nothing_works_before_wifi_is_joined(make_device: MakeDevice, upper: int) -> None:
    device = make_device({})
    device.power_on()
    with pytest.raises(DeviceError, match="EHOSTUNREACH"):
        device.exec(f"import socket; s = socket.socket(); s.connect(('127.0.0.1', {upper}))")
    with pytest.raises(DeviceError, match="Not Started"):
        device.exec("import network; network.WLAN(network.STA_IF).connect('heirloom-sim')")


@pytest.mark.parametrize("board", ["SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"])
def test_a_wrong_network_never_connects(make_device: MakeDevice, board: str) -> None:
    device = make_device({}, board=board)
    device.power_on()
    code = """
import network, time
w = network.WLAN(network.STA_IF)
w.active(True)
w.connect("neighbour", "secret")
time.sleep_ms(200)
print(w.isconnected(), w.status() == network.STAT_NO_AP_FOUND, [n[0] for n in w.scan()])
w.connect("heirloom-sim")
print(w.status() == network.STAT_CONNECTING)
time.sleep_ms(100)
print(w.isconnected(), w.status() == network.STAT_GOT_IP, w.ifconfig()[0])
w.active(False)
print(w.isconnected())
"""
    assert device.exec(code) == "False True [b'heirloom-sim']\nTrue\nTrue True 127.0.0.1\nFalse\n"


def test_a_wrong_password_never_connects(make_device: MakeDevice) -> None:
    device = make_device({})
    path = device.directory / "device.toml"
    path.write_text(path.read_text().replace('ssid = "heirloom-sim"', 'ssid = "heirloom-sim"\npassword = "right"'))
    device = SimDevice(device.directory)
    with device:
        device.power_on()
        code = """
import network, time
w = network.WLAN()
w.active(True)
for p in ('wrong', 'right'):
    w.connect('heirloom-sim', p)
    time.sleep_ms(80)
    print(w.isconnected(), w.status())
"""
        assert device.exec(code) == "False -3\nTrue 3\n"
