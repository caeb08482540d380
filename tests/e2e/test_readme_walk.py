"""The first release of the README as it stands there: a shell in an empty folder, a real server, a device."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START, END = "## A first release in five minutes", "## Promises"
PORT = "8000"
# The server of the walk: ended with the shell, and awaited before the next line.
SERVE = """heirloom serve --port {port} >serve.log 2>&1 & trap "kill $!; wait" EXIT
for _ in $(seq 100); do grep -q http serve.log && break; sleep 0.1; done"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _script(readme: str, port: int) -> str:
    """The lines of the section; installing is what the tests' own environment has done."""
    section = readme[readme.index(START) : readme.index(END)]
    lines = "".join(block for block in BLOCK.findall(section) if "pip install" not in block)
    served = re.sub(r"^heirloom serve .*$", SERVE.format(port=port), lines, flags=re.MULTILINE)
    assert served != lines
    return served.replace(f":{PORT}/", f":{port}/").replace("../examples", "$EXAMPLES")


@pytest.mark.usefixtures("micropython")
def test_the_first_release_of_the_readme(source_tree: Path, tmp_path: Path) -> None:
    script = _script((source_tree / "README.md").read_text(encoding="utf-8"), _free_port())
    ran = subprocess.run(
        [shutil.which("bash") or "sh", "-euxc", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "EXAMPLES": str(source_tree / "examples"),
            "HEIRLOOM_PASSPHRASE": "a passphrase for a walk",
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "runs         1.0.0 (slot a)" in ran.stdout
    assert "release [0, 2] confirmed" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
