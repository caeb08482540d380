"""Canonical JSON, made fast: the same bytes as securesystemslib's, and cut out of a file only where they lie there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization import SerializationError
from tuf.api.serialization.json import CanonicalJSONSerializer

from heirloom.signing import canonical

TEXT = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


def targets(**unknown: Any) -> Targets:
    path = "releases/B/1.0.0.cbor"
    made = Targets(expires=datetime(2030, 1, 1, tzinfo=UTC), unrecognized_fields=unknown)
    made.targets[path] = TargetFile(3, {"sha256": "0f" * 32}, path, {"custom": {"sequence": 7}})
    return made


@given(VALUES)
def test_the_same_bytes_as_the_slow_encoder(value: Any) -> None:
    signed = targets(x=value, **{"ü\n": value})
    assert canonical.encode(signed) == CanonicalJSONSerializer().serialize(signed)


@pytest.mark.parametrize("value", ["a\nb", "ü", 'a"b', "a\\b", "\x7f", "1.5", ",1.5", True, 10**40, {"b": [{}]}])
def test_what_json_writes_in_another_way(value: Any) -> None:
    signed = targets(x=value)
    assert canonical.encode(signed) == CanonicalJSONSerializer().serialize(signed)


@pytest.mark.parametrize("value", [1.5, -2e9, [0.1], {"a": 1e-7}, float("nan"), float("inf")])
def test_a_number_that_is_not_whole_has_none(value: Any) -> None:
    with pytest.raises(SerializationError):
        canonical.encode(targets(x=value))


def test_cut_out_of_a_file_as_we_write_it() -> None:
    signed = targets(x=1)
    data = Metadata(signed).to_bytes()
    assert canonical.cut(data) == canonical.encode(signed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        json.dumps({"signed": {"a": 1}, "signatures": []}).encode(),
        json.dumps({"signatures": [], "signed": {"a": 1}}, indent=1).encode(),
        Metadata(targets(x="ü")).to_bytes(),
        b'{"signatures":[],"signed":{"a":1}}\n',
    ],
)
def test_not_cut_where_it_may_lie_in_another_form(data: bytes) -> None:
    assert canonical.cut(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"signed":{"evil":1},"signatures":[],"signed":{"good":1}}',
        b'{"signatures":[{"x":1,"signed":{"evil":1}}],"signed":{"good":1}}',
    ],
)
def test_what_is_cut_is_what_parsers_read(data: bytes) -> None:
    cut = canonical.cut(data)
    assert cut is not None
    assert json.loads(cut) == json.loads(data)["signed"] == {"good": 1}


def test_a_signed_part_inside_of_another_member_is_not_taken_for_the_files() -> None:
    """It would have to end the file, and then there is a bracket too many in what is cut."""
    data = b'{"signed":{"evil":1},"z":{"a":1,"signed":{"good":1}}}'
    cut = canonical.cut(data)
    assert cut != b'{"good":1}'
