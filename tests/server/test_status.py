"""What `status` says, and when it asks for attention."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from heirloom.server import status

PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"


@pytest.fixture
def at(monkeypatch):
    """Look at the repository some days from now."""

    def move(days: float) -> None:
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        monkeypatch.setattr("heirloom.signing.metadata.utc_now", lambda: later)

    return move


def test_all_is_well(project, heirloom):
    ran = heirloom("status", "--json")
    assert ran.code == 0
    assert ran.json["attention"] == []
    found = {role["role"]: role for role in ran.json["roles"]}
    boards = {f"{kind}-{board}" for kind in ("releases", "channels") for board in (PICO, ESP)}
    assert set(found) == {"root", "targets", "snapshot", "timestamp", *boards}
    assert found["root"]["threshold"] == 2
    assert found["root"]["keys_here"] == ["root-1", "root-2", "root-3"]
    assert found["root"]["renew"] == "2 of root-1, root-2, root-3 must sign a new version"
    assert "heirloom renew" in found["timestamp"]["renew"]
    assert ran.json["boards"] == [
        {"board": PICO, "channels": {"stable": "1.0.0"}, "releases": ["1.0.0"], "archived": 0, "archive_expires": None},
        {"board": ESP, "channels": {"stable": "1.0.0"}, "releases": ["1.0.0"], "archived": 0, "archive_expires": None},
    ]


@pytest.mark.parametrize(
    ("days", "roles"),
    [
        (5, set()),
        (5.5, {"timestamp"}),
        (7.1, {"timestamp"}),
        (11, {"timestamp", "snapshot"}),
        (70, {"timestamp", "snapshot", f"channels-{PICO}", f"channels-{ESP}"}),
        (
            305,
            {
                "timestamp",
                "snapshot",
                f"channels-{PICO}",
                f"channels-{ESP}",
                f"releases-{PICO}",
                f"releases-{ESP}",
                "targets",
            },
        ),
    ],
)
def test_attention(project, heirloom, at, days, roles):
    at(days)
    ran = heirloom("status", "--json")
    assert ran.code == (3 if roles else 0)
    assert {role["role"] for role in ran.json["roles"] if role["state"] != "ok"} == roles
    assert {line.split()[0] for line in ran.json["attention"]} == roles


def test_expired_is_told_from_soon(project, heirloom, at):
    at(6)
    assert "timestamp expires on" in heirloom("status").out
    at(8)
    assert "timestamp expired on" in heirloom("status").out


def test_renewing_ends_the_attention(project, heirloom, at, monkeypatch):
    at(6)
    assert heirloom("status").code == 3
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=6)
    monkeypatch.setattr("heirloom.server.publish.utc_now", lambda: later)
    assert heirloom("renew").code == 0
    assert heirloom("status").code == 0


def test_keys_elsewhere(project, heirloom):
    shutil.rmtree(project.keys_dir())
    found = {role["role"]: role for role in heirloom("status", "--json").json["roles"]}
    assert found["timestamp"]["keys_here"] == []
    assert found["timestamp"]["renew"] == "`heirloom renew` where its key is"


def test_places_that_would_all_go_away(monkeypatch):
    assert status._few_places(["https://a.example.org/", "https://b.example.net/"]) == []
    for urls in ([], ["https://a.example.org/"], ["https://a.example.org/", "https://b.example.org/"]):
        (line,) = status._few_places(urls)
        assert "go away together" in line


def test_a_damaged_repository_is_told(project, heirloom):
    path = project.repository / "metadata/1.targets.json"
    path.write_bytes(path.read_bytes().replace(b"releases", b"releasez", 1))
    ran = heirloom("status")
    assert ran.code == 1
    assert "1.targets.json" in ran.err
