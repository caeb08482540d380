"""Locks across processes, quarantine, and the counts of flakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.cli.errors import RigTrouble
from heirloom.hil.rig.shelf import Shelf

HOLD = """
import sys
from pathlib import Path
from heirloom.hil.rig.shelf import Shelf
with Shelf(Path(sys.argv[1])).taken("pico", 0):
    print("taken", flush=True)
    sys.stdin.readline()
"""


def test_another_process_has_it(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        assert f"process {other.pid}" in (shelf.in_use("pico") or "")
        with pytest.raises(RigTrouble, match=f"in use by process {other.pid}"), shelf.taken("pico", 0.1):
            pass
        other.kill()
    with shelf.taken("pico", 5):  # the kernel has freed it with the process
        assert shelf.in_use("other") is None
    assert shelf.quarantine("pico") is None, "to be busy is no fault of the device"


def test_trouble_puts_a_device_aside_until_somebody_looked(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(RigTrouble, match="the cable is loose"), shelf.taken("pico", 0):
        raise RigTrouble("the cable is loose")
    kept = shelf.quarantine("pico")
    assert kept is not None
    assert kept.reason == "the cable is loose"
    said = r"in quarantine since .*: the cable is loose"
    with pytest.raises(RigTrouble, match=said) as found, shelf.taken("pico", 0):
        pass
    assert "--release pico" in found.value.advice
    assert shelf.release("pico")
    with shelf.taken("pico", 0):
        shelf.count("pico", retries=2)
    done = shelf.statistics("pico")
    assert (done.uses, done.retries, done.troubles) == (2, 2, 1)
    assert not shelf.release("pico")


def test_a_failed_test_puts_nothing_aside(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(AssertionError), shelf.taken("pico", 0):
        raise AssertionError("the release is bad")
    assert shelf.quarantine("pico") is None


def test_a_damaged_quarantine_is_still_one(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put_aside("pico", "broken")
    (tmp_path / "pico" / "quarantine.json").write_text("{")
    with pytest.raises(RigTrouble, match="is damaged"), shelf.taken("pico", 0):
        pass
