"""The release manifest: what it takes, what it refuses and why, and the same on MicroPython."""

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.device.errors import UpdateError
from heirloom.device.manifest import MAX_FILES, MAX_LENGTH, Manifest

HASH = bytes(range(32))
LEAST: dict[int, Any] = {
    1: 1, 2: "weather", 3: "RPI_PICO_W", 4: "1.0.0", 5: 0, 6: 3, 7: 0, 10: 0, 11: [], 15: "check", 16: "reboot", 17: 0,
}  # fmt: skip
FULL: dict[int, Any] = LEAST | {
    7: 2, 8: 2, 9: "0.9.0", 10: 1, 11: [["lib/a.py", 5, HASH], ["main.py", 0, HASH]], 12: [1 << 20, HASH, "1.27.0"],
    13: [[HASH, HASH, HASH, 9, "detools-seq"]], 14: ["settings.json"], 15: 600, 16: "background", 17: 1_800_000_000,
    18: "2031-12-31", 19: ["CVE-2026-1"], 20: "fixes", 21: HASH,
}  # fmt: skip


def files(*paths: str) -> dict[int, Any]:
    return LEAST | {11: [[path, 1, HASH] for path in paths]}


BAD_PATHS = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "a\n", "a\x7f", "\0"]
TAKEN = {
    "least": LEAST,
    "full": FULL,
    "confirm by the application": LEAST | {15: "app"},
    "longest path": files("a" * 127),
    "sorted by bytes": files("a-b", "a.b", "a/b", "aZ", "ab"),
    "most files": files(*sorted(f"{n:03}" for n in range(MAX_FILES))),
}
REFUSED: dict[str, tuple[dict[int, Any], str]] = {
    **{f"key {key} missing": ({k: v for k, v in LEAST.items() if k != key}, f"key {key} is missing") for key in LEAST},
    **{f"key {key} null": (FULL | {key: None}, "empty|expected") for key in FULL},
    "unknown key": (LEAST | {22: 1}, "22 is not known"),
    "negative key": (LEAST | {-1: 1}, "not known"),
    "other format": (LEAST | {1: 2}, "format"),
    "format true": (LEAST | {1: True}, "format"),
    "empty lists": (LEAST | {14: []}, "empty"),
    "no patches": (LEAST | {13: []}, "empty"),
    "product not text": (LEAST | {2: 5}, "product"),
    "product with a slash": (LEAST | {2: "a/b"}, "product"),
    "version with a space": (LEAST | {4: "1 0"}, "version"),
    "version of dots": (LEAST | {4: ".."}, "version"),
    "version empty": (LEAST | {4: ""}, "version"),
    "epoch true": (LEAST | {5: True}, "epoch"),
    "sequence negative": (LEAST | {6: -1}, "sequence"),
    "sequence too large": (LEAST | {6: 1 << 31}, "sequence"),
    "floor above": (LEAST | {7: 4}, "floor"),
    "requires itself": (LEAST | {8: 3}, "requires"),
    "kind 2": (LEAST | {10: 2}, "kind"),
    "kind true": (LEAST | {10: True}, "kind"),
    "confirm never": (LEAST | {15: "never"}, "confirm"),
    "confirm 0": (LEAST | {15: 0}, "confirm"),
    "confirm too late": (LEAST | {15: 86401}, "confirm"),
    "install later": (LEAST | {16: "later"}, "install"),
    "files no list": (LEAST | {11: {}}, "array"),
    "file no list": (LEAST | {11: ["a"]}, "files"),
    "file too short": (LEAST | {11: [["a", 1]]}, "files"),
    "file length true": (LEAST | {11: [["a", True, HASH]]}, "files"),
    "file length negative": (LEAST | {11: [["a", -1, HASH]]}, "length"),
    "file hash short": (LEAST | {11: [["a", 1, HASH[:31]]]}, "SHA-256"),
    "firmware short": (LEAST | {12: [1, HASH]}, "firmware"),
    "patch hash": (LEAST | {13: [[HASH, HASH, b"", 9, "x"]]}, "SHA-256"),
    "keep outside": (LEAST | {14: ["../x"]}, "segment"),
    "keep number": (LEAST | {14: [1]}, "keep"),
    "advisories text": (LEAST | {19: "CVE"}, "list"),
    "sbom text": (LEAST | {21: "x"}, "SHA-256"),
    **{f"path {path!r}": (files(path), "path") for path in BAD_PATHS},
    "path too long": (files("a" * 128), "longer"),
    "path too long in bytes": (files("é" * 64), "longer"),
    "not sorted": (files("b", "a"), "sorted"),
    "twice": (files("a", "a"), "sorted"),
    "only case differs": (files("A.py", "a.py"), "case"),
    "only case of the folder differs": (files("Lib/a.py", "lib/a.py"), "case"),
    "file and folder": (files("a", "a/b"), "same path"),
    "file and folder by case": (files("A", "a/b"), "same path"),
    "file and deep folder": (files("a/b", "a/b/c/d"), "same path"),
    "too many files": (files(*sorted(f"{n:03}" for n in range(MAX_FILES + 1))), "256 files"),
}  # fmt: skip


def encoded(fields: dict[int, Any]) -> bytes:
    return cbor2.dumps(fields, canonical=True)


@pytest.mark.parametrize("name", TAKEN)
def test_takes(name: str) -> None:
    data = encoded(TAKEN[name])
    assert Manifest.decode(data).encode() == data


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    fields, said = REFUSED[name]
    with pytest.raises(UpdateError, match=f"E_MANIFEST: .*{said}"):
        Manifest.decode(encoded(fields))


def test_named_fields() -> None:
    manifest = Manifest.decode(encoded(FULL))
    assert manifest.order == (0, 3)
    assert list(manifest.files) == [("lib/a.py", 5, HASH), ("main.py", 0, HASH)]
    assert list(manifest.patches) == [(HASH, HASH, HASH, 9, "detools-seq")]
    assert manifest.firmware == [1 << 20, HASH, "1.27.0"]
    assert (manifest.requires, manifest.via, manifest.keep, manifest.confirm) == (2, "0.9.0", ["settings.json"], 600)


def test_too_long_is_refused_on_both_sides() -> None:
    fields = LEAST | {20: "x" * MAX_LENGTH}
    with pytest.raises(UpdateError, match="longer than"):
        Manifest.decode(encoded(fields))
    least = {"product": "p", "board": "b", "version": "1", "epoch": 0, "sequence": 1, "files": []}
    with pytest.raises(UpdateError, match="at most"):
        Manifest(**least, notes="x" * MAX_LENGTH).encode()


@pytest.mark.parametrize("key", [b"\xf5", b"\xf4"])
def test_a_boolean_is_no_key(key: bytes) -> None:
    """In Python true equals 1, the key of the format."""
    data = encoded(LEAST)
    assert data[1:2] == b"\x01"
    with pytest.raises(UpdateError, match=r"E_MANIFEST: .*not known"):
        Manifest.decode(data[:1] + key + data[2:])


def test_what_is_not_cbor() -> None:
    for data in [b"", b"\xff", encoded(LEAST)[:-1], encoded(LEAST) + b"\0", b"<html>", b"\x80"]:
        with pytest.raises(UpdateError, match="E_MANIFEST"):
            Manifest.decode(data)


@given(st.sampled_from([LEAST, FULL]), st.data())
@settings(max_examples=300, deadline=None)
def test_nothing_but_its_own_error(fields: dict[int, Any], draw: st.DataObject) -> None:
    data = bytearray(encoded(fields))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        manifest = Manifest.decode(data)
    except UpdateError as error:
        assert error.code == "E_MANIFEST"  # noqa: PT017 - either verdict is right
    else:
        assert manifest.encode() == bytes(data)


def test_micropython_comes_to_the_same_verdicts(on_device, tmp_path: Path) -> None:
    small = {name: fields for name, fields in TAKEN.items() if name != "most files"}  # encoding is the host's work
    refused = [(encoded(fields).hex(), said) for fields, said in REFUSED.values()]
    refused.append(((encoded(LEAST)[:1] + b"\xf5" + encoded(LEAST)[2:]).hex(), "not known"))
    vectors = tmp_path / "vectors.json"
    vectors.write_text(json.dumps({"taken": [encoded(fields).hex() for fields in small.values()], "refused": refused}))
    said = on_device("cbor_vectors", "manifests", str(vectors), heap="400k")
    assert said.split() == [str(len(small)), str(len(refused))]
