"""otadata: the CRC, which entry counts, and what `set_boot` writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.boards.images import otadata
from heirloom.boards.images.errors import ImageError
from heirloom.boards.images.otadata import BLANK, Entry, State

numbers = st.integers(0, BLANK)
entries = st.one_of(
    st.just(Entry()),
    st.builds(Entry.make, numbers, st.sampled_from(list(State))),
    st.builds(
        Entry, st.integers(0, BLANK), st.integers(0, BLANK), st.integers(0, BLANK), st.binary(min_size=20, max_size=20)
    ),
)


@pytest.mark.parametrize(("sequence", "crc"), [(1, 0x4743989A), (2, 0x55F63774), (3, 0xED4A5011)])
def test_the_crc_is_the_one_of_the_rom(sequence: int, crc: int) -> None:
    assert otadata.crc(sequence) == crc


def test_an_entry_lies_as_esp_idf_writes_it() -> None:
    data = otadata.build(None, Entry.make(2, State.NEW))
    assert data[:0x1000] == b"\xff" * 0x1000
    assert data[0x1000:0x1020].hex() == "02000000" + "ff" * 20 + "00000000" + "7437f655"
    assert data[0x1020:] == b"\xff" * 0xFE0


@given(entries, entries)
def test_what_is_written_is_read(first: Entry, second: Entry) -> None:
    assert otadata.parse(otadata.build(first, second)) == (first, second)


@given(st.binary(max_size=0x1FFF))
def test_a_short_one_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="cut short"):
        otadata.parse(data)


@pytest.mark.parametrize(
    ("first", "second", "active"),
    [
        (Entry(), Entry(), None),
        (Entry.make(1, State.VALID), Entry(), 0),
        (Entry.make(1, State.VALID), Entry.make(2, State.NEW), 1),
        (Entry.make(2, State.VALID), Entry.make(2, State.NEW), 0),
        (Entry.make(1, State.VALID), Entry.make(2, State.ABORTED), 0),
        (Entry.make(1, State.INVALID), Entry.make(2, State.ABORTED), None),
        (Entry.make(1, State.VALID), Entry(9, State.VALID, 0), 0),
        (Entry.make(1, State.UNDEFINED), Entry.make(BLANK, State.VALID), 0),
    ],
)
def test_the_larger_usable_sequence_counts(first: Entry, second: Entry, active: int | None) -> None:
    assert otadata.active((first, second)) == active


@given(entries, entries, st.integers(1, 16), st.data())
def test_after_set_boot_the_new_entry_counts_and_names_the_slot(
    first: Entry, second: Entry, slots: int, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, slots - 1))
    before = otadata.active((first, second))
    if before is not None and (first, second)[before].sequence > BLANK - 2 * slots:
        return  # after four thousand million updates
    index, entry = otadata.next_entry((first, second), slot, slots)
    after = [first, second]
    after[index] = entry
    assert otadata.active((after[0], after[1])) == index
    assert entry.slot(slots) == slot
    assert entry.state == State.NEW
    if before is not None and (first, second)[before].slot(slots) != slot:
        assert index == 1 - before, "the entry that still works is never touched"


def test_sequences_go_up_as_measured_on_a_board() -> None:
    first, second = Entry.make(1, State.VALID), Entry()
    assert otadata.next_entry((first, second), 1, 2) == (1, Entry.make(2, State.NEW))
    second = Entry.make(2, State.VALID)
    assert otadata.next_entry((first, second), 0, 2) == (0, Entry.make(3, State.NEW))
    assert otadata.next_entry((first, second), 1, 2) == (1, Entry.make(2, State.NEW))
    assert otadata.next_entry((Entry(), Entry()), 1, 2) == (0, Entry.make(2, State.NEW))


def test_a_sequence_of_zero_is_counted_in_32_bits() -> None:
    assert (Entry.make(0, 2).slot(2), Entry.make(0, 2).slot(3)) == (1, 0)
