"""The archive of old releases in everything that is not publishing: ceremonies, the will, export, import, status.

After each of them any TUF client still finds an old release, and devices are none the wiser.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archive_product import PICO, make_releases
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Targets
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.signing import bins, lasting, online, roles
from heirloom.signing.ceremony.ceremony import Ceremony
from heirloom.signing.keys import KeyStore, role_signers
from heirloom.signing.metadata import file_name, parse, sign, to_bytes, utc_now
from heirloom.signing.repository import Repository

Heirloom = Callable[..., Any]
ROLE = roles.releases_role(PICO)
PASSPHRASE = "correct horse battery staple"
OLD = ("1.0.0", "1.1.0", "2.0.0")
ANSWERS = ["--maker", "Friends of Weather", "--contact", "hello@friends.example.org"]
ANSWERS += ["--url", "https://friends.example.org/weather/", "--url", "https://foundation.example.net/weather/"]


@pytest.fixture(autouse=True)
def _no_power_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


class FolderFetcher(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file:"))
        if not path.is_file():
            raise DownloadHTTPError("absent", 404)
        return iter([path.read_bytes()])


class Reader:
    """A stock TUF client that trusts a product's first root."""

    def __init__(self, repository: Path, folder: Path, root: bytes | None = None) -> None:
        self.repository, self.folder = repository, folder
        self.root = root or (repository / "metadata/1.root.json").read_bytes()
        folder.mkdir(parents=True)

    def finds(self, version: str) -> bytes:
        """The manifest of a release, current or old."""
        base, folder = f"file:{self.repository}/", str(self.folder)
        client = Updater(folder, base + "metadata/", folder, base + "targets/", FolderFetcher(), bootstrap=self.root)
        info = client.get_targetinfo(f"releases/{PICO}/{version}.cbor")
        assert info is not None, f"{version} is not found"
        return Path(client.download_target(info)).read_bytes()

    def finds_all(self) -> None:
        for version in (*OLD, "3.0.0", "6.0.0"):
            assert version.encode() in self.finds(version)


@pytest.fixture
def reader(archived: Project, tmp_path: Path) -> Reader:
    """Has seen the product as it is."""
    made = Reader(archived.repository, tmp_path / "reader")
    made.finds_all()
    return made


def hold(heirloom: Heirloom, *argv: object) -> None:
    for words in (["start", *argv], ["sign", "--yes"], ["finish"]):
        ran = heirloom("ceremony", *words)
        assert ran.code == 0, ran.err


def new_key(project: Project, name: str) -> str:
    KeyStore(project.keys_dir()).create(name, PASSPHRASE)
    return name


CHANGES = {
    "key replaced": ["--replace-key", f"{ROLE}-1=new"],
    "key lost": ["--add-key", f"{ROLE}=new", "--lost", f"{ROLE}-1"],
    "key added": ["--add-key", f"{ROLE}=new"],
    "threshold up": ["--add-key", f"{ROLE}=new", "--threshold", f"{ROLE}=2"],
    "renewed": ["--renew", ROLE],
    "targets renewed": ["--renew", "targets"],
    "targets keys": ["--replace-key", "targets-1=new"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_ceremony_old_releases_are_found_and_the_next_release_works(
    archived: Project, reader: Reader, heirloom: Heirloom, change: str
) -> None:
    new_key(archived, "new")
    hold(heirloom, *CHANGES[change])
    reader.finds_all()
    make_releases(Project.load(), "7.0.0")
    assert b"7.0.0" in reader.finds("7.0.0")
    reader.finds_all()
    assert heirloom("ceremony", "start", "--renew", ROLE).code == 0  # and the next one, too


def test_after_a_hand_over_of_the_board_old_releases_are_found(
    archived: Project, reader: Reader, heirloom: Heirloom, tmp_path: Path
) -> None:
    for name in ("nina", "online"):
        new_key(archived, name)
    keys = archived.keys_dir()
    file = tmp_path / "handover.toml"
    file.write_text(
        f'[roles."{ROLE}"]\nkeys = {{ Nina = "{keys}/nina.pub.json" }}\n'
        f'[roles."channels-{PICO}"]\nkeys = {{ server = "{keys}/online.pub.json" }}\n'
    )
    hold(heirloom, "--handover", file)
    reader.finds_all()
    repository = Repository(archived.repository)
    nina = KeyStore(keys).public("nina").keyid
    for name, content in repository.archive(PICO).items():
        assert nina in content.signatures, name


def test_a_ceremony_says_in_words_what_becomes_of_the_archive(archived: Project, heirloom: Heirloom) -> None:
    new_key(archived, "new")
    found = heirloom("ceremony", "start", "--replace-key", f"{ROLE}-1=new", "--json").json
    said = [change["sentence"] for change in found["changes"]]
    assert any(f"the archive of {ROLE} lists the same 3 old releases as before, in 16 files" in line for line in said)
    assert f"whoever signs {ROLE} signs its archive of old releases, too" in said
    assert not [line for line in said if "x-heirloom-archive" in line or "succinct" in line], "raw fields"
    assert len([line for line in found["needs"] if "archive" in line]) == 1
    assert found["waiting"] == ["new", "targets-1", "targets-2", "targets-3"]


def test_a_ceremony_can_be_signed_with_the_folder_alone(
    archived: Project, heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signer without the repository: the folder has the old bins, and they are verified."""
    heirloom("ceremony", "start", "--renew", ROLE)
    (folder,) = (archived.root / "ceremonies").iterdir()
    shutil.copytree(folder, tmp_path / "mail" / folder.name)
    shutil.copy(archived.repository / "metadata/1.root.json", tmp_path / "root.json")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(archived.keys_dir()))
    monkeypatch.chdir(tmp_path / "mail")
    shutil.rmtree(archived.root)
    ran = heirloom("ceremony", "sign", folder.name, "--root", tmp_path / "root.json", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["written"]) == 17


def _change(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Rewrite a document of a ceremony and everything that names it, as a dishonest starter would have."""
    path = folder / "documents" / name
    metadata = parse(Targets, path.read_bytes(), name)
    change(metadata)
    path.write_bytes(to_bytes(metadata))
    proposal = json.loads((folder / "proposal.json").read_bytes())
    proposal["documents"][name] = hashlib.sha256(metadata.signed_bytes).hexdigest()
    (folder / "proposal.json").write_text(json.dumps(proposal))


def _bin_with_releases(folder: Path) -> str:
    bins_ = sorted((folder / "documents").glob("*-archive-*"))
    return next(path.name for path in bins_ if parse(Targets, path.read_bytes(), path.name).signed.targets)


def _drop(metadata: Any) -> None:
    metadata.signed.targets.clear()


def _lengthen(metadata: Any) -> None:
    metadata.signed.expires += timedelta(days=3650)


@pytest.mark.parametrize("change", [_drop, _lengthen])
def test_a_ceremony_that_changes_the_archive_behind_the_role_is_not_signed(
    archived: Project, heirloom: Heirloom, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    heirloom("ceremony", "start", "--renew", ROLE)
    (folder,) = (archived.root / "ceremonies").iterdir()
    forged = tmp_path / "forged"
    folder.rename(forged)
    _change(forged, _bin_with_releases(forged), change)
    ran = heirloom("ceremony", "sign", forged, "--yes")
    assert ran.code == 1
    assert "does not hold what its releases role says" in ran.err


def test_an_archive_in_other_hands_is_not_signed(archived: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    heirloom("ceremony", "start", "--renew", ROLE)
    (folder,) = (archived.root / "ceremonies").iterdir()
    forged = tmp_path / "forged"
    folder.rename(forged)
    thief = KeyStore(tmp_path / "thief").create("thief", PASSPHRASE)

    def give(metadata: Any) -> None:
        metadata.signed.delegations.succinct_roles.keyids.append(thief.keyid)
        metadata.signed.delegations.keys[thief.keyid] = thief

    _change(forged, next((forged / "documents").glob(f"*.{ROLE}.json")).name, give)
    ran = heirloom("ceremony", "status", forged)
    assert "delegates to {" in ran.out, "the delegation is not shown"
    ran = heirloom("ceremony", "sign", forged, "--yes")
    assert ran.code == 1
    assert "in the hands of keys" in ran.err


def test_a_bin_without_its_role_is_not_signed(archived: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    heirloom("ceremony", "start", "--renew", ROLE)
    (folder,) = (archived.root / "ceremonies").iterdir()
    forged = tmp_path / "forged"
    folder.rename(forged)
    proposal = json.loads((forged / "proposal.json").read_bytes())
    name = next(name for name in proposal["documents"] if name.endswith(f".{ROLE}.json"))
    del proposal["documents"][name], proposal["base"][ROLE]
    (forged / "proposal.json").write_text(json.dumps(proposal))
    ran = heirloom("ceremony", "sign", forged, "--yes")
    assert ran.code == 1
    assert f"but not on {ROLE}" in ran.err


def test_keys_change_only_together_with_the_whole_archive(archived: Project) -> None:
    """What publishes refuses a releases role whose archive its new holders have not signed."""
    new = KeyStore(archived.keys_dir()).create("new", PASSPHRASE)
    repository, now = Repository(archived.repository), utc_now()
    targets = repository.targets()
    following = type(targets).from_bytes(to_bytes(targets))
    following.signed.version += 1
    following.signatures.clear()
    following.signed.revoke_key(following.signed.get_delegated_role(ROLE).keyids[0], ROLE)
    following.signed.add_key(new, ROLE)
    sign(following, role_signers(archived, "targets"))
    releases = bins.renewed(repository.role(ROLE), {}, ROLE, following, now)[ROLE]
    bins.delegate(releases, ROLE, following)
    sign(releases, [KeyStore(archived.keys_dir()).signer("heirloom:new", lambda _name: PASSPHRASE)])
    files = {file_name("targets", 2): to_bytes(following)}
    files[file_name(ROLE, releases.signed.version)] = to_bytes(releases)
    signers = {role: role_signers(archived, role) for role in (roles.SNAPSHOT, roles.TIMESTAMP)}
    with pytest.raises(HeirloomError, match="archive-0 carries 0 valid signatures"):
        online.refresh(repository, files, signers, now)


def test_after_the_will_was_opened_old_releases_are_found(
    archived: Project, reader: Reader, heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = KeyStore(tmp_path / "meeting")
    people = []
    for name in ("eva", "gus"):
        meeting.create(name, PASSPHRASE)
        people += ["--successor", f"{name}={tmp_path}/meeting/{name}.pub.json", "--trustee", f"t-{name}"]
    ran = heirloom("will", "write", *people, "--needed", 2, "--shares", tmp_path / "stick", "--yes")
    assert ran.code == 0, ran.err
    monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "meeting"))
    shares = [word for path in sorted((tmp_path / "stick").iterdir()) for word in ("--share", path)]
    ran = heirloom("will", "open", *shares, *ANSWERS, "--yes")
    assert ran.code == 0, ran.err
    reader.finds_all()
    make_releases(Project.load(), "7.0.0")
    reader.finds_all()


def test_an_archive_of_the_product_holds_the_old_releases_with_their_sources(
    archived: Project, heirloom: Heirloom, tmp_path: Path
) -> None:
    said = heirloom("export", tmp_path / "out", "--json").json
    assert said["releases"] == 8  # seven of one board, one of the other
    assert said["without_source"] == []
    described = json.loads((tmp_path / "out/archive.json").read_bytes())
    assert described["releases"][PICO].keys() == {*OLD, "3.0.0", "4.0.0", "5.0.0", "6.0.0"}
    record = described["releases"][PICO]["1.1.0"]
    assert (tmp_path / f"out/sources/{record['source']}.tar").is_file()
    assert described["archived_until"].keys() == {PICO}
    page = (tmp_path / "out/index.html").read_text()
    assert all(f"<td>{version}</td>" in page for version in OLD)
    assert "clients other than devices find the older ones until" in page
    ran = heirloom("import", tmp_path / "out", "--into", tmp_path / "new", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["releases"] == 8
    Reader(tmp_path / "new/repository", tmp_path / "other").finds_all()
    tar = tmp_path / f"new/.heirloom/sources/{record['source']}.tar"
    ran = heirloom("--project", tmp_path / "new", "release", "verify", "1.1.0", "--board", PICO, "--source", tar)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("what", ["manifest", "blob", "bin"])
def test_a_damaged_old_release_is_neither_exported_nor_imported(
    archived: Project, heirloom: Heirloom, tmp_path: Path, what: str
) -> None:
    heirloom("export", tmp_path / "out")
    for place in (archived.repository, tmp_path / "out"):
        repository = Repository(place)
        if what == "manifest":
            path = next((place / "targets/releases" / PICO).glob("*.1.1.0.cbor"))
        elif what == "blob":
            current = {
                sha
                for version in ("3.0.0", "4.0.0", "5.0.0", "6.0.0")
                for _, _, sha in repository.manifest(PICO, version).files
            }
            old = next(sha for _, _, sha in repository.manifest(PICO, "2.0.0").files if sha not in current)
            path = place / "blobs" / old.hex()
        else:
            name = str(bins.bin_of(repository.role(ROLE), f"releases/{PICO}/1.1.0.cbor"))
            path = place / f"metadata/{repository.snapshot().signed.meta[f'{name}.json'].version}.{name}.json"
        path.write_bytes(b"x" + path.read_bytes()[1:])
    for words in (["export", tmp_path / "again"], ["import", tmp_path / "out", "--into", tmp_path / "new"]):
        ran = heirloom(*words)
        assert ran.code == 1, what
        assert "restore" in ran.err or "copy" in ran.err
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "new").exists()


def test_a_lasting_copy_with_the_offline_keys_keeps_old_releases_as_long(
    archived: Project, reader: Reader, heirloom: Heirloom, tmp_path: Path
) -> None:
    ran = heirloom("export", tmp_path / "out", "--lasting", "--offline", "--until", "2050-01-31")
    assert ran.code == 0, ran.err
    copy = Repository(tmp_path / "out")
    until = datetime(2050, 1, 31, tzinfo=UTC)
    assert {each.signed.expires for each in copy.archive(PICO).values()} == {until}
    assert lasting.limits(copy, until) == []
    Reader(tmp_path / "out", tmp_path / "other").finds_all()
    reader.finds_all()  # the maker's own repository has them, too
    make_releases(Project.load(), "7.0.0")


def test_a_lasting_copy_without_them_says_how_long_old_releases_are_found(
    archived: Project, heirloom: Heirloom, tmp_path: Path
) -> None:
    ran = heirloom("export", tmp_path / "out", "--lasting", "--until", "2050-01-31")
    assert ran.code == 0, ran.err
    described = json.loads((tmp_path / "out/archive.json").read_bytes())
    first = min(each.signed.expires for each in Repository(archived.repository).archive(PICO).values())
    assert described["archived_until"] == {PICO: f"{first:%Y-%m-%dT%H:%M:%SZ}"}
    Reader(tmp_path / "out", tmp_path / "other").finds_all()


def test_status_counts_the_old_releases_and_says_when_they_expire(
    archived: Project, heirloom: Heirloom, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = min(each.signed.expires for each in Repository(archived.repository).archive(PICO).values())
    found = {board["board"]: board for board in heirloom("status", "--json").json["boards"]}
    assert (found[PICO]["archived"], found["SIM_ESP32_GENERIC"]["archived"]) == (3, 0)
    assert found[PICO]["archive_expires"].startswith(f"{first:%Y-%m-%d}")
    assert found["SIM_ESP32_GENERIC"]["archive_expires"] is None
    for days, verb in ((-5, "expire on"), (5, "expired on")):
        later = first + timedelta(days=days)
        monkeypatch.setattr("heirloom.signing.metadata.utc_now", lambda later=later: later)
        ran = heirloom("status", "--json")
        assert ran.code == 3
        (line,) = [line for line in ran.json["attention"] if line.startswith("old releases")]
        assert verb in line
        assert f"heirloom ceremony start --renew {ROLE}" in line


def test_a_published_ceremony_folder_knows_that_it_is_finished(archived: Project, heirloom: Heirloom) -> None:
    hold(heirloom, "--renew", ROLE)
    (state,) = heirloom("ceremony", "status", "--json").json["ceremonies"]
    assert state["state"] == "finished"
    (folder,) = (archived.root / "ceremonies").iterdir()
    assert len(Ceremony.load(folder).documents) == 17
