"""The demo: every claim holds, it leaves nothing behind unless asked, and a claim that fails is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.cli.main import run
from heirloom.hil.demo import command
from heirloom.hil.demo.narrator import Narrator

PROGRAM = "from heirloom.cli.main import main; main()"
CLAIMS_AT_LEAST = 20


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_claim_of_the_demo_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    argv = [sys.executable, "-c", PROGRAM, "demo", "--json", "--keep", str(kept)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=220)
    story = json.loads(done.stdout)
    assert story["failed"] == []
    assert story["ok"] is True
    assert done.returncode == 0, done.stderr
    claims = [claim for chapter in story["chapters"] for claim in chapter["claims"]]
    assert len(claims) == story["claims"] >= CLAIMS_AT_LEAST
    assert all(claim["held"] is True for claim in claims)
    assert len({claim["text"] for claim in claims}) == len(claims)
    assert (kept / "project/heirloom.toml").is_file()
    assert (kept / "project/.heirloom/devices/garden/console.log").is_file()
    assert "HEIRLOOM_PASSPHRASE" in (kept / "README.txt").read_text()


def test_a_folder_in_use_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").touch()
    assert run(["demo", "--keep", str(tmp_path)]) == 2
    assert "is not an empty folder" in capfd.readouterr().err


def test_a_failed_claim_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "_tell", lambda *_, **__: {"ok": False, "failed": ["a claim"]})
    assert run(["demo", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["failed"] == ["a claim"]


def test_a_claim_that_does_not_hold_is_told() -> None:
    narrator = Narrator()
    with narrator.chapter("One"):
        narrator.claim("water is wet", True)
        narrator.claim("the moon is cheese", False, {"seen": "rock"})
    story = narrator.document()
    assert story["ok"] is False
    assert story["failed"] == ["the moon is cheese"]
    assert story["claims"] == 2
