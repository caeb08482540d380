"""The plugin as outsiders use it: pytest in a folder of their own, which knows nothing of this one."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.cli.main import call, run
from heirloom.hil.results import read

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WEATHER = EXAMPLES / "weather"

UPDATE = (EXAMPLES / "ci" / "test_update.py").read_text()

TROUBLE = """
import pytest
from heirloom.cli.errors import RigTrouble

def test_release():
    raise RigTrouble("the relay does not click")

def test_bad():
    assert 1 == 2

@pytest.fixture
def loose():
    raise RigTrouble("the cable is loose")

def test_setup(loose):
    pass
"""

STRANGER = """
import sys

def test_nothing_of_it_is_loaded():
    loaded = [name for name in sys.modules if name.startswith("heirloom.")]
    assert loaded in ([], ["heirloom.hil", "heirloom.hil.plugin"]), loaded
"""


def outsider(folder: Path, tests: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Somebody else's pytest."""
    (folder / "test_own.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def test_a_stranger_is_not_disturbed(tmp_path: Path) -> None:
    done = outsider(tmp_path, STRANGER, "-W", "error")
    assert done.returncode == 0, done.stdout


def test_trouble_of_the_rig_is_an_error_and_no_failure(tmp_path: Path) -> None:
    done = outsider(tmp_path, TROUBLE)
    assert "1 failed, 2 errors" in done.stdout
    assert re.search(r"^FAILED test_own.py::test_bad", done.stdout, re.MULTILINE)
    assert re.search(r"^ERROR test_own.py::test_release .*the relay does not click", done.stdout, re.MULTILINE)


@pytest.fixture
def makers_project(tmp_path: Path, micropython: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A maker with a release in the field and the next one in the folder."""
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", "throwaway")
    folder = tmp_path / "maker"
    folder.mkdir()
    own = ["--project", str(folder), "--yes"]
    places = ["--url", "http://updates.weather.example/", "--url", "http://mirror.example/"]
    keep = ["--keep", "settings.json", "--contact", "security@weather.example"]
    call(["init", "--name", "weather", "--board", "SIM_RPI_PICO_W", *places, *keep, *own])
    (folder / "app").rename(folder / "none") if (folder / "app").exists() else None
    app = folder / "app"
    app.symlink_to(WEATHER / "1.0.0")
    call(["release", "build", "--version", "1.0.0", *own])
    call(["release", "sign", "1.0.0", *own])
    call(["release", "publish", "1.0.0", "--channel", "stable", *own])
    app.unlink()
    app.symlink_to(WEATHER / "1.1.0")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_maker_tests_the_step_that_the_field_takes_and_can_attest_it(
    makers_project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call(["release", "build", "--version", "1.1.0", "--project", str(makers_project)])
    (makers_project / "rig.toml").write_text('[devices.quick]\ndriver = "sim"\nboard = "SIM_RPI_PICO_W"\n')
    (makers_project / "test_own.py").write_text(UPDATE)
    monkeypatch.chdir(makers_project)
    # No key of the maker's is needed, and none is within reach.
    monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "no-keys-here"))
    monkeypatch.delenv("HEIRLOOM_PASSPHRASE")
    asked = ["--rig", "rig.toml", "--tests", "test_own.py", "--release", "1.1.0", "--to", str(tmp_path / "results")]
    outcome = call(["hil", "run", *asked])
    assert isinstance(outcome, dict)
    assert outcome["passed"] == ["test_the_field_takes_this_release[quick]"]
    assert outcome["devices"]["quick"] == {"uses": 1, "retries": 0, "troubles": 0}
    report = read(tmp_path / "results" / "junit.xml")
    manifest = makers_project / ".heirloom" / "releases" / "SIM_RPI_PICO_W" / "1.1.0" / "manifest.cbor"
    assert report.releases == {hashlib.sha256(manifest.read_bytes()).hexdigest()}
    assert [device.name for device in report.results.devices] == ["quick"]
    listed = call(["hil", "list", "--rig", "rig.toml"])
    assert isinstance(listed, dict)
    assert [(one["name"], one["quarantine"]) for one in listed["devices"]] == [("quick", None)]
    assert not (tmp_path / "no-keys-here").exists()


def test_trouble_has_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_own.py").write_text(TROUBLE)
    assert run(["hil", "run", "--tests", "test_own.py", "-k", "release or setup"]) == 4
    assert "RIG TROUBLE test_release" in capfd.readouterr().out
    assert run(["hil", "run", "--tests", "test_own.py", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert (list(found["failed"]), sorted(found["errors"])) == (["test_bad"], ["test_release", "test_setup"])


def test_forks_reach_neither_devices_nor_keys() -> None:
    """The example workflow: the job for pull requests has no secret, and no pull request starts the other."""
    yaml = pytest.importorskip("yaml", reason="no pyyaml: pip install the development tools")
    workflow = yaml.safe_load((EXAMPLES / "ci" / "devices.yml").read_text())
    assert set(workflow[True]) == {"pull_request", "schedule", "workflow_dispatch"}  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["jobs"]) == {"pull-request", "nightly"}
    open_job, nightly = workflow["jobs"]["pull-request"], workflow["jobs"]["nightly"]
    for word in ("secrets.", "self-hosted", "attest", "environment"):
        assert word not in yaml.dump(open_job)
    assert "github.event_name != 'pull_request'" in nightly["if"]
    assert "refs/heads/main" in nightly["if"]
    assert nightly["environment"] == "rig"


def test_without_anything_published_it_says_so(tmp_path: Path, micropython: Path) -> None:
    done = outsider(tmp_path, UPDATE, "--heirloom-driver=sim:SIM_RPI_PICO_W", "-rs")
    assert "1 skipped" in done.stdout, done.stdout
    assert "there is no project here" in done.stdout


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    done = outsider(tmp_path, UPDATE, "--heirloom-driver=toaster")
    assert "no driver 'toaster'" in done.stdout + done.stderr
    assert done.returncode


BREAKS = """
from heirloom.cli.errors import RigTrouble

def loose():
    raise RigTrouble("the cable is loose")

def test_first(device):
    device.driver.power_on = loose
    device.on()

def test_second(device):
    device.on()
"""


def test_a_broken_device_stays_broken_with_its_log(tmp_path: Path, micropython: Path) -> None:
    (tmp_path / "rig.toml").write_text('[devices.quick]\ndriver = "sim"\nboard = "SIM_RPI_PICO_W"\n')
    done = outsider(tmp_path, BREAKS, "--heirloom-rig=rig.toml")
    assert "2 errors" in done.stdout, done.stdout
    assert re.search(r"^ERROR .*test_first.*the cable is loose", done.stdout, re.MULTILINE)
    assert re.search(r"^ERROR .*test_second.*in quarantine since .*the cable is loose", done.stdout, re.MULTILINE)
    rig = str(tmp_path / "rig.toml")
    listed = call(["hil", "list", "--rig", rig])
    assert isinstance(listed, dict)
    (one,) = listed["devices"]
    assert one["quarantine"]["reason"] == "the cable is loose"
    assert one["statistics"]["troubles"] == 1
    listed = call(["hil", "list", "--rig", rig, "--release", "quick"])
    assert isinstance(listed, dict)
    assert listed["devices"][0]["quarantine"] is None
