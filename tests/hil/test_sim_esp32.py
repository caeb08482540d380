"""A simulated ESP32 with firmware in its flash: partitions, the switch between slots, and the way back."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.boards.images import app, esp32, lfs, otadata
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.otadata import Entry, State
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import missing
from heirloom.hil.sim import DeviceError, DeviceTimeout, Power, SimDevice

if missing("flash"):
    pytest.skip("the extra `flash` is not installed: pip install 'heirloom-ota[flash]'", allow_module_level=True)

MakeDevice = Callable[..., SimDevice]
C3 = "SIM_ESP32_GENERIC_C3"
OTADATA, SLOTS, SLOT_BYTES = 0xD000, (0x10000, 0x1C0000), 0x1B0000
MAIN = "from esp32 import Partition\nprint('runs', Partition(Partition.RUNNING).info()[4])\n"
# Copies the running image into the other slot, as an update would write it.
COPY = """
from esp32 import Partition
running = Partition(Partition.RUNNING)
other = running.get_next_update()
buffer = bytearray(4096)
running.readblocks(0, buffer)
other.writeblocks(0, buffer)
"""


@pytest.fixture
def device(make_device: MakeDevice) -> SimDevice:
    """Flashed, with a main.py that says which slot runs."""
    made = make_device(board=C3)
    install(made)
    return made


def install(device: SimDevice) -> None:
    board = device.board
    image = app.build(board.chip, b"firmware", version="v1.27.0")
    bootloader = app.build(board.chip, b"bootloader")
    assert board.partitions is not None
    parts = esp32.Parts(board.chip, board.flash.size, bootloader, board.partitions, image, app.read(image))
    filesystem = lfs.build(board.flash, {"/main.py": MAIN.encode()})
    flash_file(device).write_bytes(esp32.whole_flash(board, parts, filesystem=filesystem))


def flash_file(device: SimDevice) -> Path:
    return device.directory / "flash.bin"


def entries(device: SimDevice) -> otadata.Entries:
    return otadata.parse(flash_file(device).read_bytes()[OTADATA:])


def put(device: SimDevice, offset: int, data: bytes) -> None:
    with flash_file(device).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def runs(device: SimDevice) -> str:
    """Off and on: which slot says that it runs."""
    device.power_cycle()
    return device.wait_for(r"runs (\w+)")[1]


def test_partitions_are_those_of_the_board(device: SimDevice) -> None:
    device.power_on(hold_repl=True)
    said = device.exec(
        "from esp32 import Partition\n"
        "for kind in (Partition.TYPE_APP, Partition.TYPE_DATA):\n"
        "    for part in Partition.find(kind): print(part.info(), part.ioctl(4, 0), part.ioctl(5, 0))\n"
        "print(Partition('vfs').info() == Partition.find(1, label='vfs')[0].info())\n"
        "print([len(Partition.find(label=name)) for name in ('ota_1', 'none')])\n"
    )
    assert said.splitlines()[:2] == [
        "(0, 16, 65536, 1769472, 'ota_0', False) 432 4096",
        "(0, 17, 1835008, 1769472, 'ota_1', False) 432 4096",
    ]
    assert said.splitlines()[-2:] == ["True", "[1, 0]"]
    for code in ("Partition('none')", "Partition('nvs').readblocks(4, bytearray(1))", "Partition('vfs').set_boot()"):
        with pytest.raises(DeviceError, match="OSError"):
            device.exec(f"from esp32 import Partition\n{code}")


def test_new_firmware_runs_once_and_stays_when_it_is_marked(device: SimDevice) -> None:
    assert runs(device) == "ota_0"
    device.exec(COPY + "other.set_boot()")
    assert entries(device) == (Entry.make(1, State.VALID), Entry.make(2, State.NEW))
    assert runs(device) == "ota_1"
    assert entries(device)[1].state == State.PENDING_VERIFY
    device.exec("Partition.mark_app_valid_cancel_rollback()")
    assert runs(device) == "ota_1"


def test_new_firmware_that_is_not_marked_is_gone_at_the_next_start(device: SimDevice) -> None:
    runs(device)
    device.exec(COPY + "other.set_boot()")
    assert runs(device) == "ota_1"
    assert runs(device) == "ota_0"
    assert entries(device)[1].state == State.ABORTED


def test_a_soft_reset_is_no_start_of_the_bootloader(device: SimDevice) -> None:
    runs(device)
    device.exec(COPY + "other.set_boot()")
    runs(device)
    device.soft_reset()
    assert device.exec("from esp32 import Partition\nprint(Partition(1).info()[4])") == "ota_1\n"
    assert entries(device)[1].state == State.PENDING_VERIFY


def test_after_a_fall_back_running_and_boot_differ_and_marking_marks_the_broken_one(device: SimDevice) -> None:
    """The trap that was seen on the real bootloader."""
    runs(device)
    device.exec(COPY + "other.set_boot()")
    device.power_off()
    put(device, SLOTS[1] + 100, b"\xff" * 8)
    assert runs(device) == "ota_0"
    said = device.exec("print(Partition(Partition.RUNNING).info()[4], Partition(Partition.BOOT).info()[4])")
    assert said == "ota_0 ota_1\n"
    device.exec("Partition.mark_app_valid_cancel_rollback()")
    assert entries(device)[1] == Entry.make(2, State.VALID)


def test_nothing_bootable_is_said_on_the_console(device: SimDevice) -> None:
    put(device, SLOTS[0], bytes(100))
    device.power_on()
    assert device.power is Power.OFF
    with pytest.raises(DeviceTimeout):
        device.wait_for("runs", 0.2)
    assert "ota_0 is not bootable: this is no app image" in (device.directory / "console.log").read_text()
    install(device)
    assert runs(device) == "ota_0"


STATES = """
from esp32 import Partition
place = Partition('otadata')
def put(sector, data):
    place.ioctl(6, sector)
    place.writeblocks(sector, data, 0)
def got():
    found = []
    for sector in range(2):
        data = bytearray(32)
        place.readblocks(sector, data)
        found.append(bytes(data).hex())
    return ' '.join(found)
for first, second in STATES:
    for act in range(3):
        put(0, bytes.fromhex(first))
        put(1, bytes.fromhex(second))
        boot = Partition(Partition.BOOT).info()[4]
        try:
            if act < 2:
                Partition('ota_%d' % act).set_boot()
            else:
                Partition.mark_app_valid_cancel_rollback()
        except OSError as error:
            boot += ' refused'
        print(boot, got(), sep=';')
"""


def test_esp32_and_the_host_agree_on_what_is_written(device: SimDevice) -> None:
    runs(device)
    device.exec(COPY)  # set_boot wants an image in both slots
    kinds = [Entry(), Entry.make(0, State.VALID), Entry(2, State.VALID, 1)]
    kinds += [Entry.make(sequence, state) for sequence in (1, 2, 7) for state in State]
    pairs = random.Random(4).sample([(one, other) for one in kinds for other in kinds], 60)
    states = [(one.to_bytes().hex(), other.to_bytes().hex()) for one, other in pairs]
    lines = iter(device.exec(STATES.replace("STATES", repr(states)), 60).splitlines())
    for pair in pairs:
        active = otadata.active(pair)
        for act in range(3):
            boot = f"ota_{pair[active].slot(2) if active is not None else 0}"
            written = otadata.next_entry(pair, act, 2) if act < 2 else otadata.mark_valid(pair)
            after = list(pair)
            if written:
                after[written[0]] = written[1]
            refused = " refused" if act == 2 and active is None else ""
            assert next(lines) == f"{boot}{refused};{' '.join(entry.to_bytes().hex() for entry in after)}", pair


def test_a_damaged_image_is_never_made_the_next(device: SimDevice) -> None:
    """set_boot decides as the host's reader of images does."""
    runs(device)
    device.exec(COPY)
    good = flash_file(device).read_bytes()[SLOTS[1] : SLOTS[1] + SLOT_BYTES]
    length = app.read_slot(good, "esp32c3").length
    numbers = random.Random(5)
    for _ in range(40):
        damaged = bytearray(good[:4096])
        damaged[numbers.randrange(length)] ^= 1 << numbers.randrange(8)
        with pytest.raises(ImageError):
            app.read_slot(bytes(damaged), "esp32c3")
        code = f"other.writeblocks(0, bytes.fromhex('{damaged.hex()}'))\nother.set_boot()"
        with pytest.raises(DeviceError, match="OSError: -5379"):
            device.exec(code)
    assert entries(device) == (Entry.make(1, State.VALID), Entry())
    without_hash = bytearray(good[:length])
    without_hash[23] = 0
    device.exec(
        f"other.writeblocks(0, bytes.fromhex('{without_hash.ljust(4096, bytes([255])).hex()}'))\nother.set_boot()"
    )
    assert entries(device)[1].state == State.NEW


@pytest.mark.parametrize("kind", ["before", "torn", "after"])
@pytest.mark.parametrize("operation", [1, 2])
def test_power_may_fail_while_the_bootloader_writes(device: SimDevice, operation: int, kind: str) -> None:
    runs(device)
    device.exec(COPY + "other.set_boot()")
    device.power_off()
    device.cut_power_at(operation, kind)  # type: ignore[arg-type]
    device.power_on()
    assert device.power is Power.CUT
    assert runs(device) in ("ota_0", "ota_1")
    assert runs(device) == "ota_0", "it was never marked"


def test_power_may_fail_while_a_slot_is_written(device: SimDevice) -> None:
    runs(device)
    device.cut_power_at(1 + 4, "torn")  # one erase, then pages
    with pytest.raises(HeirloomError, match="the code did not end"):
        device.exec(COPY)
    assert device.power is Power.CUT
    flash = flash_file(device).read_bytes()
    image, written = flash[SLOTS[0] : SLOTS[0] + 4096], flash[SLOTS[1] : SLOTS[1] + 4096]
    assert written[: 3 * 256 + 128] == image[: 3 * 256 + 128]
    assert set(written[3 * 256 + 128 :]) == {0xFF}
    assert runs(device) == "ota_0"


def test_operations_before_the_file_system_are_recorded_with_negative_addresses(device: SimDevice) -> None:
    device.record_flash()
    runs(device)
    device.exec(COPY)
    operations = [operation for operation in device.recorded_flash() if operation.address < 0]
    start = device.board.flash.offset
    assert [operation.address + start for operation in operations[:3]] == [OTADATA, OTADATA, SLOTS[1]]
    assert [len(operation.data) for operation in operations[:3]] == [0, 32, 0]
    written = b"".join(operation.data for operation in operations[3:])
    assert written == flash_file(device).read_bytes()[SLOTS[1] : SLOTS[1] + 4096]
    counted = device.flash
    assert counted.erases - sum(device.block_erases()) == 2, "one in the slot, one in otadata, none in the file system"
    assert counted.operations == counted.erases + counted.programs


def test_a_unit_without_firmware_in_flash_has_no_partitions(make_device: MakeDevice) -> None:
    device = make_device({"main.py": "print('still starts')"}, board=C3)
    device.run_until("still starts")
    with pytest.raises(DeviceError, match="ImportError"):
        device.exec("import esp32")


def test_the_board_has_as_much_heap_as_without_partitions(device: SimDevice, make_device: MakeDevice) -> None:
    free = []
    for one in (device, make_device(board=C3)):
        one.power_on(hold_repl=True)
        free.append(int(one.exec("import gc\ngc.collect()\nprint(gc.mem_free())")))
    assert abs(free[0] - free[1]) < 1024
