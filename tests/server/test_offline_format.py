"""docs/bundle.cddl describes what `heirloom bundle --file` writes."""

from pathlib import Path

import pytest

from heirloom.device import cbor
from heirloom.server.offline import _write_file

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture
def index(tmp_path: Path) -> bytes:
    files = {"metadata/timestamp.json": b"t" * 700, f"blobs/{'ab' * 32}": b"blob", f"targets/{'x' * 120}": b""}
    sources = {}
    for number, (name, data) in enumerate(files.items()):
        sources[name] = tmp_path / f"source{number}"
        sources[name].write_bytes(data)
    _write_file(tmp_path / "heirloom.tar", sources, {3: "weather", 4: ["RPI_PICO_W"], 5: 1795644000}, lambda _: None)
    written = (tmp_path / "heirloom.tar").read_bytes()
    found = written[512 : 512 + int(written[124:135], 8)]
    start = 512 + -(-len(found) // 512) * 512
    members = cbor.decode(found, 65536)[2]  # type: ignore[index]
    for name, data in files.items():
        offset, length = members[bytes.fromhex(name[6:]) if name.startswith("blobs/") else name]
        assert written[start + offset : start + offset + length] == data
    return found


def test_the_index_is_as_the_schema_says(index: bytes) -> None:
    schema = TREE / "docs" / "bundle.cddl"
    if not schema.is_file():
        pytest.skip("tests run without the source tree")
    pycddl = pytest.importorskip("pycddl")
    pycddl.Schema(schema.read_text()).validate_cbor(index)
