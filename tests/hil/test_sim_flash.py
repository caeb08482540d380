"""The flash of a simulated device is as strict as NOR flash is, and loses power where it is told to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.hil.sim import Power, SimDevice

MakeDevice = Callable[..., SimDevice]

RENAME = """
with open("new", "w") as file:
    file.write("new" * 900)
import os
os.rename("new", "old")
print("renamed")
"""
OLD, NEW = "old" * 900, "new" * 900


def operations_of(device: SimDevice, pattern: str = "renamed") -> int:
    """Flash operations from power-on until the console says `pattern`."""
    before = device.flash.operations
    device.power_on()
    device.wait_for(pattern)
    count = device.flash.operations - before
    device.power_off()
    return count


def content(device: SimDevice) -> str:
    """What is in the file `old`, read by a fresh process."""
    device.power_on(hold_repl=True)
    text = device.exec("print(open('old').read(), end='')")
    device.power_off()
    return text


@pytest.fixture
def renaming(make_device: MakeDevice) -> SimDevice:
    return make_device({"main.py": RENAME, "old": OLD})


def test_a_blank_device_makes_its_file_system_and_keeps_files(make_device: MakeDevice) -> None:
    device = make_device()
    device.power_on()
    device.exec("with open('kept', 'w') as file:\n    file.write('x' * 5000)")
    device.power_cycle()
    assert device.exec("import os; print(os.stat('kept')[6])") == "5000\n"
    assert device.flash.erases > 0
    assert device.flash.programs > 5000 // 256
    assert device.flash.operations == device.flash.erases + device.flash.programs
    assert sum(device.block_erases()) == device.flash.erases


def test_an_image_made_on_the_host_is_what_the_board_reads_and_back(renaming: SimDevice) -> None:
    from littlefs import LittleFS

    assert content(renaming) == OLD
    renaming.run_until("renamed")
    renaming.power_off()
    host = LittleFS(block_size=4096, block_count=212, mount=False)
    host.context.buffer[:] = renaming.filesystem_image()
    host.mount()
    with host.open("/old", "r") as file:
        assert file.read() == NEW


def test_everything_outside_the_file_system_stays_erased(renaming: SimDevice) -> None:
    renaming.run_until("renamed")
    renaming.power_off()
    layout = renaming.board.flash
    flash = (renaming.directory / "flash.bin").read_bytes()
    rest = flash[: layout.offset] + flash[layout.offset + layout.filesystem_size :]
    assert rest == b"\xff" * len(rest)


@pytest.mark.parametrize("kind", ["before", "after", "torn"])
def test_a_power_cut_at_each_operation_of_a_rename_leaves_old_or_new(make_device: MakeDevice, kind: str) -> None:
    device = make_device({"main.py": RENAME, "old": OLD})
    start = device.filesystem_image()
    total = operations_of(device)
    assert total > 10
    seen = []
    for operation in range(1, total + 1):
        device.write_filesystem(start)
        device.cut_power_at(operation, kind)  # type: ignore[arg-type]
        device.power_on()
        assert device.wait_off() is Power.CUT
        device.power_off()
        found = content(device)
        assert found in (OLD, NEW), f"cut {kind} operation {operation}"
        seen.append(found == NEW)
    assert seen == sorted(seen), "once new, always new"
    assert not seen[0]
    if kind != "torn":  # half of the last page may already be a whole commit
        assert seen[-1] == (kind == "after")


@pytest.mark.parametrize(("fraction", "written"), [(0.0, 0), (0.25, 64), (0.75, 192), (1.0, 256)])
def test_a_torn_program_writes_a_prefix(make_device: MakeDevice, fraction: float, written: int) -> None:
    script = "import rp2\nrp2.Flash().ioctl(6, 100)\nrp2.Flash().writeblocks(100, bytes(256), 0)\n"
    block = block_after_cut(make_device({"main.py": script}), 2, fraction)
    assert block == bytes(written) + b"\xff" * (4096 - written)


def test_a_torn_erase_reaches_half_of_the_block(make_device: MakeDevice) -> None:
    script = "import rp2\nrp2.Flash().writeblocks(100, bytes(4096), 0)\nrp2.Flash().ioctl(6, 100)\n"
    block = block_after_cut(make_device({"main.py": script}), 17, 0.5)
    assert block == b"\xff" * 2048 + bytes(2048)


def block_after_cut(device: SimDevice, operation: int, fraction: float) -> bytes:
    device.cut_power_at(operation, "torn", fraction=fraction)
    device.power_on()
    assert device.wait_off() is Power.CUT
    device.power_off()
    return device.filesystem_image()[100 * 4096 : 101 * 4096]


def test_a_cut_strikes_once_and_can_be_taken_back(renaming: SimDevice) -> None:
    renaming.cut_power_at(2)
    renaming.disarm()
    renaming.run_until("renamed")
    renaming.power_off()
    renaming.cut_power_at(2)
    renaming.power_on()
    assert renaming.wait_off() is Power.CUT
    assert "renamed" not in renaming.console().split("renamed", 1)[1]
    renaming.run_until("renamed")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("bits set without an erase", "flash.writeblocks(9, bytes(256), 0)\nflash.writeblocks(9, b'\\1' * 256, 0)"),
        ("the last bit of it", "flash.writeblocks(9, bytes(256), 0)\nflash.writeblocks(9, bytes(255) + b'\\x80', 0)"),
        ("half a program unit", "flash.writeblocks(9, bytes(128), 0)"),
        ("a program off its unit", "flash.writeblocks(9, bytes(256), 128)"),
        ("a program beyond the end", "flash.writeblocks(212, bytes(256), 0)"),
        ("an erase beyond the end", "flash.ioctl(6, 212)"),
    ],
)
def test_a_wrong_operation_is_refused_and_reported(make_device: MakeDevice, what: str, code: str) -> None:
    device = make_device({})
    before = device.filesystem_image()
    device.power_on()
    with pytest.raises(RigTrouble, match="against its rules"):
        device.exec(f"import rp2\nflash = rp2.Flash()\n{code}\nimport time\ntime.sleep(1)")
    assert device.power is Power.TROUBLE
    assert device.flash.operations == (1 if "bit" in what else 0)
    device.power_off()
    if "bit" not in what:
        assert device.filesystem_image() == before


def test_clearing_more_bits_of_a_programmed_page_is_allowed(make_device: MakeDevice) -> None:
    device = make_device({})
    device.power_on()
    code = """
import rp2
flash = rp2.Flash()
flash.ioctl(6, 9)
print(flash.writeblocks(9, b"\\x0f" * 512, 256), flash.writeblocks(9, b"\\x03" * 256, 256))
page = bytearray(768)
print(flash.readblocks(9, page, 0), page[0], page[256], page[512])
"""
    assert device.exec(code) == "0 0\n0 255 3 15\n"


def test_the_erases_of_a_large_file_system_are_counted_to_its_last_block(make_device: MakeDevice) -> None:
    device = make_device(board="SIM_ESP32_GENERIC_S3")
    device.power_on(hold_repl=True)
    device.exec("with open('big', 'wb') as file:\n    for i in range(985):\n        file.write(bytes(4096))", 60)
    erases = device.block_erases()
    assert len(erases) == 1008
    assert erases[-8:] == [1] * 8
    assert sum(erases) == device.flash.erases


def test_a_file_system_with_too_many_blocks_is_not_simulated(tmp_path: Path) -> None:
    text = """extends = "SIM_ESP32_GENERIC_S3"
[flash]
size = 0x2000000
[filesystem]
block_count = 7152
[partitions]
vfs = { type = "data", subtype = "fat", offset = 0x410000, size = 0x1BF0000 }
"""
    (tmp_path / "BIG.toml").write_text(text)
    with pytest.raises(HeirloomError, match="too many to simulate"):
        SimDevice.create(tmp_path / "device", "BIG", definition=tmp_path / "BIG.toml")
