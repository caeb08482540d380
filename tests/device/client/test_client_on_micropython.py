"""Every function of `on_device/*.py`, each in an interpreter of its own, within the heap of a small board."""

import re
from pathlib import Path

import pytest

from heirloom.device.manifest import Manifest

HEAP = "160k"  # unless the script says that it needs more for itself
SCRIPTS = Path(__file__).resolve().parent / "on_device"
# Those take arguments: other tests call them.
_CALLED_BY_OTHERS = {"prelude", "firmware_here"}


def _functions() -> list[tuple[str, str]]:
    found = []
    for script in sorted(SCRIPTS.glob("*.py")):
        if script.stem not in _CALLED_BY_OTHERS:
            found += [
                (script.stem, name) for name in re.findall(r"^def ([a-z]\w*)\(\):", script.read_text(), re.MULTILINE)
            ]
    return found


@pytest.mark.parametrize(("module", "function"), _functions(), ids=lambda value: value)
def test_on_micropython(module: str, function: str, on_device) -> None:
    heap = re.match(r"# heap: (\w+)", (SCRIPTS / f"{module}.py").read_text())
    on_device(module, function, heap=heap[1] if heap else HEAP)


def test_the_largest_release_costs_little_memory(on_device, tmp_path: Path) -> None:
    files = sorted((f"folder{number % 9}/file{number}.py", number, bytes(32)) for number in range(256))
    manifest = Manifest(product="p", board="b", version="1", epoch=0, sequence=1, files=files)
    (tmp_path / "manifest").write_bytes(manifest.encode())
    resident_bytes = int(on_device("appfs_files", "many_files", str(tmp_path / "manifest")))
    assert resident_bytes < 2500  # on 64 bits
