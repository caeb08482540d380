"""Publishing, channels and renewing from the command line, on a product with two boards."""

import shutil
from datetime import timedelta

import pytest
from tuf.api.metadata import Metadata

from heirloom.device.manifest import Manifest
from heirloom.server import durable, publish
from heirloom.server.publish import Publisher
from heirloom.server.store import Store
from heirloom.signing import built
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import next_role, sign, to_bytes, utc_now
from heirloom.signing.repository import Repository

PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"


def timestamp(project) -> int:
    return Repository(project.repository).timestamp().signed.version


def test_publish_and_point_in_one_commit(project, heirloom):
    before = timestamp(project)
    ran = heirloom("release", "publish", "1.1.0", "--channel", "stable", "--json")
    assert ran.code == 0
    assert ran.json["moved"] == [
        {"board": PICO, "version": "1.1.0", "channel": ""},
        {"board": ESP, "version": "1.1.0", "channel": ""},
        {"board": PICO, "version": "1.1.0", "channel": "stable"},
        {"board": ESP, "version": "1.1.0", "channel": "stable"},
    ]
    assert timestamp(project) == ran.json["timestamp"] == before + 1
    assert heirloom("channel", "show", "--json").json == {
        "boards": {PICO: {"stable": "1.1.0"}, ESP: {"stable": "1.1.0"}}
    }


def test_publish_alone_moves_no_channel(project, heirloom):
    assert heirloom("release", "publish", "1.1.0").code == 0
    assert heirloom("channel", "show", "--json").json["boards"][PICO] == {"stable": "1.0.0"}
    assert heirloom("channel", "set", "beta", "1.1.0", "--board", PICO).code == 0
    assert heirloom("channel", "show", "--json").json["boards"] == {
        PICO: {"beta": "1.1.0", "stable": "1.0.0"},
        ESP: {"stable": "1.0.0"},
    }


def test_one_board_after_the_other(project, heirloom):
    assert heirloom("release", "publish", "1.1.0", "--board", PICO).code == 0
    assert [release.version for release in Repository(project.repository).releases(ESP)] == ["1.0.0"]
    ran = heirloom("release", "publish", "1.1.0", "--json")
    assert [moved["board"] for moved in ran.json["moved"]] == [ESP]
    assert heirloom("release", "publish", "1.1.0").code == 1


def test_dry_run_changes_nothing_and_opens_no_key(project, heirloom, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_PASSPHRASE")
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    for argv in (
        ["release", "publish", "1.1.0", "--channel", "beta"],
        ["channel", "set", "beta", "1.0.0"],
        ["renew"],
        ["renew", "--all"],
    ):
        ran = heirloom(*argv, "--dry-run", "--json")
        assert (ran.code, ran.json["dry_run"]) == (0, True), argv
    assert {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()} == before


def test_a_file_descriptor_gives_the_passphrase(project, heirloom, monkeypatch, tmp_path):
    monkeypatch.delenv("HEIRLOOM_PASSPHRASE")
    (tmp_path / "secret").write_text("correct horse battery staple\n")
    with (tmp_path / "secret").open() as secret:
        assert heirloom("renew", "--passphrase-fd", secret.fileno()).code == 0


def refused(project, heirloom, argv: list[str], code: int, words: str) -> None:
    """One clear line and maybe advice; nothing published; --debug tells more."""
    before = timestamp(project)
    ran = heirloom(*argv)
    assert ran.code == code, ran
    first, *advice = ran.err.splitlines()
    assert first.startswith("error: ")
    assert words in first
    assert len(advice) <= 1
    assert "Traceback" in heirloom(*argv, "--debug").err
    assert timestamp(project) == before


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["release", "publish", "1.0.0"], 1, "already published"),
        (["release", "publish", "2.0.0"], 1, "was not built"),
        (["release", "publish", "../1"], 2, "is no version"),
        (["release", "publish", "1.1.0", "--board", "NOBOARD"], 1, "no board NOBOARD"),
        (["release", "publish", "1.1.0", "--channel", "../x"], 2, "is no name for a channel"),
        (["channel", "set", "Stable!", "1.0.0"], 2, "is no name for a channel"),
        (["channel", "set", "stable", "1.1.0"], 1, "no release 1.1.0 is published"),
        (["channel", "set", "stable", "1.1.0", "--board", PICO], 1, "no release 1.1.0"),
        (["channel", "set", "stable", "1.0.0", "--board", "NOBOARD"], 1, "no board NOBOARD"),
        (["channel", "show", "--board", "NOBOARD"], 1, "NOBOARD"),
        (["serve", "--repository", "nowhere"], 1, "no repository in nowhere"),
        (["serve", "--host", "192.0.2.1"], 1, "cannot listen on 192.0.2.1"),
        (["serve", "--host", "not a host"], 1, "cannot listen on not a host"),
        (["get", PICO, "--url", "ftp://127.0.0.1/"], 2, "ftp://127.0.0.1/"),
        (["get", PICO, "--url", "http://127.0.0.1:9/"], 1, "cannot reach http://127.0.0.1:9/"),
        (["get", PICO, "--root", "nowhere.json"], 1, "cannot read the root nowhere.json"),
    ],
)
def test_refusals(project, heirloom, argv, code, words):
    refused(project, heirloom, argv, code, words)


def test_refuses_what_is_not_signed(project, heirloom):
    shutil.rmtree(project.state_dir / "signed")
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "is not signed")


def test_refuses_a_signature_of_the_wrong_key(project, heirloom):
    path = project.state_dir / f"signed/3.releases-{PICO}.json"
    metadata = Metadata.from_bytes(path.read_bytes())
    metadata.signed.expires += timedelta(days=1)
    path.write_bytes(metadata.to_bytes())
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "carries no valid signature")


def test_refuses_a_missing_or_changed_blob(project, heirloom):
    (blob, *_) = [
        path for path in (project.state_dir / f"releases/{PICO}/1.1.0/blobs").iterdir() if path.stat().st_size
    ]
    content = blob.read_bytes()
    blob.write_bytes(content + b"#")
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "does not have its SHA-256")
    blob.unlink()
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "is missing")
    blob.write_bytes(content)
    assert heirloom("release", "publish", "1.1.0").code == 0


@pytest.mark.parametrize("sequence", [1, 2])
def test_refuses_a_lower_or_equal_order(project, heirloom, sequence):
    """`release sign` would not sign it; a holder of the key with another tool can."""
    heirloom("release", "publish", "1.1.0")
    folder = project.state_dir / "releases" / PICO
    shutil.copytree(folder / "1.0.0", folder / "1.0.1")
    manifest = Manifest.decode((folder / "1.0.1/manifest.cbor").read_bytes())
    manifest.version, manifest.sequence = "1.0.1", sequence
    (folder / "1.0.1/manifest.cbor").write_bytes(manifest.encode())
    role = f"releases-{PICO}"
    metadata = next_role(Repository(project.repository).role(role), role, utc_now())
    target = built.load(project, PICO, "1.0.1").target()
    metadata.signed.targets[target.path] = target
    sign(metadata, role_signers(project, role))
    (project.state_dir / f"signed/4.{role}.json").write_bytes(to_bytes(metadata))
    refused(project, heirloom, ["release", "publish", "1.0.1"], 1, "not above the published (0, 2)")


def test_refuses_a_channel_to_a_release_with_a_missing_content(project, heirloom):
    manifest = Repository(project.repository).manifest(PICO, "1.0.0")
    path, _, sha256 = list(manifest.files)[-1]
    (project.repository / "blobs" / sha256.hex()).unlink()
    refused(project, heirloom, ["channel", "set", "beta", "1.0.0"], 1, f"lacks the content of {path}")


def test_refuses_without_keys(project, heirloom):
    shutil.rmtree(project.keys_dir())
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "no key of the role snapshot is here")


def test_refuses_a_wrong_passphrase(project, heirloom, monkeypatch):
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", "wrong")
    refused(project, heirloom, ["renew"], 1, "wrong passphrase")


def test_refuses_without_anybody_to_ask(project, heirloom, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_PASSPHRASE")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    for command in (["renew"], ["serve", "--port", "0"], ["release", "publish", "1.1.0"]):
        refused(project, heirloom, command, 2, "nobody to ask for the passphrase")


@pytest.mark.parametrize(
    "command", [["release", "publish", "1.0.0"], ["channel", "show"], ["renew"], ["status"], ["serve"]]
)
def test_refuses_without_a_repository(project, heirloom, command):
    shutil.rmtree(project.repository)
    ran = heirloom(*command)
    assert (ran.code, ran.err.splitlines()[0]) == (1, f"error: there is no repository in {project.repository}")


def test_refuses_a_snapshot_that_is_too_large(project, heirloom, monkeypatch):
    monkeypatch.setattr("heirloom.signing.roles.SNAPSHOT_LIMIT_BYTES", 1000)
    refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "at most 1000 are allowed")


def test_going_down_is_warned_about(project, heirloom):
    heirloom("release", "publish", "1.1.0", "--channel", "stable")
    ran = heirloom("channel", "set", "stable", "1.0.0")
    assert ran.code == 0
    assert "will not go back" in ran.err


def test_setting_a_channel_twice_is_nothing(project, heirloom):
    before = timestamp(project)
    ran = heirloom("channel", "set", "stable", "1.0.0")
    assert ran.code == 0
    assert "Nothing to do" in ran.out
    assert timestamp(project) == before


def test_an_interrupted_publish_is_completed_by_the_same_command(project, heirloom, monkeypatch):
    """Cut after the twin of the timestamp is out: some clients have seen the release already."""
    replace = durable.Path.replace

    def cut(self, target):
        if target.name == "timestamp.json":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(durable.Path, "replace", cut)
        assert heirloom("release", "publish", "1.1.0", "--channel", "stable").code == 130
    assert Repository(project.repository).channels(PICO) == {"stable": "1.0.0"}
    ran = heirloom("release", "publish", "1.1.0", "--channel", "stable", "--json")
    assert (ran.code, ran.json["completed"]) == (0, True)
    assert Repository(project.repository).channels(PICO) == {"stable": "1.1.0"}
    assert heirloom("release", "publish", "1.1.0").code == 1


def test_another_publisher_at_work(project, heirloom, monkeypatch):
    monkeypatch.setattr(Store.__init__, "__kwdefaults__", {"lock_timeout_s": 0.1})
    with Store(project.repository).publishing():
        refused(project, heirloom, ["renew"], 1, "another program is publishing")
        refused(project, heirloom, ["release", "publish", "1.1.0"], 1, "another program is publishing")
    assert heirloom("renew").code == 0


# -- renewing


def versions(project) -> dict[str, int]:
    repository = Repository(project.repository)
    roles = ["timestamp", "snapshot", f"channels-{PICO}", f"channels-{ESP}", f"releases-{PICO}", "targets", "root"]
    return {role: repository.trusted.role(role).signed.version for role in roles}


def changed(project, step) -> set[str]:
    before = versions(project)
    step()
    after = versions(project)
    assert all(after[role] - before[role] in (0, 1) for role in after)
    return {role for role in after if after[role] != before[role]}


CHANNELS = {f"channels-{PICO}", f"channels-{ESP}"}


@pytest.mark.parametrize(
    ("days", "roles"),
    [
        (0, {"timestamp"}),
        (6, {"timestamp"}),
        (8, {"timestamp", "snapshot"}),
        (46, {"timestamp", "snapshot", *CHANNELS}),
    ],
)
def test_renews_what_is_due(project, monkeypatch, days, roles):
    later = utc_now() + timedelta(days=days)
    monkeypatch.setattr(publish, "utc_now", lambda: later)
    assert changed(project, Publisher(project).renew) == roles
    assert Repository(project.repository).timestamp().signed.expires == later + timedelta(days=7)


def test_renews_everything_online(project, heirloom):
    assert changed(project, lambda: heirloom("renew", "--all")) == {"timestamp", "snapshot", *CHANNELS}


def test_renews_the_timestamp_without_the_channels_keys(project, heirloom, monkeypatch):
    for path in project.keys_dir().glob("channels-*.pem"):
        path.unlink()
    later = utc_now() + timedelta(days=46)
    monkeypatch.setattr(publish, "utc_now", lambda: later)
    assert changed(project, lambda: heirloom("renew")) == {"timestamp", "snapshot"}


def test_cannot_renew_below_an_expired_root(project, heirloom, monkeypatch):
    later = utc_now() + timedelta(days=800)
    monkeypatch.setattr(publish, "utc_now", lambda: later)
    ran = heirloom("renew")
    assert ran.code == 1
    assert "root expired on" in ran.err
