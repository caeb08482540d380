"""The calendar in `status`: what expires when, who must sign, what breaks for whom; one step renews."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heirloom.signing import keyfile
from heirloom.signing.keys import KeyStore

PASSPHRASE = "correct horse battery staple"
PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
CLOCKS = ("heirloom.signing.metadata", "heirloom.server.finishing", "heirloom.signing.ceremony.starting")
CLOCKS += ("heirloom.signing.ceremony.signing", "heirloom.signing.ceremony.report", "heirloom.signing.repository")
CLOCKS += ("heirloom.server.store", "heirloom.server.publish")


@pytest.fixture(autouse=True)
def _no_power_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    def move(days: float) -> None:
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        for module in CLOCKS:
            monkeypatch.setattr(f"{module}.utc_now", lambda: later)

    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    return move


def role(heirloom: Any, name: str) -> dict[str, Any]:
    return next(role for role in heirloom("status", "--json").json["roles"] if role["role"] == name)


def test_who_and_what_for_whom(project: Any, heirloom: Any) -> None:
    targets, releases = role(heirloom, "targets"), role(heirloom, f"releases-{PICO}")
    assert targets["holders"] == ["targets-1", "targets-2", "targets-3"]
    assert targets["boards"] == [PICO, ESP]
    assert targets["command"] == "heirloom ceremony start --renew targets"
    assert "all devices" in targets["breaks"]
    assert releases["boards"] == [PICO]
    assert f"devices of {PICO} keep what they run" in releases["breaks"]
    assert role(heirloom, "timestamp")["command"] == "heirloom renew"


def test_holders_are_called_by_their_names(project: Any, heirloom: Any, at: Any) -> None:
    KeyStore(project.keys_dir()).create("k7", PASSPHRASE)
    argv = ("--replace-key", "targets-1=k7", "--holder", "k7=Dora")
    assert heirloom("ceremony", "start", *argv).code == 0
    assert heirloom("ceremony", "sign", "--yes").code == 0
    assert heirloom("ceremony", "finish").code == 0
    assert "Dora" in role(heirloom, "targets")["holders"]
    at(320)
    ran = heirloom("status", "--json")
    assert ran.code == 3
    line = next(line for line in ran.json["attention"] if line.startswith("targets "))
    assert "2 of targets-2, targets-3, Dora must sign" in line
    assert "refuse every update as stale" in line


@pytest.mark.parametrize("name", ["root", "targets", f"releases-{PICO}"])
def test_one_step_renews(project: Any, heirloom: Any, at: Any, name: str) -> None:
    before = role(heirloom, name)
    at(200)
    started = heirloom("ceremony", "start", "--renew", name, "--json").json
    said = [change["sentence"] for change in started["changes"] if change["kind"] != "holder"]
    assert all("valid until" in text or "same 1 releases" in text for text in said)
    assert heirloom("ceremony", "sign", "--yes").code == 0
    assert heirloom("ceremony", "finish").code == 0
    after = role(heirloom, name)
    assert after["version"] == before["version"] + 1
    assert after["expires"] > before["expires"]
    assert heirloom("channel", "show", "--json").json["boards"][PICO] == {"stable": "1.0.0"}


def test_an_offline_role_that_has_expired_can_be_renewed(project: Any, heirloom: Any, at: Any) -> None:
    at(400)
    assert heirloom("renew").code == 1
    names = ("targets", *(f"releases-{board}" for board in (PICO, ESP)))
    assert heirloom("ceremony", "start", *(word for name in names for word in ("--renew", name))).code == 0
    assert heirloom("ceremony", "sign", "--yes").code == 0
    ran = heirloom("ceremony", "finish")
    assert ran.code == 0, ran.err
    assert heirloom("renew", "--all").code == 0
    assert heirloom("status").code == 0


def test_ceremonies_that_wait_are_shown(project: Any, heirloom: Any, at: Any) -> None:
    heirloom("ceremony", "start", "--threshold", "root=3")
    ran = heirloom("status", "--json")
    assert ran.code == 0
    (waiting,) = ran.json["ceremonies"]
    assert waiting["waiting"] == ["root-1", "root-2", "root-3"]
    at(800)
    ran = heirloom("status", "--json")
    assert ran.code == 3
    assert any("expired on" in line and line.startswith("ceremony") for line in ran.json["attention"])


def test_online_roles_cannot_be_renewed_by_people(project: Any, heirloom: Any) -> None:
    ran = heirloom("ceremony", "start", "--renew", "timestamp")
    assert ran.code == 2
    assert "`heirloom renew`" in ran.err


def test_after_each_new_root_it_insists_on_a_new_will(project: Any, heirloom: Any, at: Any, tmp_path: Any) -> None:
    assert heirloom("status", "--json").json["will"] is None
    KeyStore(tmp_path / "eva").create("eva", PASSPHRASE)
    people = [
        "--successor",
        f"eva={tmp_path}/eva/eva.pub.json",
        "--trustee",
        "ada",
        "--trustee",
        "ben",
        "--needed",
        "2",
    ]

    def write(stick: str) -> None:
        ran = heirloom("will", "write", *people, "--shares", tmp_path / stick, "--yes")
        assert ran.code == 0, ran.err

    write("first")
    for root, stick in ((2, "second"), (3, "third")):
        ran = heirloom("status", "--json")
        assert (ran.code, ran.json["attention"]) == (0, [])
        assert ran.json["will"]["state"] == "live"
        assert ran.json["will"]["root"] == root
        for words in (["start", "--renew", "root"], ["sign", "--yes"], ["finish"]):
            assert heirloom("ceremony", *words).code == 0
        ran = heirloom("status", "--json")
        assert ran.code == 3
        assert ran.json["will"]["state"] == "void"
        (line,) = ran.json["attention"]
        assert f"no will follows root {root}" in line
        assert "`heirloom will write`" in line
        assert "Will for root" in heirloom("status").out
        write(stick)
    assert heirloom("status").code == 0
    # Other roles than root void nothing.
    for words in (["start", "--renew", "targets"], ["sign", "--yes"], ["finish"]):
        assert heirloom("ceremony", *words).code == 0
    assert heirloom("status").code == 0


def test_the_json_has_all_that_people_are_shown(project: Any, heirloom: Any, at: Any) -> None:
    """What expires when, who signs, what with, what breaks for whom: for monitoring, without reading prose."""
    at(320)
    ran = heirloom("status", "--json")
    assert ran.code == 3
    assert set(ran.json) == {"product", "urls", "roles", "boards", "ceremonies", "will", "attention"}
    for found in ran.json["roles"]:
        assert set(found) == {
            "role", "version", "expires", "state", "threshold", "keys_here", "renew", "holders", "command", "boards",
            "breaks",
        }  # fmt: skip
        assert found["state"] in ("ok", "soon", "expired")
        assert found["holders"]
        assert found["command"]
        named = [line for line in ran.json["attention"] if line.startswith(f"{found['role']} ")]
        assert len(named) == (found["state"] != "ok")
        assert all(found["breaks"] in line and found["command"] in line for line in named)
