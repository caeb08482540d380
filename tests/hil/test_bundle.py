"""How the client's modules are put together for a device."""

import ast
import subprocess
from pathlib import Path

import pytest

from heirloom import boards
from heirloom.cli.errors import HeirloomError
from heirloom.hil import bundle as bundling
from heirloom.hil.bundle import bundle
from heirloom.hil.provision import client_files, client_sources

#: Bytes of .mpy that a whole update check loads, signature schemes apart (docs/adr/0008).
CORE_BUDGET = 20 * 1024
# 13 KiB of it are the owner's (presence, ownership, menu, button, media), 4 patches, 3 migrations and health checks,
# 4 fetching beside the application.
CLIENT_BUDGET = (84 + 13 + 4 + 3 + 4) * 1024
FIRMWARE_BUDGET = 4 * 1024  # more, on an ESP32

# A bundle of two, a module that uses it, and one that it loads when it needs it.
LOW = """
from heirloom.device.compat import const
TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any
LIMIT = const(7)
NAMES = ("a", "b")
class Box:
    def __init__(self, size: "Any", lid: bool = False) -> None:
        self.size = size
        self.lid = lid
    def grow(self, by: int) -> int:
        return [self.size + by + extra for extra in (0, 1)][1]
def outer(value):
    def inner():
        return value
    return inner()
"""
HIGH = """
from heirloom.device.low import LIMIT, NAMES, Box, outer
from heirloom.device.codes import E_ONE
def report() -> "list[object]":
    from heirloom.device.low import Box
    from heirloom.device.rare import extra
    box = Box(LIMIT, lid=True)
    return [box.grow(2), box.lid, NAMES, E_ONE, outer(5), extra(), LIMIT]
"""
CODES = 'E_ONE = "E_ONE"\nE_TWO = "E_TWO"\n'
RARE = "from heirloom.device.low import LIMIT, Box\ndef extra():\n    return Box(LIMIT).grow(0)\n"
COMPAT = "def const(value):\n    return value\n"
SOURCES = {"compat": COMPAT, "low": LOW, "high": HIGH, "codes": CODES, "rare": RARE}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "BUNDLES", (("low", "high"),))


@pytest.mark.usefixtures("small")
def test_a_bundle_does_what_its_modules_did(micropython: Path, tmp_path: Path) -> None:
    package = tmp_path / "heirloom" / "device"
    package.mkdir(parents=True)
    said = []
    for modules in (SOURCES, bundle(SOURCES)):
        for path in package.iterdir():
            path.unlink()
        for name, source in modules.items():
            (package / f"{name}.py").write_text(source)
        code = "from heirloom.device.high import report\nprint(report())"
        done = subprocess.run(
            [micropython, "-c", code],
            env={"MICROPYPATH": f"{tmp_path}:.frozen"},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout)
    assert said[0] == said[1] == "[10, True, ('a', 'b'), 'E_ONE', 5, 8, 7]\n"


@pytest.mark.usefixtures("small")
def test_modules_of_a_bundle_are_gone_and_those_outside_find_it() -> None:
    made = bundle(SOURCES)
    assert made.keys() == {"high", "codes", "rare"}
    assert "heirloom.device.low" not in made["high"] + made["rare"]
    assert "from heirloom.device.high import Box" in made["rare"]
    assert "E_TWO = 'E_TWO'" in made["codes"]
    assert "E_ONE" not in made["high"].replace("'E_ONE'", "")
    assert made == bundle(SOURCES)


@pytest.mark.usefixtures("small")
def test_parameters_that_are_passed_by_name_keep_it() -> None:
    functions = [node for node in ast.walk(ast.parse(bundle(SOURCES)["high"])) if isinstance(node, ast.FunctionDef)]
    parameters = {function.name: [parameter.arg for parameter in function.args.args] for function in functions}
    assert parameters == {
        "__init__": ["_0", "_1", "lid"],
        "grow": ["_0", "_1"],
        "outer": ["value"],
        "inner": [],
        "report": [],
    }


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("high", "def outer():\n    pass\n", "high gives outer a second meaning"),
        ("high", "import low as Box\n", "high gives Box a second meaning"),
        ("high", "def len():\n    pass\n", "high gives len a second meaning"),
        ("high", "from heirloom.device import low\n", "high imports the module low"),
        ("rare", "from heirloom.device import low\n", "rare imports the module low"),
        ("high", "from heirloom.device.low import Box as Case\n", "high imports Box as Case"),
    ],
)
def test_what_cannot_be_put_together_is_refused(name: str, source: str, complaint: str) -> None:
    with pytest.raises(HeirloomError, match=complaint):
        bundle(SOURCES | {name: source})


@pytest.mark.parametrize("board", ["RPI_PICO_W", "ESP32_GENERIC", "ESP32_GENERIC_C3"])
def test_the_core_and_the_client_keep_to_their_budgets(board: str) -> None:
    files = client_files(boards.load(board))
    sizes = {Path(path).stem: len(data) for path, data in files.items() if path.endswith(".mpy")}
    assert sizes["tuf"] + sizes["errors"] < CORE_BUDGET
    assert sum(sizes.values()) < CLIENT_BUDGET + (FIRMWARE_BUDGET if board.startswith("ESP32") else 0)


def test_every_part_of_a_bundle_is_a_module_of_the_client() -> None:
    assert {part for parts in bundling.BUNDLES for part in parts} <= client_sources().keys()
