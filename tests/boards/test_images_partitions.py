"""Partition tables: ours and Espressif's generator agree, and a damaged one is refused with a sentence."""

import contextlib
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom import boards
from heirloom.boards.images import partitions
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.partitions import Partition, PartitionTable

ESP32S = [name for name in boards.names() if boards.load(name).partitions]


def table_of(name: str) -> PartitionTable:
    table = boards.load(name).partitions
    assert table is not None
    return table


TABLE = table_of("ESP32_GENERIC")
BYTES = partitions.build(TABLE)


@st.composite
def tables(draw: st.DrawFn) -> PartitionTable:
    """Partitions one behind the other, with gaps."""
    found: list[Partition] = []
    offset = partitions.FIRST_OFFSET
    slots = 0
    for number in range(draw(st.integers(1, 20))):
        if draw(st.booleans()) and slots < partitions.OTA_MAX_SLOTS:
            type_, subtype, alignment, slots = 0, 0x10 + slots, 0x10000, slots + 1
        else:
            type_, subtype, alignment = 1, draw(st.sampled_from([1, 2, 3, 4, 5, 6, 0x80, 0x81, 0x82, 0x83])), 0x1000
        offset += -offset % alignment + alignment * draw(st.integers(0, 2))
        size = 0x1000 * draw(st.integers(1, 64))
        found.append(Partition(f"p{number}", type_, subtype, offset, size, draw(st.sampled_from([0, 1]))))
        offset += size
    return partitions.check(found)


def test_the_first_entry_is_as_espressif_documents_it() -> None:
    assert BYTES[:32].hex() == "aa50010200900000004000006e767300000000000000000000000000" + "00000000"
    assert BYTES[32 * 6 : 32 * 6 + 16] == b"\xeb\xeb" + b"\xff" * 14
    assert BYTES[32 * 7 :] == b"\xff" * (0xC00 - 32 * 7)


@pytest.mark.parametrize("name", ESP32S)
def test_the_table_of_each_board_is_what_espressifs_generator_makes(name: str) -> None:
    espressif = pytest.importorskip("esp_idf_defs.partitions", reason="esp-idf-defs is not installed")
    table = table_of(name)
    rows = "\n".join(f"{p.label},{p.type},{p.subtype},{p.offset:#x},{p.size:#x}," for p in table)
    made = espressif.PartitionTable.from_csv(rows)
    made.verify()
    assert partitions.build(table) == made.to_binary()


@given(tables())
def test_tables_agree_with_espressifs_generator_both_ways(table: PartitionTable) -> None:
    espressif = pytest.importorskip("esp_idf_defs.partitions", reason="esp-idf-defs is not installed")
    data = partitions.build(table)
    assert partitions.parse(data) == table
    read = espressif.PartitionTable.from_binary(data)
    assert [(p.name, p.type, p.subtype, p.offset, p.size, bool(p.encrypted)) for p in read] == [
        (p.label, p.type, p.subtype, p.offset, p.size, bool(p.flags)) for p in table
    ]
    assert read.to_binary() == data


def test_a_table_says_what_is_in_it() -> None:
    assert [part.kind for part in TABLE] == ["data/nvs", "data/ota", "data/phy", "app/ota_0", "app/ota_1", "data/fat"]
    assert Partition("x", 0x40, 0x55, 0, 0).kind == "0x40/0x55"
    assert TABLE.takes_firmware
    assert TABLE.otadata == TABLE.labelled("otadata")
    assert TABLE.labelled("no") is None


def test_the_published_table_takes_no_firmware() -> None:
    assert not partitions.PUBLISHED.takes_firmware
    assert partitions.parse(partitions.build(partitions.PUBLISHED), 0x400000) == partitions.PUBLISHED


def test_every_bit_flip_is_refused() -> None:
    written = range(8 * 32 * 8)
    rest = range(8 * 32 * 8, len(BYTES) * 8, 7)
    for index in (*written, *rest):
        damaged = bytearray(BYTES)
        damaged[index // 8] ^= 1 << index % 8
        with pytest.raises(ImageError, match="partition"):
            partitions.parse(bytes(damaged))


def test_every_truncation_is_refused() -> None:
    for length in range(len(BYTES)):
        with pytest.raises(ImageError, match="cut short"):
            partitions.parse(BYTES[:length])


@given(st.binary(min_size=0xC00, max_size=0xC00))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        partitions.parse(data)


@given(st.lists(st.binary(min_size=28, max_size=28), max_size=4))
def test_entries_with_a_right_md5_and_any_content_are_a_table_or_a_sentence(entries: list[bytes]) -> None:
    body = b"".join(b"\xaa\x50\x01\x02" + entry for entry in entries)
    data = (body + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(body).digest()).ljust(0xC00, b"\xff")
    with contextlib.suppress(ImageError):
        assert partitions.build(partitions.parse(data)) == data


def changed(label: str, /, **changes: object) -> list[Partition]:
    return [replace(part, **changes) if part.label == label else part for part in TABLE]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "empty"),
        (changed("vfs", label=""), "no partition name"),
        (changed("vfs", label="x" * 17), "no partition name"),
        (changed("vfs", label="vf\x1b"), "no partition name"),
        (changed("vfs", label="dateisystém"), "no partition name"),
        (changed("vfs", label="nvs"), "two partitions are named 'nvs'"),
        (changed("vfs", offset=0x370800), "no multiple of 0x1000"),
        (changed("ota_1", offset=0x1C1000), "no multiple of 0x10000"),
        (changed("vfs", size=0x90001), "no whole sectors"),
        (changed("vfs", size=0), "no whole sectors"),
        (changed("nvs", offset=0x8000), "before 0x9000"),
        (changed("vfs", size=0x91000), "after the flash"),
        (changed("ota_0", size=0x1C0000), "ota_1 begins at 0x1c0000, inside ota_0"),
        (changed("ota_1", subtype=0x12), "the OTA slots are ota_0, ota_2"),
        (changed("ota_1", subtype=0x10), "the OTA slots are ota_0, ota_0"),
        (changed("otadata", size=0x1000), "two sectors"),
        (changed("vfs", type=0xFF), "each must be 0 to 254"),
    ],
)
def test_partitions_that_do_not_fit_together_are_refused(found: list[Partition], message: str) -> None:
    with pytest.raises(ImageError) as caught:
        partitions.check(found, 0x400000)
    assert message in caught.value.message


def test_a_table_has_room_for_94_entries() -> None:
    many = [Partition(f"p{n}", 1, 6, 0x9000 + 0x1000 * n, 0x1000) for n in range(95)]
    assert partitions.parse(partitions.build(partitions.check(many[:94]))).partitions == tuple(many[:94])
    with pytest.raises(ImageError, match="95 partitions are too many"):
        partitions.build(partitions.check(many))
