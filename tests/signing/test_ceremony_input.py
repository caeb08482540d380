"""Ceremony folders as they should not be, signers who should not sign, and git carrying them about."""

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Key, SSlibKey
from signing_product import BOARD, PASSPHRASE, Product, Program
from tuf.api.metadata import Metadata, Root

from heirloom.cli.errors import HeirloomError
from heirloom.signing import keyfile
from heirloom.signing.ceremony import base as bases
from heirloom.signing.ceremony.ceremony import Ceremony, start
from heirloom.signing.ceremony.proposal import identity
from heirloom.signing.ceremony.wishes import NewKey, Wishes
from heirloom.signing.keys import signer_of
from heirloom.signing.metadata import next_role, to_bytes, utc_now


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


Begin = Callable[..., Path]
DOCUMENT, NOT_STARTED_SO = "documents/2.root.json", "is not what the ceremony was started with"


@pytest.fixture
def begin(product: Product, heirloom: Program) -> Begin:
    """Starts a ceremony; returns its folder."""

    def go(*argv: str) -> Path:
        ran = heirloom("ceremony", "start", "--json", *(argv or ("--threshold", "root=3")))
        assert ran.code == 0, ran.err
        return Path(json.loads(ran.out)["folder"])

    return go


def edit(path: Path, change: Callable[[Any], None]) -> None:
    fields = json.loads(path.read_bytes())
    change(fields)
    path.write_text(json.dumps(fields))


def again(folder: Path) -> Path:
    """Gives an edited folder the hashes and the name that it would have if it had been started so."""
    for name in json.loads((folder / "proposal.json").read_bytes())["documents"]:
        data = Metadata.from_bytes((folder / "documents" / name).read_bytes()).signed_bytes
        edit(folder / "proposal.json", lambda fields, n=name, d=data: fields["documents"].update({n: identity(d)}))
    short = identity((folder / "proposal.json").read_bytes())[:8]
    return folder.rename(folder.with_name(f"{folder.name[:-9]}-{short}"))


def signed_edit(folder: Path, change: Callable[[Any], None], name: str = "2.root.json") -> Path:
    edit(folder / "documents" / name, lambda fields: change(fields["signed"]))
    return again(folder)


# -- folders


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: edit(f / DOCUMENT, lambda d: d["signed"].update(expires="2090-01-01T00:00:00Z")), NOT_STARTED_SO),
        (lambda f: edit(f / "proposal.json", lambda d: d.update(purpose="Fix a typo")), "the proposal of ceremony"),
        (lambda f: (f / DOCUMENT).unlink(), "is missing"),
        (lambda f: (f / "proposal.json").unlink(), "is no ceremony"),
        (lambda f: (f / "proposal.json").write_text("[" * 100_000), "the proposal of ceremony"),
        (lambda f: (f / DOCUMENT).write_bytes(b"x" * 2_000_000), "is no file of at most"),
        (lambda f: ((f / DOCUMENT).unlink(), (f / DOCUMENT).symlink_to("/dev/zero")), "cannot read"),
        (lambda f: shutil.copy(f / "base/1.root.json", f / DOCUMENT), NOT_STARTED_SO),
    ],
    ids=["edited", "proposal edited", "no document", "no proposal", "deep", "huge", "link", "signed"],
)
def test_damaged_folders(begin: Begin, heirloom: Program, damage: Callable[[Path], None], said: str) -> None:
    folder = begin()
    damage(folder)
    ran = heirloom("ceremony", "sign", str(folder), "--yes")
    assert ran.code == 1
    assert said in ran.err
    assert not list(folder.glob("signatures/*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(version=7), "is version 7 where 2 must follow"),
        (lambda d: d.update({"x-heirloom-product": "toaster"}), "root would become that of toaster"),
        (lambda d: d.update(consistent_snapshot=False), "consistent snapshots off"),
        (lambda d: d["roles"]["timestamp"].update(threshold=2), "timestamp would need 2 of 1 keys"),
        (lambda d: d.update(expires="2020-01-01T00:00:00Z"), "expired on 2020-01-01"),
        (lambda d: d.update({"x-heirloom-signed-at": "2099-01-01T00:00:00Z"}), "states 2099-01-01"),
    ],
)
def test_documents_that_nobody_should_sign(
    begin: Begin, heirloom: Program, change: Callable[[Any], None], said: str
) -> None:
    folder = signed_edit(begin(), change)
    ran = heirloom("ceremony", "sign", str(folder), "--yes")
    assert ran.code in (1, 2)
    assert said in ran.err
    assert not list(folder.glob("signatures/*"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("2.root.json", lambda d: d.update({"x-new": 1})),
        ("2.root.json", lambda d: d.update({"x-heirloom-urls": ["https://evil.example/"]})),
        ("2.root.json", lambda d: d["roles"]["snapshot"].update({"x-note": 1})),
        ("2.root.json", lambda d: d["keys"].update({"ab" * 32: next(iter(d["keys"].values()))})),
        ("2.root.json", lambda d: d.update(expires="2030-01-01T00:00:00Z")),
        ("2.root.json", lambda d: d.update({"x-heirloom-signed-at": "2026-01-05T00:00:00Z"})),
        ("2.root.json", lambda d: d["x-heirloom-holders"].update({next(iter(d["keys"])): "Mallory"})),
        ("2.targets.json", lambda d: d.update({"x-heirloom-maker": {"name": "Mallory"}})),
        ("2.targets.json", lambda d: d["delegations"]["roles"][0].update(paths=["*"])),
        ("2.targets.json", lambda d: d["delegations"]["roles"][0].update(terminating=False)),
        ("2.targets.json", lambda d: d["delegations"]["roles"].reverse()),
        ("2.targets.json", lambda d: d["targets"].update({"x": {"length": 1, "hashes": {"sha256": "00"}}})),
        (f"2.releases-{BOARD}.json", lambda d: d["targets"].update({"x": {"length": 1, "hashes": {"sha256": "00"}}})),
        (f"2.releases-{BOARD}.json", lambda d: d.update({"delegations": {"keys": {}, "roles": []}})),
    ],
)
def test_nothing_is_left_out_of_the_difference(
    product: Product, begin: Begin, name: str, change: Callable[[Any], None]
) -> None:
    folder = begin("--renew", "root", "--renew", "targets", "--renew", f"releases-{BOARD}")

    def words(path: Path) -> list[str]:
        ceremony = Ceremony.load(path)
        return [change.sentence for change in ceremony.difference(ceremony.base(product.repository.read, None))]

    before = words(folder)
    assert words(signed_edit(folder, change, name)) != before


def test_a_foreign_ceremony(product: Product, begin: Begin, heirloom: Program, tmp_path: Path) -> None:
    folder = begin()
    project = product.project.root
    shutil.move(project, tmp_path / "mine")
    os.chdir(tmp_path)
    # The same names, other keys: another product.
    os.environ["HEIRLOOM_KEYS"] = str(tmp_path / "other-keys")
    argv = ("--name", "weather", "--board", BOARD, "--url", "http://127.0.0.1:9/", "--url", "https://a.example.org/")
    assert heirloom("init", *argv, "--project", str(tmp_path / "other")).code == 0
    ran = heirloom("ceremony", "sign", str(tmp_path / "mine/ceremonies" / folder.name), "--yes", "--project", "other")
    assert ran.code == 1
    assert "builds on another 1.root.json" in ran.err


def test_another_product_in_the_project_file(begin: Begin, heirloom: Program) -> None:
    folder = begin()
    path = Path("heirloom.toml")
    path.write_text(path.read_text().replace('name = "weather"', 'name = "toaster"'))
    ran = heirloom("ceremony", "sign", str(folder), "--yes")
    assert ran.code == 1
    assert "of the product weather, the keys here are of toaster" in ran.err


# -- signatures


def some_signature(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("signatures/*.json"))))


def test_a_wrong_signature_counts_nothing(product: Product, begin: Begin, heirloom: Program) -> None:
    folder = begin("--renew", "root")
    heirloom("ceremony", "sign", "--yes", "--key", "root-1", "--key", "root-2")
    edit(some_signature(folder), lambda fields: fields.update(sig="00" * 64))
    ran = heirloom("ceremony", "finish")
    assert ran.code == 1
    assert "needs 1 more of its holders: root-3 (wrong signature: root-" in ran.err
    assert not product.repository.read("2.root.json")


@pytest.mark.parametrize("content", ["", "{}", '{"keyid": 1, "sig": "00"}', "[" * 3000, '{"sig": "zz"}'])
def test_a_damaged_signature_is_named(begin: Begin, heirloom: Program, content: str) -> None:
    folder = begin()
    heirloom("ceremony", "sign", "--yes", "--key", "root-1")
    some_signature(folder).write_text(content)
    ran = heirloom("ceremony", "finish")
    assert ran.code == 1
    assert "is no signature" in ran.err


def test_signatures_of_strangers_and_other_files_are_ignored(product: Product, begin: Begin, heirloom: Program) -> None:
    folder = begin("--renew", "root")
    product.store.create("stranger", PASSPHRASE)
    (folder / "signatures").mkdir()
    document = Ceremony.load(folder).documents["2.root.json"]
    made = signer_of(product.project, "stranger").sign(document.signed_bytes)
    for name in ("2.root.json", "9.root.json"):
        path = folder / f"signatures/{name}.{made.keyid}.json"
        path.write_text(json.dumps({"keyid": made.keyid, "sig": made.signature}))
    (folder / "signatures/notes.txt").write_text("hello")
    heirloom("ceremony", "sign", "--yes", "--key", "root-1")
    assert "needs 1 more" in heirloom("ceremony", "finish").err
    assert heirloom("ceremony", "sign", "--yes", "--key", "root-2").code == 0
    assert heirloom("ceremony", "finish").code == 0
    assert made.keyid not in product.repository.root().signatures


def twin_of(public: SSlibKey) -> Key:
    """The same key under another keyid."""
    return Key.from_dict("f" * 64, public.to_dict())


def test_one_key_under_two_names_counts_once(product: Product, begin: Begin, heirloom: Program) -> None:
    stands = bases.of_repository(product.repository)
    twin = twin_of(product.store.public("root-1"))
    assert isinstance(twin, SSlibKey)
    wishes = Wishes(add={"root": [NewKey(twin, "Root One Again")]})
    with pytest.raises(HeirloomError, match="are the same key under two names"):
        start(product.project.root / "c", stands, wishes, utc_now(), product="weather", purpose="cheat")

    def change(fields: Any) -> None:
        fields["keys"]["f" * 64] = twin.to_dict()
        fields["roles"]["root"]["keyids"].append("f" * 64)

    folder = signed_edit(begin(), change)
    ran = heirloom("ceremony", "sign", str(folder), "--yes")
    assert ran.code == 1
    assert "are the same key under two names" in ran.err


def test_nobody_signs_what_changed_after_they_looked(product: Product, begin: Begin, heirloom: Program) -> None:
    folder = begin()
    shown = Ceremony.load(folder)
    base = shown.base(product.repository.read, None)
    moved = signed_edit(folder, lambda fields: fields["roles"]["root"].update(threshold=1))
    ran = heirloom("ceremony", "sign", str(moved), "--yes", "--id", shown.id)
    assert ran.code == 1
    assert "was looked at" in ran.err
    # And where the files change under the program's hands.
    moved.rename(folder)
    with pytest.raises(HeirloomError, match="was looked at"):
        shown.sign([signer_of(product.project, "root-1")], shown.id, base)
    assert not list(folder.glob("signatures/*"))


def test_short_ids_are_no_agreement(begin: Begin, heirloom: Program) -> None:
    folder = begin()
    short = Ceremony.load(folder).id[:7]
    assert heirloom("ceremony", "sign", "--yes", "--id", short).code == 1
    assert heirloom("ceremony", "sign", "--yes", "--id", Ceremony.load(folder).id[:8]).code == 0


def test_signing_twice_is_harmless(begin: Begin, heirloom: Program) -> None:
    folder = begin()
    assert heirloom("ceremony", "sign", "--yes").code == 0
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    ran = heirloom("ceremony", "sign", "--yes")
    assert ran.code == 0
    assert "signed already" in ran.out
    assert before == {path: path.read_bytes() for path in folder.rglob("*.json")}


def test_two_open_ceremonies_side_by_side(begin: Begin, heirloom: Program, tmp_path: Path) -> None:
    """As git brings them together: nobody signs two files of one version; aborting one frees the other."""
    first = begin()
    ran = heirloom("ceremony", "start", "--renew", "root")
    assert ran.code == 1
    assert "makes 2.root.json already" in ran.err
    shutil.move(first, tmp_path / "aside")
    second = begin("--renew", "root")
    shutil.move(tmp_path / "aside", first)
    ran = heirloom("ceremony", "sign", str(second), "--yes")
    assert ran.code == 1
    assert f"conflicts with {first.name}: both make 2.root.json" in ran.err
    assert heirloom("ceremony", "abort", str(first), "--yes").code == 0
    assert heirloom("ceremony", "sign", str(second), "--yes").code == 0


# -- wishes


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "nothing would change"),
        (("--threshold", "root=4"), "root would need 4 of 3 keys"),
        (("--threshold", "root=0"), "is no whole number from 1 on"),
        (("--threshold", "root"), "not of the form"),
        (("--threshold", "nobody=1"), "there is no role nobody"),
        (("--lost", "timestamp"), "timestamp would need 1 of 0 keys"),
        (("--lost", "nobody"), "no key in use is called nobody"),
        (("--remove-key", "root=targets-1"), "root has no key"),
        (("--add-key", "root=root-1"), "has the key of root-1 already"),
        (("--add-key", "root=absent.pub.json"), "there is no file"),
        (("--replace-key", "root-1=absent"), "no key absent"),
        (("--epoch", "0"), "it can only be raised"),
        (("--board", BOARD, "--add-key", f"releases-{BOARD}=root-1"), "no key channels-" + BOARD + "-x"),
        (("--url", "https://a.example.org/"), "at least 2 places"),
        (("--handover", "absent.toml"), "cannot read"),
    ],
)
def test_wishes_that_make_no_sense(product: Product, heirloom: Program, argv: tuple[str, ...], said: str) -> None:
    if said.endswith("-x"):
        said = "has the board"
    ran = heirloom("ceremony", "start", *argv)
    assert ran.code in (1, 2)
    assert said in ran.err
    assert not (product.project.root / "ceremonies").exists()


def test_a_private_key_is_not_taken_for_a_public_one(product: Product, heirloom: Program) -> None:
    ran = heirloom("ceremony", "start", "--add-key", f"root={product.store.directory / 'root-1.pem'}")
    assert ran.code == 1
    assert "is a private key" in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[roles.root]\nkeys = { A = 'root-1' }\n", "it lacks targets"),
        (f"[product]\ncontact='x'\n[roles.releases-{BOARD}]\nkeys = {{ A = 'root-1' }}\n", "[product] passes on"),
        (f"[roles.releases-{BOARD}]\nkeys = {{ A = 'releases-{BOARD}-1' }}\n", "which it has now"),
        (f"[roles.releases-{BOARD}]\nkeys = {{ A = 'absent' }}\n", "no key absent"),
        (f"[roles.releases-{BOARD}]\nkeys = {{ A = 'root-1' }}\nthreshold = 0\n", "threshold is 0"),
        (f"[roles.releases-{BOARD}]\nkeys = ['root-1']\n", "must be a table"),
        ("[rolls]\n", "did you mean"),
        ("=", "is not TOML"),
    ],
)
def test_wrong_handover_files(heirloom: Program, product: Product, text: str, said: str) -> None:
    Path("to.toml").write_text(text)
    ran = heirloom("ceremony", "start", "--handover", "to.toml")
    assert ran.code in (1, 2)
    assert said in ran.err


# -- carrying it about


def git(*argv: str, cwd: Path) -> str:
    named = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *named, *argv], cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_git_carries_it(product: Product, begin: Begin, heirloom: Program, tmp_path: Path) -> None:
    """Two holders sign in clones of their own; the merge has no conflict, and the ceremony is complete."""
    folder = begin("--renew", "root")
    root = product.project.root
    git("init", cwd=root)
    git("add", ".", cwd=root)
    git("commit", "-m", "start", cwd=root)
    for name in ("root-1", "root-2"):
        clone = tmp_path / name
        git("clone", str(root), str(clone), cwd=tmp_path)
        ran = heirloom("ceremony", "sign", "--yes", "--key", name, "--project", str(clone))
        assert ran.code == 0, ran.err
        git("add", ".", cwd=clone)
        git("commit", "-m", f"signed by {name}", cwd=clone)
    for name in ("root-1", "root-2"):
        git("pull", "--no-rebase", "--no-edit", str(tmp_path / name), "HEAD", cwd=root)
    assert len(list(folder.glob("signatures/*"))) == 2
    assert heirloom("ceremony", "finish").code == 0
    assert product.repository.root().signed.version == 2


def test_a_stick_and_nothing_else(product: Product, begin: Begin, heirloom: Program, tmp_path: Path) -> None:
    """A signer without the project: the folder, a root that they trust, and their key."""
    product.store.create("dora", PASSPHRASE)
    folder = begin("--replace-key", "root-3=dora", "--holder", "dora=Dora")
    stick = tmp_path / "stick"
    shutil.copytree(folder, stick / folder.name)
    root = shutil.copy(product.project.repository / "metadata/1.root.json", tmp_path / "my-root.json")
    keys = tmp_path / "doras-keys"
    keys.mkdir(mode=0o700)
    for path in product.store.directory.glob("dora.*"):
        shutil.move(path, keys)
    os.chdir(stick)
    os.environ["HEIRLOOM_KEYS"] = str(keys)
    assert "no root to trust" in heirloom("ceremony", "sign", folder.name, "--yes").err
    ran = heirloom("ceremony", "sign", folder.name, "--yes", "--root", str(root))
    assert ran.code == 0, ran.err
    assert "Dora (ed25519 key" in ran.err
    written = list((stick / folder.name / "signatures").iterdir())
    assert len(written) == 1
    foreign = tmp_path / "foreign.json"
    forged: Metadata[Root] = Metadata.from_file(str(root))
    forged.signed.unrecognized_fields["x"] = 1
    forged.to_file(str(foreign))
    assert heirloom("ceremony", "sign", folder.name, "--yes", "--root", str(foreign)).code == 1


def test_at_a_terminal(product: Product, begin: Begin, tmp_path: Path) -> None:
    """The difference is shown before the question; only yes signs."""
    folder = begin()
    for answer, signs in ((b"n\n", False), (b"y\n", True)):
        leader, follower = pty.openpty()
        argv = [
            sys.executable,
            "-c",
            "from heirloom.cli.main import main; main()",
            "ceremony",
            "sign",
            "--key",
            "root-1",
        ]
        os.write(leader, answer)
        ran = subprocess.run(argv, stdin=follower, capture_output=True, text=True, timeout=60, check=False)
        os.close(leader)
        os.close(follower)
        question = ran.stderr.index("Sign ceremony")
        assert ran.stderr.index("root needs 3 of 3 signatures, 2 of 3 until now") < question
        assert bool(list(folder.glob("signatures/*"))) is signs
        assert (ran.returncode == 0) is signs


def test_without_a_terminal(begin: Begin, heirloom: Program) -> None:
    folder = begin()
    ran = heirloom("ceremony", "sign")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert not list(folder.glob("signatures/*"))


def test_a_signer_without_a_say(product: Product, begin: Begin, heirloom: Program) -> None:
    begin()
    ran = heirloom("ceremony", "sign", "--yes", "--key", "targets-1")
    assert ran.code == 1
    assert "targets-1 has no say in ceremony" in ran.err
    for path in product.store.directory.glob("root-*.pem"):
        path.unlink()
    ran = heirloom("ceremony", "sign", "--yes")
    assert ran.code == 1
    assert "no key that counts in this ceremony" in ran.err


@pytest.mark.parametrize(
    "name",
    [
        "1.nobody.json",
        "1.releases-NOWHERE.json",
        "1.releases-NOWHERE-archive-0.json",
        f"1.releases-{BOARD}-archive-0.json",
        f"2.channels-{BOARD}.json",
        "2.snapshot.json",
        "timestamp.json",
        "../../2.targets.json",
        "2..json",
    ],
)
def test_a_document_of_a_role_that_no_ceremony_makes(
    product: Product, begin: Begin, heirloom: Program, name: str
) -> None:
    """Every command that looks at the folder says what is wrong, and none of them breaks."""
    folder = begin()
    role = next_role(product.repository.role(f"releases-{BOARD}"), f"releases-{BOARD}", utc_now())
    role.signed.version = 1
    place = folder / "documents" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(to_bytes(role))
    digest = hashlib.sha256(role.signed_bytes).hexdigest()
    edit(folder / "proposal.json", lambda fields: fields["documents"].update({name: digest}))
    short = identity((folder / "proposal.json").read_bytes())[:8]
    folder = folder.rename(folder.with_name(f"{folder.name[:-9]}-{short}"))
    for words in (
        ["ceremony", "status", folder],
        ["ceremony", "sign", folder, "--yes"],
        ["ceremony", "finish", folder],
    ):
        ran = heirloom(*words)
        assert ran.code == 1 or (words[1] == "status" and "PROBLEM" in ran.out), (words, ran)
        assert "internal" not in ran.err
        assert "Traceback" not in ran.err
    for words in (["ceremony", "status"], ["status"]):
        ran = heirloom(*words)
        assert ran.code in (0, 3), ran.err
    assert not list(folder.glob("signatures/*"))
    assert not (product.project.repository / "metadata/2.root.json").exists()
