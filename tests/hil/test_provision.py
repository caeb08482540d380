"""A provisioned image: what lies in it, and that a board boots from it into the client."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom import boards
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError
from heirloom.hil.provision import Identity, Network, build_filesystem, client_files
from heirloom.hil.sim import SimDevice

MakeDevice = Callable[..., SimDevice]

ROOT = b'{"signed":{},"signatures":[]}'
URLS = ["http://updates.example/", "http://mirror.example/"]


def image(board: str, identity: Identity, **more: object) -> bytes:
    return build_filesystem(
        boards.load(board), "weather", ROOT, URLS, "stable", identity, networks=[Network("heirloom-sim", "x")], **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("board", ["SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"])
def test_a_board_reads_what_was_provisioned_and_boots_into_the_client(make_device: MakeDevice, board: str) -> None:
    device = make_device(board=board)
    identity = Identity.new(device.id)
    device.write_filesystem(image(board, identity, timing={"check_after_s": 1}))
    device.power_on(hold_repl=True)
    read = (
        "import json\nprint(json.dumps([json.load(open('/heirloom/' + n)) for n in ('device.json', 'network.json')]))"
    )
    said, network = json.loads(device.exec(read))
    assert said == {
        "product": "weather",
        "board": board,
        "id": device.id,
        "secret": identity.secret,
        "urls": URLS,
        "channel": "stable",
        "timing": {"check_after_s": 1},
    }
    assert network == {"networks": [{"ssid": "heirloom-sim", "password": "x"}]}
    for name in ("root", "provisioned"):
        assert device.exec(f"print(open('/heirloom/trust/{name}.json').read())") == ROOT.decode() + "\n"
    assert device.exec("import os; print('boot.py' in os.listdir('/'), 'data' in os.listdir('/'))") == "True True\n"
    device.power_cycle()
    device.wait_for("heirloom: ")


def test_every_module_of_the_client_loads_where_it_was_put(make_device: MakeDevice) -> None:
    device = make_device()
    device.write_filesystem(image(device.board.name, Identity.new(device.id)))
    names = sorted(path for path in client_files(device.board) if path.startswith("/lib/heirloom/device/"))
    assert len(names) > 10
    for path in names:
        module = path.removeprefix("/lib/").removesuffix(".mpy").replace("/", ".")
        device.power_cycle(hold_repl=True)
        device.exec(f"import sys\nsys.path[:] = ['.frozen', '/lib']\nimport {module}")


def test_the_client_is_compiled_for_the_board_except_what_every_firmware_must_read() -> None:
    files = client_files(boards.load("RPI_PICO_W"))
    assert {"/boot.py", "/main.py", "/lib/heirloom_boot.py"} <= files.keys()
    for path, data in files.items():
        assert path.endswith(".mpy") == path.startswith("/lib/heirloom/device/"), path
        if path.endswith(".mpy"):
            assert data[:2] == b"M\x06", path


def test_a_compiled_client_is_kept(tmp_path: Path) -> None:
    board = boards.load("ESP32_GENERIC_C3")  # no other test compiles for it in this process
    first = client_files(board, tmp_path)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) > 10
    assert client_files(board, tmp_path) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept


def test_identities_are_never_the_same_and_do_not_show_their_secret() -> None:
    first, second = Identity.new("aa"), Identity.new("aa")
    assert first.secret != second.secret
    assert len(bytes.fromhex(first.secret)) == 32
    assert first.secret not in repr(first)


def test_an_unknown_time_is_refused() -> None:
    with pytest.raises(HeirloomError, match="'chek_after_s' is unknown"):
        image("SIM_RPI_PICO_W", Identity.new("aa"), timing={"chek_after_s": 1})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(HeirloomError, match="do not fit into 868352 of the file system"):
        lfs.build(boards.load("SIM_RPI_PICO_W").flash, {"/big": bytes(900_000)})
