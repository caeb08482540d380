"""The streaming scanner against securesystemslib's canonical JSON, and against all that is not JSON."""

import hashlib
import io
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf_repository import Worker

from heirloom.device.canonical import Document
from heirloom.device.errors import UpdateError
from heirloom.device.reorder import MAX_UNORDERED

EXAMPLES = int(os.environ.get("HEIRLOOM_EXAMPLES", "60"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(10**18) + 1, 10**18 - 1)
scalars = texts | numbers | st.booleans() | st.none()
values = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=6)
spaces = st.text(st.sampled_from(" \t\r\n"), max_size=3)


def document(data: bytes) -> Document:
    made = Document("timestamp", io.BytesIO(data), len(data))
    made.check()
    return made


def fed(made: Document) -> bytes:
    out = bytearray()
    made.feed(out.extend)
    return bytes(out)


@st.composite
def written(draw: st.DrawFn, value: object, *, ordered: bool) -> str:
    """JSON text of a value, with white space, escapes and orders as other publishers might choose them."""

    def string(text: str) -> str:
        style = draw(st.integers(0, 2))
        quoted = json.dumps(text, ensure_ascii=style == 0)
        if style == 2 and text:
            at = draw(st.integers(0, len(text) - 1))
            units = text[at].encode("utf-16-be").hex()
            escaped = "".join("\\u" + units[i : i + 4] for i in range(0, len(units), 4))
            quoted = (
                json.dumps(text[:at])[:-1]
                + draw(st.sampled_from([escaped, escaped.upper().replace("U", "u")]))
                + json.dumps(text[at + 1 :])[1:]
            )
        return quoted

    def space() -> str:
        return draw(spaces)

    def write(part: object) -> str:
        if isinstance(part, str):
            return string(part)
        if isinstance(part, list):
            return f"[{space()}" + f"{space()},{space()}".join(write(item) for item in part) + f"{space()}]"
        if isinstance(part, dict):
            names = sorted(part, key=lambda name: name.encode()) if ordered else draw(st.permutations(list(part)))
            members = [f"{string(name)}{space()}:{space()}{write(part[name])}" for name in names]
            return f"{{{space()}" + f"{space()},{space()}".join(members) + f"{space()}}}"
        return "-0" if part == 0 and draw(st.booleans()) and part is not False else json.dumps(part)

    return space() + write(value) + space()


@pytest.mark.parametrize("ordered", [True, False])
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data(), signed=objects)
def test_the_canonical_form_is_that_of_securesystemslib(
    ordered: bool, data: st.DataObject, signed: dict[str, Any]
) -> None:
    text = data.draw(written({"signatures": [], "signed": signed}, ordered=ordered))
    made = document(text.encode())
    expected = encode_canonical(signed)
    assert expected is not None
    assert fed(made) == expected.encode()
    assert made.digest == hashlib.sha256(expected.encode()).digest()
    assert made.load(made.signed) == signed
    for name, value in signed.items():
        assert made.value(name) == value


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data(), signed=objects)
def test_what_is_read_is_what_was_hashed(data: st.DataObject, signed: dict[str, Any]) -> None:
    """Any change of any byte changes the digest, or nothing that is read."""
    text = bytearray(data.draw(written({"signatures": [], "signed": signed}, ordered=False)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        made = document(bytes(text))
        read = made.load(made.signed)
    except UpdateError:
        return
    expected = encode_canonical(read)  # type: ignore[arg-type]
    assert expected is not None
    assert made.digest == hashlib.sha256(expected.encode()).digest()
    # CPython's parser, which is not ours, reads the same.
    assert json.loads(bytes(text))["signed"] == read


@settings(max_examples=EXAMPLES * 3, deadline=None)
@given(st.binary(max_size=60))
def test_garbage_is_refused_by_our_own_error(garbage: bytes) -> None:
    for data in (
        garbage,
        b'{"signatures":[],"signed":{' + garbage + b"}}",
        b'{"signatures":[],"signed":{"a":"' + garbage,
    ):
        try:
            made = document(data)
        except UpdateError:
            pass
        else:
            json.loads(data)
            fed(made)


REFUSED = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b'{"signed":{}}',
    b'{"signatures":[]}',
    b'\xef\xbb\xbf{"signatures":[],"signed":{}}',
    b'{"signatures":[],"signed":{}}{}',
    b'{"signatures":[],"signed":{},"signed":{}}',
    b'{"signatures":[],"signed":{"a":1,"a":1}}',
    b'{"signatures":[],"signed":{"b":1,"a":1,"b":1}}',
    b'{"signatures":[],"signed":{"a":1,"\\u0061":1}}',
    b'{"signatures":[],"signed":{"a":1.0}}',
    b'{"signatures":[],"signed":{"a":1e2}}',
    b'{"signatures":[],"signed":{"a":01}}',
    b'{"signatures":[],"signed":{"a":-}}',
    b'{"signatures":[],"signed":{"a":-01}}',
    b'{"signatures":[],"signed":{"a":+1}}',
    b'{"signatures":[],"signed":{"a":1234567890123456789}}',
    b'{"signatures":[],"signed":{"a":NaN}}',
    b'{"signatures":[],"signed":{"a":nul}}',
    b'{"signatures":[],"signed":{"a":truex}}',
    b'{"signatures":[],"signed":{"a":"\n"}}',
    b'{"signatures":[],"signed":{"a":"\x7f\x00"}}',
    b'{"signatures":[],"signed":{"a":"\\x41"}}',
    b'{"signatures":[],"signed":{"a":"\\u00g0"}}',
    b'{"signatures":[],"signed":{"a":"\\ud800"}}',
    b'{"signatures":[],"signed":{"a":"\\ud800\\u0041"}}',
    b'{"signatures":[],"signed":{"a":"\\ud800x"}}',
    b'{"signatures":[],"signed":{"a":"\\udc00"}}',
    b'{"signatures":[],"signed":{"a":"\xc0\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xe0\x80\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xed\xa0\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xf0\x80\x80\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xf4\x90\x80\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xf5\x80\x80\x80"}}',
    b'{"signatures":[],"signed":{"a":"\x80"}}',
    b'{"signatures":[],"signed":{"a":"\xc3"}}',
    b'{"signatures":[],"signed":{"a":1,}}',
    b'{"signatures":[],"signed":{,"a":1}}',
    b'{"signatures":[],"signed":{"a" 1}}',
    b'{"signatures":[],"signed":{"a":1 "b":2}}',
    b'{"signatures":[],"signed":{a:1}}',
    b'{"signatures":[],"signed":{\'a\':1}}',
    b'{"signatures":[],"signed":{"a":[1 2]}}',
    b'{"signatures":[],"signed":{"a":[1,]}}',
    b'{"signatures":[],"signed":{"a":[}}',
    b'{"signatures":[],"signed":{"a":1}]',
    b'{"signatures":[],"signed":{"a":1}} // comment',
    b'{"signatures":[],"signed":{"a":' + b"[" * 31 + b"]" * 31 + b"}}",
]


@pytest.mark.parametrize("data", REFUSED)
def test_refused(data: bytes) -> None:
    with pytest.raises(UpdateError) as refused:
        document(data)
    assert refused.value.code == "E_FORMAT"
    assert "timestamp" in refused.value.sentence


ACCEPTED = [
    b'{"signatures":[],"signed":{}}',
    b' {"signatures" : [ ] , "signed" : { } } \n',
    b'{"signed":{},"signatures":[]}',
    b'{"extra":{"x":[1]},"signatures":[],"signed":{}}',
    b'{"signatures":[],"signed":{"a":123456789012345678}}',
    b'{"signatures":[],"signed":{"":1,"a":2}}',
    b'{"signatures":[],"signed":{"a":{"":{"":{}}},"a\\"":[],"a#":1}}',
    b'{"signatures":[],"signed":{"a":' + b"[" * 30 + b"]" * 30 + b"}}",
    '{"signatures":[],"signed":{"a":"é€😀\\ud83d\\ude00\\/\\b\\f"}}'.encode(),
]


@pytest.mark.parametrize("data", ACCEPTED)
def test_accepted(data: bytes) -> None:
    made = document(data)
    expected = encode_canonical(json.loads(data)["signed"])
    assert expected is not None
    assert fed(made) == expected.encode()


@pytest.mark.parametrize("length", range(200, 300))
def test_runs_that_end_around_the_buffers(length: int) -> None:
    """Buffers have 256 bytes: strings, names, escapes and characters across their ends."""
    signed = {
        "a" * length: "é" * length,
        "b": ['"' * length, "\\" * (length - 20)],
        "c" + "😀" * (length // 4): -length,
    }
    data = json.dumps({"signatures": [], "signed": signed}, sort_keys=True, ensure_ascii=length % 2 == 0)
    made = document(data.encode())
    expected = encode_canonical(signed)
    assert expected is not None
    assert fed(made) == expected.encode()
    assert made.load(made.signed) == signed


def expected(data: bytes) -> str:
    """What CPython says of a document."""
    try:
        made = document(data)
    except UpdateError as error:
        return error.code
    return f"{made.digest.hex()} {fed(made).hex()}"


@pytest.mark.parametrize("seed", range(4))
def test_micropython_says_the_same(roomy_worker: Worker, seed: int) -> None:
    """The viper code as MicroPython compiles it, on sound documents and spoiled ones."""
    pick = random.Random(seed)
    documents = [*REFUSED, *ACCEPTED] if seed == 0 else []

    def text(characters: str, longest: int) -> str:
        return "".join(pick.choice(characters) for _ in range(pick.choice([0, 3, longest])))

    def value(depth: int) -> Any:
        kind = pick.randrange(7 if depth else 4)
        if kind < 2:
            return text('aZ09 "\\/\n\t\x7fé€😀\0', 300)
        if kind < 4:
            return pick.choice([0, -1, 10**17, -(10**17), 42, True, False, None])
        if kind == 4:
            return [value(depth - 1) for _ in range(pick.randrange(5))]
        return {text('ab"\\é😀', 9): value(depth - 1) for _ in range(pick.randrange(5))}

    while len(documents) < 120:
        named = {"signatures": [], "signed": {"x": value(3), "y": value(3)}}
        indent = pick.choice([None, None, 1])
        raw = pick.random() < 0.5
        data = json.dumps(named, sort_keys=pick.random() < 0.8, ensure_ascii=raw, indent=indent).encode()
        if len(data) < 8000:
            spoiled = bytearray(data)
            spoiled[pick.randrange(len(data))] = pick.choice([*b'"\\{}[]:,0-9x \x00\x80\xed', pick.randrange(256)])
            documents += [data, bytes(spoiled)]
    for data in documents:
        assert roomy_worker.run(documents=[data.hex()])["results"] == [expected(data)], data


def test_names_are_compared_as_they_read_not_as_they_are_written() -> None:
    # Escaped, `a"` would come after `a#`; in UTF-8, U+FFFD comes before U+1F600, in UTF-16 after it.
    made = document(b'{"signatures":[],"signed":{"a\\"":1,"a#":2,"\xef\xbf\xbd":3,"\\ud83d\\ude00":4}}')
    assert [name for name, _ in made.members(made.signed)] == ['a"', "a#", "\ufffd", "😀"]


def test_limits_are_told_from_malformed() -> None:
    unordered = b'{"signed":{"b":"' + b"x" * MAX_UNORDERED + b'","a":1},"signatures":[]}'
    long_name = b'{"signatures":[],"signed":{"' + b"x" * 5000 + b'":1}}'
    for data in (unordered, long_name):
        with pytest.raises(UpdateError) as refused:
            document(data)
        assert refused.value.code == "E_LIMIT"
    made = document(b'{"signatures":[],"signed":{"a":"' + b"x" * 20000 + b'"}}')
    with pytest.raises(UpdateError) as refused:
        made.value("a")
    assert refused.value.code == "E_LIMIT"


def test_the_wrong_type_is_an_error_not_a_guess() -> None:
    made = document(b'{"signatures":{},"signed":{"a":[1],"b":{"c":1}}}')
    wheres = dict(made.members(made.signed))
    for wrong in (lambda: list(made.elements(made.signatures)), lambda: made.find(wheres["a"], "c")):
        with pytest.raises(UpdateError) as refused:
            wrong()
        assert refused.value.code == "E_FORMAT"
    assert made.find(wheres["b"], "absent") is None
    assert made.find(wheres["b"], "absent", "deeper") is None
