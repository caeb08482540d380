"""The archive: whole, servable, from a file readable; lasting; imported elsewhere; and what is refused."""

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from heirloom.cli.project import Project
from heirloom.server import archive
from heirloom.signing import keyfile, provenance
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository

Heirloom = Callable[..., Any]
PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"


def write_app(folder: Path, version: str) -> None:
    """The application of the fixture `project`."""
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(f"import lib.text\nprint(lib.text.VERSION)  # {version}\n")
    (folder / "lib/text.py").write_text(f"VERSION = '{version}'\nTEXT = '{'never changes ' * 400}'\n")
    (folder / "settings.json").write_text("{}\n")
    (folder / "empty.txt").write_text("")


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)


def exported(heirloom: Heirloom, out: Path, *options: object) -> Any:
    ran = heirloom("export", out, *options, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_holds_everything_and_nothing_secret(
    project: Project, heirloom: Heirloom, home: Path, tmp_path: Path
) -> None:
    said = exported(heirloom, tmp_path / "out")
    found = contents(tmp_path / "out")
    for name, data in contents(project.repository).items():
        if name != ".lock":
            assert found[name] == data, name
    assert found["heirloom.toml"] == (project.root / "heirloom.toml").read_bytes()
    described = json.loads(found["archive.json"])
    for board in (PICO, ESP):
        record = described["releases"][board]["1.0.0"]
        tar = found[f"sources/{record['source']}.tar"]
        assert hashlib.sha256(tar).hexdigest() == record["source"]
        assert record["tools"].keys() == {"heirloom-ota", "mpy-cross", "micropython"}
    assert described["keys"]["root"]["threshold"] == 2
    assert len(described["keys"]["root"]["keys"]) == 3
    assert said["without_source"] == []
    assert said["bytes"] == sum(map(len, found.values()))
    everything = b"".join(found.values())
    assert b"PRIVATE KEY" not in everything
    assert b"correct horse" not in everything
    assert not [name for name in found if name.endswith((".pem", ".lock", ".new"))]


def test_sources_in_escrow_stay_out(project: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    file = project.root / "heirloom.toml"
    file.write_text(file.read_text().replace("[app]\n", '[app]\nescrow = "with the notary <Smith>"\n'))
    said = exported(heirloom, tmp_path / "out")
    assert not (tmp_path / "out/sources").exists()
    assert said["without_source"] == []
    assert "with the notary &lt;Smith&gt;" in (tmp_path / "out/index.html").read_text()


def test_a_release_without_a_record_is_named(project: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    shutil.rmtree(project.state_dir / "provenance")
    assert exported(heirloom, tmp_path / "out")["without_source"] == [f"1.0.0 for {PICO}", f"1.0.0 for {ESP}"]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_opens_from_a_file_and_its_links_lead_somewhere(
    project: Project, heirloom: Heirloom, tmp_path: Path
) -> None:
    exported(heirloom, tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.found
    for link in links.found:
        assert (tmp_path / "out" / link).is_file(), link
    assert "freeze" not in page
    assert "1.0.0" in page
    assert "security@example.com" in page


def test_nothing_is_overwritten(project: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("out", "link"):
        ran = heirloom("export", tmp_path / name)
        assert ran.code == 1
        assert "exists already" in ran.err


@pytest.mark.parametrize("fail_at", [1, 7, 30])
def test_a_full_disk_leaves_nothing(
    project: Project, heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    copied, copyfile = [], shutil.copyfile

    def full(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) >= fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copyfile(source, target)

    (tmp_path / "stick").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        ran = heirloom("export", tmp_path / "stick/out")
    assert ran.code == 1
    assert "no space left" in ran.err
    assert list((tmp_path / "stick").iterdir()) == []
    exported(heirloom, tmp_path / "stick/out")


def test_a_damaged_repository_is_not_archived(project: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    blob = next(path for path in sorted((project.repository / "blobs").iterdir()) if len(path.name) == 64)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    ran = heirloom("export", tmp_path / "out")
    assert ran.code == 1
    assert "damaged" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_lasting_copy_says_what_is_lost_and_until_when_it_is_accepted(
    project: Project, heirloom: Heirloom, tmp_path: Path
) -> None:
    before = contents(project.repository)
    said = exported(heirloom, tmp_path / "out", "--lasting", "--until", "2050-01-31")
    copy = Repository(tmp_path / "out")
    for role in ("timestamp", "snapshot", f"channels-{PICO}", f"channels-{ESP}"):
        assert f"{copy.trusted.role(role).signed.expires:%Y-%m-%d}" == "2050-01-31"
    # The offline roles end it earlier, and that is said.
    targets = copy.targets().signed.expires
    assert said["accepted_until"].startswith(f"{min(targets, copy.role(f'releases-{PICO}').signed.expires):%Y-%m-%d}")
    assert said["limited_by"] in ("targets", f"releases-{PICO}", f"releases-{ESP}")
    assert "cannot notice that somebody withholds" in said["lost"]
    assert "cannot notice that somebody withholds" in (tmp_path / "out/index.html").read_text()
    assert {name: data for name, data in contents(project.repository).items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }
    # The maker may go on all the same.
    assert heirloom("renew").code == 0


def test_with_the_offline_keys_a_copy_lasts_as_long_as_asked(
    project: Project, heirloom: Heirloom, tmp_path: Path
) -> None:
    said = exported(heirloom, tmp_path / "out", "--lasting", "--offline", "--until", "2050-01-31")
    assert said["accepted_until"] == "2050-01-31T00:00:00Z"
    # One history of roots: the copy has none that the repository lacks.
    root = Metadata.from_file(str(tmp_path / "out/metadata/2.root.json")).to_bytes()
    assert (project.repository / "metadata/2.root.json").read_bytes() == root
    Repository(tmp_path / "out").check(utc_now().replace(year=2049))


@pytest.mark.parametrize("until", ["yesterday", "2020-01-01", "2100-01-01"])
def test_a_senseless_end_is_refused(project: Project, heirloom: Heirloom, tmp_path: Path, until: str) -> None:
    assert heirloom("export", tmp_path / "out", "--lasting", "--until", until).code in (1, 2)
    assert heirloom("export", tmp_path / "out", "--until", "2050-01-01").code == 2
    assert not (tmp_path / "out").exists()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine: no keys, no project; a place for one."""

    def move() -> None:
        monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "elsewhere/keys"))

    (tmp_path / "elsewhere").mkdir()
    move()
    return tmp_path / "elsewhere/weather"


def test_an_imported_archive_goes_on_with_the_same_keys(
    project: Project, heirloom: Heirloom, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(heirloom, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    root = project.repository / "metadata/1.root.json"
    ran = heirloom("import", tmp_path / "out", "--into", tmp_path / "elsewhere/weather", "--root", root, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert (said["releases"], said["root"], said["source"], said["anchored"]) == (2, 1, "1.0.0", True)
    shutil.rmtree(project.root)
    monkeypatch.chdir(tmp_path / "elsewhere/weather")
    assert heirloom("release", "verify", "1.0.0", "--source", "app").code == 0
    write_app(tmp_path / "elsewhere/weather/app", "3.0.0")
    for command in (["build", "--version", "3.0.0"], ["sign", "3.0.0"], ["publish", "3.0.0", "--channel", "stable"]):
        ran = heirloom("release", *command)
        assert ran.code == 0, ran.err
    exported(heirloom, tmp_path / "again")


def test_who_imports_without_a_root_is_told_to_compare_the_first(
    project: Project, heirloom: Heirloom, elsewhere: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIRLOOM_KEYS", str(home / "keys"))
    exported(heirloom, tmp_path / "out")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(elsewhere.parent / "keys"))
    ran = heirloom("import", tmp_path / "out", "--into", elsewhere)
    assert ran.code == 0, ran.err
    digest = hashlib.sha256((project.repository / "metadata/1.root.json").read_bytes()).hexdigest()
    assert digest in ran.out.replace(" ", "")
    assert digest in (tmp_path / "out/index.html").read_text().replace(" ", "")
    assert heirloom("import", tmp_path / "out", "--into", elsewhere).code == 1  # it is there


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    ["metadata/1.root.json", "metadata/timestamp.json", "metadata/1.targets.json", "blob", "manifest", "gone", "link"],
)
def test_an_archive_that_was_changed_is_not_imported(
    project: Project, heirloom: Heirloom, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "out"
    exported(heirloom, out)
    blobs = sorted(path for path in (out / "blobs").iterdir() if len(path.name) == 64 and path.stat().st_size)
    if damage == "blob":
        _flip(blobs[0])
    elif damage == "gone":
        blobs[0].unlink()
    elif damage == "manifest":
        _flip(next((out / "targets/releases").rglob("*.cbor")))
    elif damage == "link":
        (out / "blobs/passwd").symlink_to("/etc/passwd")
    else:
        _flip(out / damage)
    ran = heirloom("import", out, "--into", tmp_path / "new")
    assert ran.code == 1
    assert "internal error" not in ran.err
    assert not (tmp_path / "new").exists()


def test_another_products_archive_does_not_meet_these_keys(
    project: Project, heirloom: Heirloom, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged archive with the product's name and roots of its own."""
    words = ["--name", "weather", "--board", PICO, "--url", "http://a.example/", "--url", "http://b.example/"]
    (tmp_path / "forger").mkdir()
    monkeypatch.chdir(tmp_path / "forger")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(tmp_path / "forger-keys"))
    assert heirloom("init", *words).code == 0
    exported(heirloom, tmp_path / "out")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(home / "keys"))
    ran = heirloom("import", tmp_path / "out", "--into", tmp_path / "new")
    assert ran.code == 1
    assert "another product with the name weather" in ran.err
    ran = heirloom(
        "import", tmp_path / "out", "--into", tmp_path / "new", "--root", project.repository / "metadata/1.root.json"
    )
    assert ran.code == 1
    assert not (tmp_path / "new").exists()


def test_a_release_is_rebuilt_byte_for_byte_and_each_differing_file_is_named(
    project: Project, heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_app(tmp_path / "source", "1.0.0")
    ran = heirloom("release", "verify", "1.0.0", "--source", tmp_path / "source")
    assert ran.code == 0, ran.err
    assert "byte for byte" in ran.out
    (tmp_path / "source/lib/text.py").write_text("VERSION = 'another'\n")
    (tmp_path / "source/empty.txt").unlink()
    (tmp_path / "source/more.txt").write_text("x")
    ran = heirloom("release", "verify", "1.0.0", "--source", tmp_path / "source")
    assert ran.code == 1
    for said in ("differ: lib/text.mpy;", "are missing: empty.txt;", "only in the source: more.txt", "another source"):
        assert said in ran.err
    monkeypatch.setattr(provenance, "tools", lambda: {"mpy-cross": "9.9"})
    ran = heirloom("release", "verify", "1.0.0", "--source", tmp_path / "source", "--board", PICO)
    assert "(here 9.9): install that" in ran.err


def test_the_source_of_an_archive_rebuilds_its_release(project: Project, heirloom: Heirloom, tmp_path: Path) -> None:
    exported(heirloom, tmp_path / "out")
    described = json.loads((tmp_path / "out/archive.json").read_bytes())
    tar = tmp_path / "out/sources" / f"{described['releases'][PICO]['1.0.0']['source']}.tar"
    assert heirloom("release", "verify", "1.0.0", "--source", tar).code == 0
    assert heirloom("release", "verify", "1.0.0", "--source", project.root / "heirloom.toml").code == 1


def test_a_snapshot_depends_on_nothing_but_paths_and_contents(tmp_path: Path) -> None:
    from heirloom.signing import source

    write_app(tmp_path / "a", "1")
    shutil.copytree(tmp_path / "a", tmp_path / "deeper/b")
    os.utime(tmp_path / "deeper/b/main.py", (1, 1))
    (tmp_path / "deeper/b/main.py").chmod(0o600)
    (tmp_path / "deeper/b/.hidden").write_text("x")
    first, second = (provenance.snapshot(source.collect(tmp_path / name)) for name in ("a", "deeper/b"))
    assert first == second


def test_secrets_travel_encrypted_to_the_successors(
    project: Project, heirloom: Heirloom, elsewhere: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyrage = pytest.importorskip("pyrage", reason="no `pyrage`: pip install 'heirloom-ota[archive]'")
    monkeypatch.setenv("HEIRLOOM_KEYS", str(home / "keys"))
    exported(heirloom, tmp_path / "out")
    eva, stranger = (pyrage.x25519.Identity.generate() for _ in range(2))
    for name, identity in (("eva", eva), ("stranger", stranger)):
        (tmp_path / name).write_text(f"# key of {name}\n{identity}\n")
    inventory = tmp_path / "inventory.json"
    inventory.write_text('[{"id": "garden"}]')
    devices = project.state_dir / "devices/garden"
    devices.mkdir(parents=True)
    (devices / "identity.json").write_text('{"secret": "00ff"}')
    sealed = tmp_path / "secrets.age"
    ran = heirloom("export", sealed, "--secrets", "--to", eva.to_public(), "--inventory", inventory)
    assert ran.code == 0, ran.err
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE KEY" not in sealed.read_bytes()
    assert heirloom("export", tmp_path / "x", "--secrets").code == 2
    assert heirloom("export", tmp_path / "x", "--secrets", "--to", "age1nobody").code == 2

    monkeypatch.setenv("HEIRLOOM_KEYS", str(elsewhere.parent / "keys"))
    assert heirloom("import", tmp_path / "out", "--into", elsewhere).code == 0
    monkeypatch.chdir(elsewhere)
    ran = heirloom("import", sealed, "--secrets", "--identity", tmp_path / "stranger")
    assert (ran.code, "does not open with that key" in ran.err) == (1, True)
    ran = heirloom("import", sealed, "--secrets", "--identity", tmp_path / "eva")
    assert ran.code == 0, ran.err
    for file in (home / "keys").iterdir():
        assert (elsewhere.parent / "keys" / file.name).read_bytes() == file.read_bytes()
    assert (elsewhere / ".heirloom/devices/garden/identity.json").read_text() == '{"secret": "00ff"}'
    assert (elsewhere / ".heirloom/inventory/inventory.json").is_file()
    assert heirloom("renew").code == 0
    (elsewhere.parent / "keys/root-1.pem").write_bytes(b"mine")
    ran = heirloom("import", sealed, "--secrets", "--identity", tmp_path / "eva")
    assert (ran.code, "exists with other content" in ran.err) == (1, True)


def test_without_pyrage_everything_else_works(
    project: Project, heirloom: Heirloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    ran = heirloom("export", tmp_path / "x", "--secrets", "--to", "age1x")
    assert ran.code == 1
    assert "heirloom-ota[archive]" in ran.err
    exported(heirloom, tmp_path / "out")
    assert archive.description(tmp_path / "out")["product"] == "weather"
