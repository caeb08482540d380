"""Old releases move to the archive's hash bins: what moves, what stays, who reads it, and who cannot sign it."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_product import make_releases
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater

from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import call
from heirloom.cli.project import Project
from heirloom.signing import archiving, bins, online, roles, rules, verify
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.repository import Repository

PICO = "SIM_RPI_PICO_W"
ROLE = roles.releases_role(PICO)
ROOT = Path(__file__).resolve().parents[2]


def listed(project: Project) -> list[str]:
    return [release.version for release in Repository(project.repository).releases(PICO)]


def test_no_archive_before_there_is_need_of_one(project: Project) -> None:
    assert bins.names(Repository(project.repository).role(ROLE)) == []


def test_only_what_is_current_stays_where_devices_look(archived: Project, heirloom: Callable[..., Any]) -> None:
    repository = Repository(archived.repository)
    assert listed(archived) == ["3.0.0", "4.0.0", "5.0.0", "6.0.0"]
    assert [release.version for release in repository.history(PICO)][:3] == ["1.0.0", "1.1.0", "2.0.0"]
    assert len([name for name in repository.snapshot().signed.meta if "archive" in name]) == 16
    found = heirloom("release", "list", "--board", PICO, "--json").json["releases"]
    assert {release["version"]: release["archived"] for release in found if release["state"] == "published"} == {
        "1.0.0": True, "1.1.0": True, "2.0.0": True, "3.0.0": False, "4.0.0": False, "5.0.0": False, "6.0.0": False,
    }  # fmt: skip
    assert heirloom("release", "verify", "1.0.0", "--board", PICO).code == 0
    assert heirloom("release", "show", "1.0.0", "--board", PICO).code == 0


def test_any_tuf_client_still_finds_an_archived_release(archived: Project, serve_project: str, tmp_path: Path) -> None:
    root = (archived.repository / "metadata/1.root.json").read_bytes()
    for folder in ("metadata", "targets"):
        (tmp_path / folder).mkdir()
    updater = Updater(
        str(tmp_path / "metadata"), f"{serve_project}metadata/", str(tmp_path / "targets"), f"{serve_project}targets/",
        bootstrap=root,
    )  # fmt: skip
    info = updater.get_targetinfo(f"releases/{PICO}/1.0.0.cbor")
    assert info is not None
    assert Path(updater.download_target(info)).read_bytes() == Repository(archived.repository).manifest_bytes(
        PICO, "1.0.0"
    )


def test_an_archived_version_is_neither_published_again_nor_served(
    archived: Project, heirloom: Callable[..., Any]
) -> None:
    again = heirloom("release", "build", "--version", "1.0.0", "--board", PICO)
    assert again.code == 1
    assert "already published" in again.err
    back = heirloom("channel", "set", "stable", "1.0.0", "--board", PICO)
    assert back.code == 1
    assert "in the archive" in back.err
    assert "under a new version" in back.err
    assert heirloom("channel", "set", "stable", "4.0.0", "--board", PICO).code == 0


def test_what_a_channel_points_to_and_a_stepping_stone_stay(project: Project, cheap_keys: None) -> None:
    call(["channel", "set", "slow", "1.0.0", "--board", PICO])
    make_releases(project, "2.0.0")
    make_releases(project, "3.0.0", requires="2.0.0")
    call(["channel", "set", "needy", "3.0.0", "--board", PICO])
    make_releases(project, "4.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0")
    assert listed(project) == ["1.0.0", "2.0.0", "3.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0"]
    assert Repository(project.repository).is_archived(PICO, "4.0.0")


def test_a_stepping_stone_comes_back_out_of_the_archive(archived: Project) -> None:
    make_releases(archived, "7.0.0", requires="1.0.0")
    assert "1.0.0" in listed(archived)
    assert [release.version for release in Repository(archived.repository).history(PICO)].count("1.0.0") == 1


def test_a_channel_that_moved_after_signing_is_noticed_and_signing_again_helps(
    archived: Project, heirloom: Callable[..., Any]
) -> None:
    (archived.app.source / "lib/text.py").write_text("VERSION = 7\n")
    call(["release", "build", "--version", "7.0.0", "--board", PICO])
    call(["release", "sign", "7.0.0", "--board", PICO])
    call(["channel", "set", "slow", "3.0.0", "--board", PICO])
    refused = heirloom("release", "publish", "7.0.0", "--board", PICO)
    assert refused.code == 1
    assert "sign it again" in refused.err
    call(["release", "sign", "7.0.0", "--board", PICO])
    call(["release", "publish", "7.0.0", "--board", PICO])
    assert "3.0.0" in listed(archived)


def test_a_signed_release_with_its_bins_can_be_published_elsewhere(archived: Project, tmp_path: Path) -> None:
    (archived.app.source / "lib/text.py").write_text("VERSION = 7\n")
    call(["release", "build", "--version", "7.0.0", "--board", PICO])
    call(["release", "sign", "7.0.0", "--board", PICO])
    call(["release", "publish", "7.0.0", "--board", PICO, "--stage", str(tmp_path / "staged")])
    assert len(list((tmp_path / "staged/signed").glob("*archive*"))) == 1
    for path in (archived.state_dir / "signed").iterdir():
        path.unlink()
    call(["release", "publish", "7.0.0", "--board", PICO, "--from", str(tmp_path / "staged")])
    assert listed(archived)[-1] == "7.0.0"


def _next_bin(project: Project, *, change: bool) -> tuple[str, Metadata[Targets]]:
    """The next version of the bin with 1.0.0, perhaps without it."""
    repository = Repository(project.repository)
    path = f"releases/{PICO}/1.0.0.cbor"
    name = str(bins.bin_of(repository.role(ROLE), path))
    current = repository.bin(PICO, name)
    assert current is not None
    following = next_role(current, name, utc_now())
    if change:
        following.signed.targets.pop(path)
    return name, following


def test_a_bin_counts_only_with_a_releases_role_that_says_the_same(archived: Project) -> None:
    name, following = _next_bin(archived, change=True)
    sign(following, role_signers(archived, ROLE))
    signers = {role: role_signers(archived, role) for role in (roles.SNAPSHOT, roles.TIMESTAMP)}
    files = {file_name(name, following.signed.version): to_bytes(following)}
    with pytest.raises(HeirloomError, match="does not hold what its releases role says"):
        online.refresh(Repository(archived.repository), files, signers, utc_now())


def _refreshed(project: Project, change: Callable[[Metadata[Targets], Metadata[Targets]], None]) -> None:
    """Publish the next version of a bin and of its releases role, signed as they must be, but changed before."""
    repository = Repository(project.repository)
    name, following = _next_bin(project, change=False)
    releases = next_role(repository.role(ROLE), ROLE, utc_now())
    change(following, releases)
    releases.signed.unrecognized_fields[bins.ARCHIVE][name] = bins.said(following)
    signers = {role: role_signers(project, role) for role in (ROLE, roles.SNAPSHOT, roles.TIMESTAMP)}
    files = {}
    for role, metadata in ((name, following), (ROLE, releases)):
        sign(metadata, signers[ROLE])
        files[file_name(role, metadata.signed.version)] = to_bytes(metadata)
    online.refresh(repository, files, signers, utc_now())


def _nothing(_following: Metadata[Targets], _releases: Metadata[Targets]) -> None:
    pass


def _forget(following: Metadata[Targets], _releases: Metadata[Targets]) -> None:
    following.signed.targets.pop(f"releases/{PICO}/1.0.0.cbor")


def _rewrite(following: Metadata[Targets], _releases: Metadata[Targets]) -> None:
    following.signed.targets[f"releases/{PICO}/1.0.0.cbor"].length += 1


def _slip_in(following: Metadata[Targets], _releases: Metadata[Targets]) -> None:
    """What no releases role ever listed."""
    entry = TargetFile.from_data(f"releases/{PICO}/0.9.0.cbor", b"never released", ["sha256"])
    entry.unrecognized_fields["custom"] = {"version": "0.9.0", "epoch": 0, "sequence": 99}
    following.signed.targets[entry.path] = entry


def _misplace(following: Metadata[Targets], releases: Metadata[Targets]) -> None:
    elsewhere = next(
        path
        for path in releases.signed.targets
        if bins.bin_of(releases, path) != following.signed.unrecognized_fields[bins.NAME]
    )
    following.signed.targets[elsewhere] = releases.signed.targets[elsewhere]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_nothing, ""),
        (_forget, "drops or changes the old release"),
        (_rewrite, "drops or changes the old release"),
        (_slip_in, "which is no published release"),
        (_misplace, "which belongs to"),
    ],
)
def test_not_even_the_releases_keys_rewrite_the_history(archived: Project, change: Any, reason: str) -> None:
    if reason:
        with pytest.raises(HeirloomError, match=reason):
            _refreshed(archived, change)
    else:
        _refreshed(archived, change)


def test_a_changed_bin_in_the_folder_is_noticed(archived: Project) -> None:
    name, _ = _next_bin(archived, change=False)
    version = Repository(archived.repository).snapshot().signed.meta[f"{name}.json"].version
    path = archived.repository / "metadata" / file_name(name, version)
    path.write_text(path.read_text().replace("1.0.0", "1.0.1"))
    with pytest.raises(HeirloomError, match="does not hold what its releases role says"):
        Repository(archived.repository).history(PICO)


def test_a_removed_key_cannot_keep_the_archive(archived: Project) -> None:
    """A ceremony that takes a key away takes the archive away from it too: else the thief could list releases there."""
    repository = Repository(archived.repository)
    releases, targets = repository.role(ROLE), next_role(repository.targets(), roles.TARGETS, utc_now())
    assert not bins.trusts_others(releases, ROLE, targets)
    old = targets.signed.get_delegated_role(ROLE).keyids[0]
    targets.signed.add_key(repository.targets().signed.delegations.keys[old], roles.channels_role(PICO))  # type: ignore[union-attr]
    targets.signed.revoke_key(old, ROLE)
    assert bins.trusts_others(releases, ROLE, targets)
    with pytest.raises(HeirloomError, match="no longer names"):
        rules.check_archives(targets, {ROLE: releases}, {ROLE: releases}, {roles.TARGETS})
    archive = repository.archive(PICO)
    renewed = bins.renewed(releases, archive, ROLE, targets, utc_now())
    assert not bins.trusts_others(renewed[ROLE], ROLE, targets)
    assert {name for name in renewed if name != ROLE} == archive.keys()
    assert bins.recorded(renewed[ROLE]) == {name: bins.said(renewed[name]) for name in archive}


def test_new_releases_keys_sign_the_whole_archive_at_once(archived: Project) -> None:
    old = archived.signing[ROLE][0].partition(":")[2]
    call(["key", "new", "successor"])
    started = call(["ceremony", "start", "--replace-key", f"{old}=successor"])
    folder = str(archived.root / "ceremonies" / next((archived.root / "ceremonies").iterdir()).name)
    assert started is not None
    call(["ceremony", "sign", folder, "--yes"])
    call(["ceremony", "finish", folder])
    between = Repository(archived.repository)
    assert not bins.trusts_others(between.role(ROLE), ROLE, between.targets())
    assert [release.version for release in between.history(PICO)][:3] == ["1.0.0", "1.1.0", "2.0.0"]
    for name, content in between.archive(PICO).items():
        verify.signed_by(content, name, between.role(ROLE), name)
    make_releases(Project.load(archived.root), "7.0.0")
    after = Repository(archived.repository)
    assert [release.version for release in after.history(PICO)][:3] == ["1.0.0", "1.1.0", "2.0.0"]


def test_publishing_and_checking_do_not_grow_with_the_history(
    tmp_path: Path, home: Path, cheap_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEIRLOOM_KEYS", "HEIRLOOM_PASSPHRASE"):
        monkeypatch.setenv(name, "")  # so that what the program sets is gone afterwards
    scale = runpy.run_path(str(ROOT / "bench/bench_scale.py"))
    found = scale["measure"](tmp_path, 10, 400, 4)
    assert found["cpu_ratio"] <= 2, json.dumps(found)  # by the clock it is the disk that is measured, and its users
    assert found["bytes_ratio"] <= 1.05, json.dumps(found)
    assert archiving.RECENT < 10, "the 11th release must find an archive to compare with"
