"""Optional parts are optional, and the program starts quickly."""

import json
import subprocess
import sys

from heirloom.cli.extras import EXTRAS

OPTIONAL = sorted({module.partition(".")[0] for modules in EXTRAS.values() for module in modules})

# Imports every host module with the optional parts out of reach; prints what failed, and for want of what.
WITHOUT_EXTRAS = """
import importlib, json, pkgutil, sys
BLOCKED = set(json.loads(sys.argv[1]))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
failed, imported = {}, []
for folder in ("cli", "boards", "signing", "server", "hil"):
    package = importlib.import_module(f"heirloom.{folder}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        if module.name.endswith(".__main__") or ".shims" in module.name:
            continue
        try:
            importlib.import_module(module.name)
            imported.append(module.name)
        except ModuleNotFoundError as exc:
            failed[module.name] = exc.name
print(json.dumps({"failed": failed, "imported": imported}))
"""

LOADED_BY_HELP = """
import json, sys
from heirloom.cli import main
code = main.run(["--help"])
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def last_line(script: str, *arguments: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def test_everything_imports_without_extras() -> None:
    """A module may want an extra, but no commands module and nothing that one imports at its top."""
    found = last_line(WITHOUT_EXTRAS, json.dumps(OPTIONAL))
    failed, imported = found["failed"], found["imported"]
    assert isinstance(failed, dict)
    assert isinstance(imported, list)
    assert {name: lacking for name, lacking in failed.items() if lacking.partition(".")[0] not in OPTIONAL} == {}
    for folder in ("cli", "boards", "signing", "server", "hil"):
        assert f"heirloom.{folder}.commands" in imported


def test_help_loads_nothing_heavy() -> None:
    found = last_line(LOADED_BY_HELP)
    assert found["code"] == 0
    modules = found["modules"]
    assert isinstance(modules, list)
    heavy = {
        "tuf",
        "securesystemslib",
        "cryptography",
        "fastapi",
        "uvicorn",
        "starlette",
        "httpx",
        "rich",
        "littlefs",
        "tomlkit",
        "cbor2",
    }
    assert heavy & set(modules) == set()
