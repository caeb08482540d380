"""From a sealed will to a repository that clients with the maker's old root follow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient.updater import Updater

from heirloom.cli.project import Project
from heirloom.server.will_open import Opening
from heirloom.signing import keyfile, roles
from heirloom.signing.keys import KeyStore
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository
from heirloom.signing.will import sealed, state
from heirloom.signing.will.opening import Answers
from heirloom.signing.will.shares import join, read

PASSPHRASE = "correct horse battery staple"  # of the keys of the fixture `project`
PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"
NEW_PLACES = ["https://friends.example.org/weather/", "https://foundation.example.net/weather/"]
ANSWERS = ["--maker", "Friends of Weather", "--contact", "hello@friends.example.org"]
ANSWERS += [word for place in NEW_PLACES for word in ("--url", place)]

Heirloom = Callable[..., Any]


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)


@pytest.fixture
def successors(tmp_path: Path) -> Path:
    """A folder for each of three successors, each with a key of their own."""
    for name in ("eva", "fay", "gus"):
        (tmp_path / "people" / name).mkdir(parents=True, mode=0o700)
        KeyStore(tmp_path / "people" / name).create(name, PASSPHRASE)
    return tmp_path / "people"


@pytest.fixture
def shares(project: Project, successors: Path, heirloom: Heirloom, tmp_path: Path) -> list[Path]:
    """The will is written; 2 of 3 trustees open it, 2 of 3 successors sign."""
    people = [
        word
        for name in ("eva", "fay", "gus")
        for word in ("--successor", f"{name}={successors}/{name}/{name}.pub.json")
    ]
    people += [word for name in ("ada", "ben", "cyd") for word in ("--trustee", name)]
    ran = heirloom("will", "write", *people, "--needed", 2, "--shares", tmp_path / "stick", "--yes")
    assert ran.code == 0, ran.err
    return sorted((tmp_path / "stick").iterdir())


@pytest.fixture
def meeting(successors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The key folder of a machine at which two successors meet; the maker's keys are gone."""
    folder = tmp_path / "meeting"
    folder.mkdir(mode=0o700)
    for name in ("eva", "gus"):
        for file in (successors / name).iterdir():
            shutil.copy(file, folder)
    monkeypatch.setenv("HEIRLOOM_KEYS", str(folder))
    return folder


def old_client(folder: Path, url: str, root: bytes) -> Callable[[str], bytes]:
    """python-tuf, trusting that root: gives what a channel points to."""

    def stable(board: str) -> bytes:
        (folder / "targets").mkdir(parents=True, exist_ok=True)
        places = str(folder), url + "metadata/", str(folder / "targets"), url + "targets/"
        updater = Updater(*places, bootstrap=root)
        updater.refresh()
        info = updater.get_targetinfo(f"channels/{board}/stable")
        assert info is not None
        return Path(updater.download_target(info)).read_bytes()

    return stable


def words(shares: list[Path]) -> list[object]:
    return [word for share in shares for word in ("--share", share)]


def test_clients_with_the_old_root_follow_and_take_releases_of_the_successors(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, serve_project: str, tmp_path: Path
) -> None:
    first = (project.repository / "metadata/1.root.json").read_bytes()
    stable = old_client(tmp_path / "client", serve_project, first)
    before = {board: stable(board) for board in (PICO, ESP)}
    old = Repository(project.repository)
    assert old.targets().signed.delegations is not None
    old_keys = {*old.root().signed.keys, *old.targets().signed.delegations.keys}

    ran = heirloom("will", "open", *words(shares[:2]), *ANSWERS, "--yes")
    assert ran.code == 0, ran.err
    assert {board: stable(board) for board in (PICO, ESP)} == before
    root = Metadata.from_file(str(tmp_path / "client/root.json")).signed
    assert root.version == 3
    assert root.unrecognized_fields["x-heirloom-urls"] == NEW_PLACES
    assert root.roles[roles.ROOT].threshold == 2
    new = Repository(project.repository)
    delegations = new.targets().signed.delegations
    assert delegations is not None
    assert not old_keys & {*root.keys, *delegations.keys}
    assert new.targets().signed.unrecognized_fields["x-heirloom-maker"]["name"] == "Friends of Weather"
    # Root 2 is the maker's, as it was sealed.
    assert (project.repository / "metadata/2.root.json").is_file()
    assert heirloom("status").code == 3  # a will of their own is missing

    (project.root / "app/main.py").write_text("print('by the successors')\n")
    for command in (["release", "build", "--version", "2.0.0"], ["release", "sign", "2.0.0"]):
        ran = heirloom(*command)
        assert ran.code == 0, ran.err
    assert heirloom("release", "publish", "2.0.0", "--channel", "stable").code == 0
    assert heirloom("renew").code == 0
    assert b"2.0.0" in stable(PICO)
    assert heirloom("will", "open").code != 0
    assert Project.load().product.contact == "hello@friends.example.org"
    assert Project.load().product.urls == NEW_PLACES


def test_successors_in_two_places_sign_one_after_the_other(
    project: Project, shares: list[Path], successors: Path, heirloom: Heirloom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIRLOOM_KEYS", str(successors / "eva"))
    ran = heirloom("will", "open", *words(shares[1:]), *ANSWERS, "--yes")
    assert ran.code == 0, ran.err
    assert "2.root.json: 1 of 2" in ran.out
    assert Repository(project.repository).root().signed.version == 1
    assert "Friends of Weather" in ran.err  # a person sees what is signed
    # The second one, elsewhere: no shares any more.
    monkeypatch.setenv("HEIRLOOM_KEYS", str(successors / "fay"))
    again = heirloom("will", "open")
    assert again.code == 2, "nobody agreed"
    ran = heirloom("will", "open", "--yes")
    assert ran.code == 1
    assert "snapshot-3" in ran.err  # all have signed; the online keys are with eva
    monkeypatch.setenv("HEIRLOOM_KEYS", str(successors / "eva"))
    ran = heirloom("will", "open", "--yes")
    assert ran.code == 0, ran.err
    assert Repository(project.repository).root().signed.version == 3
    assert not (project.state_dir / "opening").exists()
    assert state(Project.load()).wills[0].state == "opened"


def test_shares_without_a_successor_publish_nothing(
    project: Project, shares: list[Path], heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a leak of the shares means: an unsealed root that nobody but the successors can make count."""
    monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "thief"))
    KeyStore(tmp_path / "thief").create("eva", PASSPHRASE)
    before = sorted((project.repository / "metadata").iterdir())
    ran = heirloom("will", "open", *words(shares), *ANSWERS, "--yes")
    assert ran.code == 1
    assert "belongs to a successor" in ran.err
    assert sorted((project.repository / "metadata").iterdir()) == before
    assert not (project.state_dir / "opening").exists()


def test_the_unsealed_root_alone_is_refused_by_clients(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, serve_project: str, tmp_path: Path
) -> None:
    first = (project.repository / "metadata/1.root.json").read_bytes()
    live = state(project).live
    assert live is not None
    will = sealed.read(live.path)
    key = join([read(path) for path in shares[:2]], will.header.identifier, 2)
    (project.repository / "metadata/2.root.json").write_bytes(to_bytes(will.open(key)))
    with pytest.raises(RepositoryError):
        old_client(tmp_path / "client", serve_project, first)(PICO)


@pytest.mark.parametrize("chosen", [[], [0], [0, 0]])
def test_too_few_shares_change_nothing(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, chosen: list[int]
) -> None:
    ran = heirloom("will", "open", *words([shares[number] for number in chosen]), *ANSWERS, "--yes")
    assert ran.code in (1, 2)
    assert Repository(project.repository).root().signed.version == 1
    assert sorted(path.name for path in meeting.glob("*.pem")) == ["eva.pem", "gus.pem"]


def test_shares_come_by_file_descriptor_too(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, tmp_path: Path
) -> None:
    typed = tmp_path / "typed"
    typed.write_text("".join(f"{read(path).words}\n" for path in shares[:2]))
    with typed.open() as stream:
        ran = heirloom("will", "open", "--shares-fd", stream.fileno(), *ANSWERS, "--yes")
    assert ran.code == 0, ran.err


def test_a_void_will_is_refused_with_the_reason_and_status_insists_on_a_new_one(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIRLOOM_KEYS", str(home / "keys"))
    assert not [line for line in json.loads(heirloom("status", "--json").out)["attention"] if "will" in line]
    repository = Repository(project.repository)
    root = next_role(repository.root(), roles.ROOT, utc_now())
    store = KeyStore(home / "keys")
    sign(root, [store.signer(f"heirloom:root-{number}", lambda _: PASSPHRASE) for number in (1, 2)])
    (project.repository / "metadata" / file_name(roles.ROOT, 2)).write_bytes(to_bytes(root))
    ran = heirloom("status", "--json")
    assert ran.code == 3
    assert [line for line in json.loads(ran.out)["attention"] if "no will follows root 2" in line]
    monkeypatch.setenv("HEIRLOOM_KEYS", str(meeting))
    ran = heirloom("will", "open", *words(shares[:2]), *ANSWERS, "--yes")
    assert ran.code == 1
    assert "this will is void: root 2 was published after it was written" in ran.err


def test_an_opening_that_was_cut_short_after_publishing_is_completed(
    project: Project, shares: list[Path], meeting: Path, heirloom: Heirloom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Opening, found: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Opening, "_update_project", killed)
        opening = Opening(project, Passphrases())
        opening.begin(opening.will(None), [read(path) for path in shares], Answers(NEW_PLACES, "us", "us@example.org"))
        with pytest.raises(KeyboardInterrupt):
            opening.go_on()
    assert Repository(project.repository).root().signed.version == 3
    assert heirloom("will", "open", "--yes").code == 0
    assert Project.load().signing["timestamp"] == ["heirloom:timestamp-3"]
    assert heirloom("renew").code == 0
