"""`heirloom get`, against the real server and against hostile ones."""

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from heirloom.cli.errors import HeirloomError
from heirloom.device.manifest import Manifest
from heirloom.server import publish
from heirloom.server.blobs import BlobFetcher
from heirloom.server.get import get
from heirloom.server.store import Store
from heirloom.signing import online
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes, utc_now
from heirloom.signing.repository import Repository

PICO, ESP = "SIM_RPI_PICO_W", "SIM_ESP32_GENERIC"


@pytest.fixture
def root(project) -> bytes:
    return (project.repository / "metadata/1.root.json").read_bytes()


def whole(folder: Path) -> Manifest:
    """The release in a folder, every content compared with its hash."""
    manifest = Manifest.decode((folder / "manifest.cbor").read_bytes())
    names = {sha256.hex() for _, _, sha256 in manifest.files}
    assert {path.name for path in (folder / "blobs").iterdir()} == names
    for name in names:
        assert hashlib.sha256((folder / "blobs" / name).read_bytes()).hexdigest() == name
    return manifest


def test_a_stock_client_sees_the_channel(project, serve_project, root, tmp_path):
    """Nothing of ours but the server: python-tuf refreshes, and downloads the manifest that the channel points to."""
    updater = Updater(
        str(tmp_path), serve_project + "metadata/", str(tmp_path), serve_project + "targets/", bootstrap=root
    )
    updater.refresh()
    info = updater.get_targetinfo(f"channels/{PICO}/stable")
    assert info is not None
    manifest = Manifest.decode(Path(updater.download_target(info)).read_bytes())
    assert (manifest.board, manifest.version) == (PICO, "1.0.0")
    listed = updater.get_targetinfo(info.custom["release"])
    assert listed is not None
    assert listed.hashes == info.hashes
    assert Path(updater.download_target(listed)).read_bytes() == manifest.encode()


def test_get(project, serve_project, heirloom, tmp_path):
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    manifest = whole(tmp_path / "out")
    assert ran.json["version"] == manifest.version == "1.0.0"
    assert ran.json["files"] == len(manifest.files) == 4
    assert ran.json["bytes_fetched"] == sum({sha256: length for _, length, sha256 in manifest.files}.values())
    again = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out", "--json")
    assert again.json["bytes_fetched"] == 0


def test_get_moves_changed_files_only(project, serve_project, heirloom, tmp_path):
    heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    heirloom("release", "publish", "1.1.0", "--channel", "stable")
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out", "--json")
    new = Manifest.decode((tmp_path / "out/manifest.cbor").read_bytes())
    old = Manifest.decode((project.state_dir / f"releases/{PICO}/1.0.0/manifest.cbor").read_bytes())
    known = {sha256 for _, _, sha256 in old.files}
    expected = sum(length for _, length, sha256 in new.files if sha256 not in known)
    assert 0 < ran.json["bytes_fetched"] == expected < sum(length for _, length, _ in new.files)


def test_outside_of_a_project(project, serve_project, heirloom, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.json").write_bytes(root)
    ran = heirloom("get", PICO, "--url", serve_project)
    assert (ran.code, "which root is to be trusted" in ran.err) == (2, True)
    ran = heirloom("get", PICO, "--root", "root.json")
    assert (ran.code, "where is the repository" in ran.err) == (2, True)
    ran = heirloom("get", PICO, "--root", "root.json", "--url", serve_project.rstrip("/"))
    assert ran.code == 0
    whole(tmp_path / f"{PICO}-stable")


def test_the_next_place_is_tried(project, serve_project, heirloom, root, tmp_path):
    """Places are tried, never trusted: one is dead, one is another product's folder."""
    fetched = get(
        PICO, "stable", ["http://127.0.0.1:9/", serve_project + "blobs/", serve_project], tmp_path / "out", root
    )
    assert fetched.url == serve_project
    whole(tmp_path / "out")


@pytest.mark.parametrize(
    ("board", "options", "words"),
    [("NOBOARD", [], "has no channel stable for NOBOARD"), (PICO, ["--channel", "beta"], "has no channel beta")],
)
def test_nothing_to_get(project, serve_project, heirloom, board, options, words):
    ran = heirloom("get", board, "--url", serve_project, *options)
    assert ran.code == 1
    assert words in ran.err


def test_not_a_repository(project, serve_project, heirloom):
    ran = heirloom("get", PICO, "--url", serve_project + "targets/")
    assert (ran.code, "HTTP status 404" in ran.err) == (1, True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "1.targets", f"2.releases-{PICO}", f"2.channels-{PICO}"])
def test_changed_metadata_is_refused(project, serve_project, heirloom, tmp_path, role):
    flip(project.repository / f"metadata/{role}.json")
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "does not verify" in ran.err
    assert not (tmp_path / "out/manifest.cbor").exists()
    flip(project.repository / f"metadata/{role}.json")
    assert heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out").code == 0


def test_a_changed_manifest_or_blob_is_refused(project, serve_project, heirloom, tmp_path):
    (manifest,) = (project.repository / f"targets/channels/{PICO}").iterdir()
    blob = max((project.repository / "blobs").glob("?" * 64), key=lambda path: path.stat().st_size)
    for path, words in ((manifest, "does not verify"), (blob, "is not the content that was signed for")):
        flip(path)
        ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
        assert ran.code == 1
        assert words in ran.err
        assert not (tmp_path / "out/manifest.cbor").exists()
        flip(path)
    assert heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out").code == 0
    whole(tmp_path / "out")


def test_a_missing_blob_is_told(project, serve_project, heirloom, tmp_path):
    (blob, *_) = (path for path in (project.repository / "blobs").glob("?" * 64) if path.stat().st_size)
    blob.unlink()
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert ran.code == 1
    assert f"{blob.name}: HTTP status 404" in ran.err


def test_a_replayed_repository_is_refused(project, serve_project, heirloom, tmp_path):
    """What was fetched before is remembered in the folder: an older repository does not verify."""
    shutil.copytree(project.repository, tmp_path / "old")
    heirloom("release", "publish", "1.1.0", "--channel", "stable")
    assert heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out").code == 0
    shutil.rmtree(project.repository)
    shutil.copytree(tmp_path / "old", project.repository)
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "does not verify" in ran.err
    assert whole_version(tmp_path / "out") == "1.1.0"


def whole_version(folder: Path) -> str:
    return Manifest.decode((folder / "manifest.cbor").read_bytes()).version


def test_a_stale_repository_is_refused(project, serve_project, heirloom, tmp_path, monkeypatch):
    long_ago = utc_now().replace(year=utc_now().year - 1)
    monkeypatch.setattr(publish, "utc_now", lambda: long_ago)
    assert heirloom("renew").code == 0
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert (ran.code, "is stale" in ran.err) == (1, True)


def test_somebody_elses_root(project, serve_project, product, tmp_path):
    """With the root of another product nothing here verifies."""
    with pytest.raises(HeirloomError, match="does not verify"):
        get(PICO, "stable", [serve_project], tmp_path / "out", product.sign("root")["1.root.json"])


def forge(project, monkeypatch, board: str, content: bytes, *, listed: bool) -> None:
    """Publish as somebody would who holds the online keys, and with `listed` that board's releases key too."""
    monkeypatch.setattr("heirloom.signing.rules.check_boards", lambda *_: None)
    repository = Repository(project.repository)
    release, channel = f"releases/{board}/6.6.6.cbor", f"channels/{board}/stable"
    changed, targets = {}, {channel: content}
    entries = [(f"channels-{board}", channel, {"release": release})]
    if listed:
        targets[release] = content
        entries.append((f"releases-{board}", release, {"version": "6.6.6", "epoch": 0, "sequence": 99}))
    for role, path, custom in entries:
        metadata = next_role(repository.role(role), role, utc_now())
        target = TargetFile.from_data(path, content, ["sha256"])
        target.unrecognized_fields["custom"] = custom
        metadata.signed.targets[path] = target
        sign(metadata, role_signers(project, role))
        changed[file_name(role, metadata.signed.version)] = to_bytes(metadata)
    signers = {role: role_signers(project, role) for role in ("snapshot", "timestamp")}
    Store(project.repository).commit(online.refresh(repository, changed, signers, utc_now()), targets, [])


def test_a_thief_of_the_online_keys_gets_nowhere(project, serve_project, heirloom, monkeypatch, tmp_path):
    manifest = Manifest.decode((project.state_dir / f"releases/{PICO}/1.1.0/manifest.cbor").read_bytes())
    manifest.sequence = 99
    forge(project, monkeypatch, PICO, manifest.encode(), listed=False)
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "its releases role does not list" in ran.err
    assert not (tmp_path / "out/manifest.cbor").exists()


def test_a_release_for_another_board_or_product(project, serve_project, heirloom, monkeypatch, tmp_path):
    content = (project.repository / "targets/releases" / PICO).glob("*.1.0.0.cbor")
    manifest = Manifest.decode(next(content).read_bytes())
    forge(project, monkeypatch, ESP, manifest.encode(), listed=True)
    ran = heirloom("get", ESP, "--url", serve_project, "--out", tmp_path / "out")
    assert (ran.code, f"the release is for {PICO}, not for {ESP}" in ran.err) == (1, True)
    manifest.product = "toaster"
    forge(project, monkeypatch, PICO, manifest.encode(), listed=True)
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert (ran.code, "for the product toaster, the trusted root for weather" in ran.err) == (1, True)


def test_a_folder_that_cannot_be_written(project, serve_project, heirloom, tmp_path):
    (tmp_path / "out").write_text("a file")
    ran = heirloom("get", PICO, "--url", serve_project, "--out", tmp_path / "out")
    assert (ran.code, "cannot write to" in ran.err) == (1, True)


# -- blobs, from servers that misbehave


CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT)


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers as its class says; remembers the ranges asked for."""

    protocol_version = "HTTP/1.1"
    cut_after: int | None = None
    endless = False
    ignore_range = False
    wrong = False
    asked: list[str | None] = []  # noqa: RUF012 - one list for a server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.ignore_range else 0
        body = (b"x" * len(CONTENT) if self.wrong else CONTENT)[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if not self.endless:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.endless:
            self.wfile.write(body)
            for _ in range(1000):
                self.wfile.write(b"x" * 65536)
        self.wfile.write(body[: self.cut_after])
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def hostile() -> Iterator[tuple[type[Hostile], str]]:
    kind = type("Kind", (Hostile,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def fetch(url: str, folder: Path) -> int:
    fetcher = BlobFetcher(url, folder, "test")
    fetcher.fetch(DIGEST.digest(), len(CONTENT), lambda _: None)
    assert (folder / DIGEST.hexdigest()).read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == [DIGEST.hexdigest()]
    return fetcher.bytes_fetched


def test_goes_on_where_the_connection_was_cut(hostile, tmp_path):
    kind, url = hostile
    kind.cut_after = 40_000
    assert fetch(url, tmp_path) == len(CONTENT)
    assert kind.asked == [None, "bytes=40000-", "bytes=80000-"]


def test_goes_on_in_the_next_run(hostile, tmp_path):
    _, url = hostile
    (tmp_path / f"{DIGEST.hexdigest()}.part").write_bytes(CONTENT[:70_000])
    assert fetch(url, tmp_path) == len(CONTENT) - 70_000


def test_a_bad_partial_file_is_fetched_again(hostile, tmp_path):
    _, url = hostile
    for bad in (b"y" * 70_000, b"y" * len(CONTENT), b"y" * (len(CONTENT) + 5)):
        (tmp_path / DIGEST.hexdigest()).unlink(missing_ok=True)
        (tmp_path / f"{DIGEST.hexdigest()}.part").write_bytes(bad)
        fetch(url, tmp_path)


def test_a_server_without_ranges(hostile, tmp_path):
    kind, url = hostile
    kind.ignore_range = True
    (tmp_path / f"{DIGEST.hexdigest()}.part").write_bytes(CONTENT[:70_000])
    fetch(url, tmp_path)


def test_endless_data_is_not_read(hostile, tmp_path):
    kind, url = hostile
    kind.endless = True
    assert fetch(url, tmp_path) < len(CONTENT) + 2 * 65536


def test_wrong_content_is_dropped(hostile, tmp_path):
    kind, url = hostile
    kind.wrong = True
    with pytest.raises(HeirloomError, match="is not the content that was signed for"):
        fetch(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_is_always_cut(hostile, tmp_path):
    kind, url = hostile
    kind.cut_after = 1000
    with pytest.raises(Exception, match=r"(?i)connection|incomplete"):
        fetch(url, tmp_path)
    assert (tmp_path / f"{DIGEST.hexdigest()}.part").stat().st_size == 4000
