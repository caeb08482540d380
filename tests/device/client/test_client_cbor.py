"""The deterministic CBOR of devices: against cbor2, against RFC 8949, and the same verdicts on MicroPython."""

import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.device import cbor

INTEGERS = st.integers(-(2**64), 2**64 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | INTEGERS | TEXTS | st.binary(max_size=300)
# cbor2 sorts by length first, RFC 8949 4.2.1 bytewise: for keys of one of these kinds the two agree.
KEYS = st.sampled_from([st.integers(0, 2**64 - 1), TEXTS, st.binary(max_size=40)])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | KEYS.flatmap(lambda keys: st.dictionaries(keys, inner, max_size=6)),
    max_leaves=20,
)

REFUSED = {
    "longer head than needed": "1817 190017 1a0000ffff 1b00000000ffffffff 5800 7800 9800 b800 1800",
    "indefinite": "5f42010243030405ff 7f61616162ff 9f01ff bf0102ff",
    "tag": "c001 d9d9f700",
    "float": "f93c00 fa47c35000 fb3ff199999999999a",
    "undefined and other simple values": "f7 e0 f820 ff",
    "cut short": "18 19 1901 41 6161616161 82 8201 a1 a101 5a00010000 9bffffffffffffffff bbffffffffffffffff",
    "bytes behind": "0000 8000 a000",
    "keys out of order or twice": "a202000100 a201000100 a2616200616100 a220000000 a2613000187b00",
    "keys of other kinds": "a1f500 a18000 a1f600 a1a000",
    "not UTF-8": "61ff 62c080 62c1bf 63e08080 63eda080 64f0808080 64f4908080 61c3 62c328 63e28228 65f888808080",
}
REFUSED_ITEMS = [(reason, item) for reason, items in REFUSED.items() for item in items.split()]
TAKEN = ["00", "17", "1818", "20", "3b" + "ff" * 8, "1b" + "ff" * 8, "40", "60", "62c3a9", "64f09f9880"]
TAKEN += ["80", "a0", "f4", "f6"]
# Bytewise, not by length: 0x1818 (24) before 0x20 (-1), and "aa" (62...) behind "b" (61 62).
TAKEN += ["a21818002000", "a261620062616100", "a30000414100616100"]


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_encodes_as_cbor2_does_and_back(value: object) -> None:
    try:
        data = cbor.encode(value)
    except cbor.CborError:
        assert _depth(value) > cbor.MAX_DEPTH
        return
    assert data == cbor2.dumps(value, canonical=True)
    assert cbor.decode(data) == value


@given(st.binary(max_size=60))
@settings(max_examples=600, deadline=None)
def test_whatever_is_read_has_exactly_this_encoding(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except cbor.CborError:
        return
    assert cbor.encode(value) == data


@given(VALUES, st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_refused_or_changes_the_value(value: object, draw: st.DataObject) -> None:
    if _depth(value) > cbor.MAX_DEPTH:
        return
    data = bytearray(cbor.encode(value))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        other = cbor.decode(data)
    except cbor.CborError:
        return
    assert cbor.encode(other) == bytes(data)


@pytest.mark.parametrize(("reason", "item"), REFUSED_ITEMS)
def test_refuses(reason: str, item: str) -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex(item))


@pytest.mark.parametrize("item", TAKEN)
def test_takes(item: str) -> None:
    data = bytes.fromhex(item)
    assert cbor.encode(cbor.decode(data)) == data


def test_depth_and_length_are_bounded() -> None:
    deepest = b"\x81" * cbor.MAX_DEPTH + b"\x00"
    assert cbor.encode(cbor.decode(deepest)) == deepest
    with pytest.raises(cbor.CborError, match="deep"):
        cbor.decode(b"\x81" + deepest)
    with pytest.raises(cbor.CborError, match="deep"):
        cbor.decode(b"\x81" * 10000)
    with pytest.raises(cbor.CborError, match="longer"):
        cbor.decode(cbor.encode(b"x" * cbor.MAX_LENGTH))


@pytest.mark.parametrize(
    "value", [1.5, {1, 2}, object(), {None: 1}, {True: 1}, {1.0: 1}, 2**64, -(2**64) - 1, "\ud800"]
)
def test_values_without_an_encoding(value: object) -> None:
    with pytest.raises((cbor.CborError, UnicodeEncodeError)):
        cbor.encode(value)


def test_micropython_comes_to_the_same_verdicts(on_device, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.json"
    vectors.write_text(json.dumps({"taken": TAKEN, "refused": [item for _, item in REFUSED_ITEMS]}))
    assert on_device("cbor_vectors", "verdicts", str(vectors)).split() == [str(len(TAKEN)), str(len(REFUSED_ITEMS))]


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
