"""The two commands of the README, and how they fail on a machine that lacks something."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def environment_script(tree: Path, folder: Path, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run .ci/environment with only the programs in `path`."""
    script = tree / ".ci" / "environment"
    return subprocess.run(
        ["/bin/sh", script, os.path.relpath(folder, tree)],
        env={"PATH": str(path), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("dirname", "rm", "grep"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_a_machine_without_python(source_tree: Path, tmp_path: Path, programs: Path) -> None:
    done = environment_script(source_tree, tmp_path / "venv", programs)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Python 3.11 or newer found\n")
    assert "apt install python3 python3-venv" in done.stderr


def test_a_python_that_is_too_old(source_tree: Path, tmp_path: Path, programs: Path) -> None:
    old = programs / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = environment_script(source_tree, tmp_path / "venv", programs)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: no Python 3.11 or newer found")


def test_a_debian_without_venv(source_tree: Path, tmp_path: Path, programs: Path) -> None:
    # Debian's python3 without python3-venv: the interpreter runs, ensurepip cannot be imported.
    bare = programs / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n')
    bare.chmod(0o755)
    done = environment_script(source_tree, tmp_path / "venv", programs)
    assert done.returncode == 1
    assert done.stderr == (
        "error: python3 cannot make virtual environments\nOn Debian or Ubuntu: apt install python3-venv\n"
    )


def test_make_shows_its_targets(source_tree: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("no `make` on PATH")
    shown = subprocess.run(["make", "-C", source_tree, "help"], capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "check", "bench"):
        assert f"make {target}" in shown


def test_ci_runs_what_the_readme_says(source_tree: Path) -> None:
    script = (source_tree / ".ci" / "run").read_text()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    assert os.access(source_tree / ".ci" / "run", os.X_OK)
    assert script.index("\nmake test") < script.index("\nmake check")
    assert "make test" in (source_tree / "README.md").read_text()
