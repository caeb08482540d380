"""docs/manifest.cddl, the one encoder, and what it makes of real applications say the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signing_product import Product

from heirloom.device.errors import UpdateError
from heirloom.device.manifest import MAX_NUMBER, Manifest

Fields = dict[int, Any]


@pytest.fixture(scope="session")
def schema(source_tree: Path) -> pycddl.Schema:
    return pycddl.Schema((source_tree / "docs" / "manifest.cddl").read_text())


def accepts(schema: pycddl.Schema, data: bytes) -> bool:
    try:
        schema.validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def decodes(data: bytes) -> bool:
    try:
        Manifest.decode(data)
    except UpdateError:
        return False
    return True


names = st.text("aZ09_.+-", min_size=1, max_size=64).filter(lambda name: name[0] not in ".+-")
numbers = st.integers(0, MAX_NUMBER)
hashes = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
# The other processes of this machine must not decide whether a test passes.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
segments = st.text("abcXYZ.._- é漢😀", min_size=1, max_size=12)
paths = (
    st.lists(segments.filter(lambda segment: segment not in (".", "..")), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda path: len(path.encode()) <= 127)
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Valid manifests of every shape."""
    chosen = draw(st.lists(paths, max_size=6, unique_by=lambda path: path.encode().lower()))
    folders = {path[:end].encode().lower() for path in chosen for end in range(len(path)) if path[end] == "/"}
    files = sorted((path for path in chosen if path.encode().lower() not in folders), key=str.encode)
    sequence = draw(st.integers(1, MAX_NUMBER))
    return Manifest(
        product=draw(names),
        board=draw(names),
        version=draw(names),
        epoch=draw(numbers),
        sequence=sequence,
        floor=draw(st.integers(0, sequence)),
        requires=draw(st.none() | st.integers(0, sequence - 1)),
        via=draw(st.none() | names),
        kind=draw(st.sampled_from((0, 1))),
        files=[(path, draw(numbers), draw(hashes)) for path in files],
        firmware=draw(st.none() | st.tuples(numbers, hashes, names)),
        patches=draw(st.lists(st.tuples(hashes, hashes, hashes, numbers, names), max_size=2)),
        keep=draw(st.lists(paths, max_size=3)),
        confirm=draw(st.sampled_from(("check", "app")) | st.integers(1, 86400)),
        install=draw(st.sampled_from(("reboot", "background"))),
        released_at=draw(numbers),
        support_until=draw(st.none() | texts),
        advisories=draw(st.lists(texts, max_size=3)),
        notes=draw(st.none() | texts),
        sbom=draw(st.none() | hashes),
    )


@unhurried
@given(manifests())
def test_what_the_encoder_writes_the_schema_accepts(schema: pycddl.Schema, manifest: Manifest) -> None:
    data = manifest.encode()
    assert accepts(schema, data)
    assert Manifest.decode(data).encode() == data


@unhurried
@given(manifests())
def test_the_encoding_is_cbor2s_canonical_one(manifest: Manifest) -> None:
    data = manifest.encode()
    fields = cbor2.loads(data)
    # Canonical in cbor2 orders keys by length first (RFC 7049); for keys below 24 that is RFC 8949 4.2.1 too.
    assert cbor2.dumps(fields, canonical=True) == data
    assert fields[11] == [list(file) for file in manifest.files]
    assert fields[4] == manifest.version


def test_the_schema_accepts_a_real_release(schema: pycddl.Schema, product: Product) -> None:
    built = product.build("1.0.0", kind="security", advisories=("CVE-2026-1",), notes="Wärmer.")
    assert accepts(schema, built.manifest_bytes)


BASE = Manifest(
    product="weather",
    board="BOARD",
    version="1.0.0",
    epoch=0,
    sequence=3,
    requires=1,
    via="0.9.0",
    files=[("lib/a.mpy", 1, bytes(32)), ("main.py", 2, bytes(32))],
    firmware=(3, bytes(32), "1.27"),
    patches=[(bytes(32), bytes(32), bytes(32), 4, "detools")],
    keep=["settings.json"],
    support_until="2036",
    advisories=["CVE-2026-1"],
    notes="x",
    sbom=bytes(32),
)
FIELDS: Fields = cbor2.loads(BASE.encode())
FIRST_KEY = BASE.encode()[:1]  # the head of the map, before the key 01
REQUIRED = (1, 2, 3, 4, 5, 6, 7, 10, 11, 15, 16, 17)


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_a_missing_key_matters_where_it_is_required(schema: pycddl.Schema, key: int) -> None:
    data = cbor2.dumps({other: value for other, value in FIELDS.items() if other != key}, canonical=True)
    assert accepts(schema, data) == decodes(data) == (key not in REQUIRED)


def _changed(key: int, value: object) -> Callable[[], bytes]:
    return lambda: cbor2.dumps({**FIELDS, key: value}, canonical=True)


@pytest.mark.parametrize(
    "data",
    [
        *(_changed(1, value) for value in (0, 2, -1, "1", b"1", True, False, [1], {}, None)),
        *(
            _changed(key, value)
            for key in (2, 3, 4, 9)
            for value in ("", "a b", "a/b", ".a", "-a", "ä", "x" * 65, 1, None)
        ),
        *(_changed(key, value) for key in (5, 6, 7, 8, 17) for value in (-1, MAX_NUMBER + 1, "1", 1.5, None)),
        *(_changed(10, value) for value in (2, -1, "0", True)),
        *(_changed(11, [[path, 1, bytes(32)]]) for path in ("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", 1)),
        *(
            _changed(11, value)
            for value in ([["a", 1]], [["a", 1, bytes(31)]], [["a", -1, bytes(32)]], ["a"], {}, None)
        ),
        _changed(11, [["a", 1, bytes(32), 0]]),
        *(_changed(12, value) for value in ([], [1, bytes(32)], [1, bytes(31), "1"], ["1", bytes(32), "1"], None)),
        *(_changed(13, value) for value in ([], [[bytes(32)] * 3], [[bytes(32), bytes(32), b"", 1, "x"]], None)),
        *(_changed(key, value) for key in (14, 19) for value in ([], [1], "x", None)),
        *(_changed(14, [path]) for path in ("../a", "/a", "")),
        *(_changed(15, value) for value in (0, 86401, -1, "never", None)),
        *(_changed(16, value) for value in ("later", 1, None)),
        *(_changed(key, value) for key in (18, 20) for value in (1, b"x", None)),
        *(_changed(21, value) for value in (bytes(31), bytes(33), "x", None)),
        *(_changed(key, 1) for key in (0, 22, -1)),
        lambda: cbor2.dumps({**FIELDS, "notes": 1}),
        # The wire key of the format, 01, as true, as false and as text.
        *(lambda key=key: FIRST_KEY + key + BASE.encode()[2:] for key in (b"\xf5", b"\xf4", b"\x61\x31")),
        lambda: cbor2.dumps([]),
        lambda: cbor2.dumps(1),
    ],
)
def test_schema_and_decoder_refuse_the_same(schema: pycddl.Schema, data: Callable[[], bytes]) -> None:
    assert not accepts(schema, data())
    assert not decodes(data())


@settings(unhurried, max_examples=300)
@given(
    st.sampled_from(sorted(FIELDS)),
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.binary(max_size=40)
    | st.lists(numbers | hashes | texts, max_size=4),
)
def test_what_the_decoder_takes_the_schema_accepts(schema: pycddl.Schema, key: int, value: object) -> None:
    data = cbor2.dumps({**FIELDS, key: value}, canonical=True)
    if decodes(data):
        assert accepts(schema, data)


@settings(unhurried, max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(BASE.encode()) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_what_the_decoder_takes_of_changed_bytes_the_schema_accepts(
    schema: pycddl.Schema, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(BASE.encode())
    for at, byte in changes:
        data[at] = byte
    if decodes(bytes(data)):
        assert accepts(schema, bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        _changed(11, [["main.py", 1, bytes(32)], ["lib/a.mpy", 1, bytes(32)]]),
        _changed(11, [["A", 1, bytes(32)], ["a", 1, bytes(32)]]),
        _changed(11, [["a", 1, bytes(32)], ["a/b", 1, bytes(32)]]),
        _changed(11, [["x" * 128, 1, bytes(32)]]),
        _changed(11, [["a\\b", 1, bytes(32)]]),
        _changed(11, [["a\x01b", 1, bytes(32)]]),
        _changed(7, 4),
        _changed(8, 3),
        _changed(20, "x" * 16384),
    ],
)
def test_the_decoder_also_refuses_what_the_schema_cannot_say(schema: pycddl.Schema, data: Callable[[], bytes]) -> None:
    assert accepts(schema, data()), "then docs/manifest.cddl need not list it as unsaid"
    assert not decodes(data())
