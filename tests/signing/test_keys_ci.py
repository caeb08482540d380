"""Signing in CI: each command with only the rights that it needs, and never a machine alone."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from keys_roles import hold, name_keys
from securesystemslib.signer import CryptoSigner
from signing_product import BOARD, OTHER, PASSPHRASE, Product, Program

from heirloom.cli import discovery
from heirloom.cli.errors import HeirloomError
from heirloom.cli.main import hoist
from heirloom.cli.project import Project
from heirloom.signing import ci, keyfile, provenance
from heirloom.signing.keys import signer_of
from heirloom.signing.metadata import utc_now
from heirloom.signing.repository import Repository

RELEASES = f"releases-{BOARD}"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, quick_keys: None) -> CryptoSigner:
    """A CI system: an encrypted key in its environment."""
    private = ed25519.Ed25519PrivateKey.generate()
    monkeypatch.setenv("RELEASE_KEY", keyfile.seal(private, PASSPHRASE).decode())
    return CryptoSigner(private)


@pytest.fixture
def shared(product: Product, machine: CryptoSigner) -> Product:
    """The releases role is held by a person and a machine, two of two."""
    person = signer_of(product.project, f"{RELEASES}-1")
    hold(product, RELEASES, [person, machine], threshold=2, ci_keys=[machine])
    name_keys(product, RELEASES, [f"heirloom:{RELEASES}-1", "env:RELEASE_KEY"])
    return product


def checkout(product: Product, folder: Path) -> Path:
    """What is committed of the project, in another place."""
    ignored = shutil.ignore_patterns(".heirloom")
    return Path(shutil.copytree(product.project.root, folder, ignore=ignored))


def heirloom_alone(folder: Path, *argv: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The program as a machine runs it: nothing in the environment but PATH and what is named, and an empty home."""
    home = folder.parent / "empty home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    command = [sys.executable, "-c", "from heirloom.cli.main import main; main()", *argv]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert not any(home.rglob("*.p*")), "a key or a record of one"
    return done


def test_three_places_with_three_rights_release_together(
    shared: Product, tmp_path: Path, machine: CryptoSigner
) -> None:
    """CI builds and signs, a person signs, CI uploads, the server publishes: each with nothing more than it needs."""
    builder, signing = checkout(shared, tmp_path / "builder"), checkout(shared, tmp_path / "signing")
    done = heirloom_alone(builder, "release", "build", "--version", "1.0.0", "--board", BOARD)
    assert (done.returncode, done.stderr) == (0, "")
    assert heirloom_alone(builder, "release", "verify", "1.0.0").returncode == 0
    shutil.copytree(builder / ".heirloom/releases", signing / ".heirloom/releases")

    secrets = {"RELEASE_KEY": os.environ["RELEASE_KEY"], "HEIRLOOM_PASSPHRASE": PASSPHRASE}
    done = heirloom_alone(signing, "release", "sign", "1.0.0", **secrets)
    assert (done.returncode, done.stderr) == (0, "")
    assert "signed by 1 of 2" in done.stdout
    assert "1 more holders must sign" in done.stdout
    for argv in (["release", "publish", "1.0.0", "--stage", "early"], ["release", "publish", "1.0.0"]):
        done = heirloom_alone(signing, *argv)
        assert done.returncode == 1
        assert f"release 1.0.0 for {BOARD} carries 1 of 2 signatures" in done.stderr
    assert not (signing / "early").exists()

    desk = checkout(shared, tmp_path / "desk")
    shutil.copytree(signing / ".heirloom", desk / ".heirloom")
    keys = {"HEIRLOOM_KEYS": str(only(shared, tmp_path / "person", f"{RELEASES}-1")), "HEIRLOOM_PASSPHRASE": PASSPHRASE}
    done = heirloom_alone(desk, "release", "sign", "1.0.0", **keys)
    assert "signed by 2 of 2" in done.stdout, done.stderr

    done = heirloom_alone(desk, "release", "publish", "1.0.0", "--stage", "staged", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["boards"] == {BOARD: ["1.0.0"]}
    server = checkout(shared, tmp_path / "server")
    inbox = Path(shutil.move(desk / "staged", tmp_path / "inbox"))
    online = only(shared, tmp_path / "online", "snapshot", "timestamp", f"channels-{BOARD}", f"channels-{OTHER}")
    keys = {"HEIRLOOM_KEYS": str(online), "HEIRLOOM_PASSPHRASE": PASSPHRASE}
    argv = ["release", "publish", "1.0.0", "--from", str(inbox), "--channel", "stable"]
    done = heirloom_alone(server, *argv, **keys)
    assert done.returncode == 0, done.stderr
    published = Repository(server / "repository")
    published.check(utc_now())
    assert published.channels(BOARD) == {"stable": "1.0.0"}
    assert not (server / ".heirloom").exists()
    done = heirloom_alone(server, *argv, **keys)
    assert done.returncode == 1
    assert "is published" in done.stderr


def only(product: Product, folder: Path, *names: str) -> Path:
    """A folder with these keys and no others."""
    folder.mkdir(mode=0o700)
    for name in names:
        for suffix in (".pem", ".pub.json"):
            shutil.copy(product.store.directory / (name + suffix), folder)
    return folder


def test_the_order_of_holders_does_not_matter(shared: Product, heirloom: Program) -> None:
    shared.build("1.0.0")
    person, machine = f"{RELEASES}-1", "env:RELEASE_KEY"
    assert "signed by 1 of 2" in heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", person).out
    assert "signed by 1 of 2" in heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", person).out
    assert "signed by 2 of 2" in heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", machine).out


def test_the_second_holder_signs_what_the_first_one_signed(shared: Product, heirloom: Program) -> None:
    """Other content under the same version is not added to the first signature."""
    shared.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", "env:RELEASE_KEY").code == 0
    waiting = next((shared.project.state_dir / "signed").glob("*.json")).read_bytes()
    shutil.rmtree(shared.project.state_dir / "releases")
    shared.change(99)
    shared.build("1.0.0")
    ran = heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", f"{RELEASES}-1")
    assert ran.code == 1
    assert "was signed with other content" in ran.err
    assert next((shared.project.state_dir / "signed").glob("*.json")).read_bytes() == waiting


def test_a_machine_alone_is_refused_by_whoever_publishes(product: Product, machine: CryptoSigner) -> None:
    person = signer_of(product.project, f"{RELEASES}-1")
    before = product.repository.targets().signed.version
    with pytest.raises(HeirloomError, match=f"{RELEASES} has a CI key and needs 1 signature; it must be 2") as caught:
        hold(product, RELEASES, [person, machine], threshold=1, ci_keys=[machine])
    assert "threshold 2" in caught.value.advice
    with pytest.raises(HeirloomError, match="has a CI key"):
        hold(product, RELEASES, [machine], threshold=1, ci_keys=[machine])
    assert product.repository.targets().signed.version == before
    hold(
        product, RELEASES, [person, machine], threshold=1
    )  # not marked: the holders of targets say that it is a person


@pytest.mark.parametrize("field", [None, 3, {"a": 1}, [3, None]])
def test_a_field_of_another_shape_marks_nothing(product: Product, field: object) -> None:
    targets = product.repository.targets()
    targets.signed.unrecognized_fields[ci.CI_KEYS] = field
    assert ci.marked(targets.signed) == frozenset()
    ci.check(targets.signed)


def test_the_rule_is_for_releases_roles_only() -> None:
    assert ci.least_threshold(RELEASES, ["a", "b"], ["b"]) == 2
    assert ci.least_threshold(RELEASES, ["a", "b"], ["c"]) == 1
    assert ci.least_threshold(f"channels-{BOARD}", ["b"], ["b"]) == 1


def staged(product: Product, heirloom: Program, tmp_path: Path, version: str = "1.0.0") -> Path:
    product.build(version)
    assert heirloom("release", "sign", version, "--board", BOARD).code == 0
    folder = tmp_path / f"staged-{version}"
    assert heirloom("release", "publish", version, "--stage", folder, "--dry-run").code == 0
    assert not folder.exists()
    ran = heirloom("release", "publish", version, "--stage", folder)
    assert ran.code == 0
    assert f"{version} for {BOARD} is in {folder}" in ran.out
    return folder


def test_what_arrives_is_verified_as_if_made_here(product: Product, heirloom: Program, tmp_path: Path) -> None:
    """The uploader is trusted with nothing: no changed content, manifest or signature is published."""
    folder = staged(product, heirloom, tmp_path)
    release = folder / "releases" / BOARD / "1.0.0"
    (signed,) = (folder / "signed").iterdir()
    targets = [signed, release / "manifest.cbor", *sorted((release / "blobs").iterdir())]
    before = {path: path.read_bytes() for path in sorted(product.project.repository.rglob("*")) if path.is_file()}
    for path in targets:
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:], None):
            path.write_bytes(damaged) if damaged is not None else path.unlink()
            ran = heirloom("release", "publish", "1.0.0", "--from", folder, "--channel", "stable")
            assert ran.code == 1, path
            assert len(ran.err.splitlines()) <= 2
        path.write_bytes(whole)
    assert before == {path: path.read_bytes() for path in before}
    assert heirloom("release", "publish", "1.0.0", "--from", folder, "--channel", "stable").code == 0


def test_what_a_release_was_built_from_travels_with_it(product: Product, heirloom: Program, tmp_path: Path) -> None:
    """`export` and `release verify --source` find it where the release was published."""
    folder = staged(product, heirloom, tmp_path)
    shutil.rmtree(product.project.state_dir)
    assert heirloom("release", "publish", "1.0.0", "--from", folder).code == 0
    sha256 = product.repository.release(BOARD, "1.0.0").sha256
    record = provenance.find(product.project.state_dir, BOARD, "1.0.0", sha256)
    assert record is not None
    tar = provenance.source_path(product.project.state_dir, record)
    assert heirloom("release", "verify", "1.0.0", "--board", BOARD, "--source", tar).code == 0
    assert json.loads(heirloom("export", tmp_path / "out", "--json").out)["without_source"] == []


@pytest.mark.parametrize("what", ["forged", "absent", "escrow"])
def test_a_source_that_is_not_what_its_record_says_is_not_kept(
    product: Product, heirloom: Program, tmp_path: Path, what: str
) -> None:
    if what == "escrow":
        file = product.project.root / "heirloom.toml"
        file.write_text(file.read_text().replace("[app]\n", '[app]\nescrow = "with the notary"\n'))
        product.project = Project.load(product.project.root)
    folder = staged(product, heirloom, tmp_path)
    tars = list((folder / "sources").glob("*.tar"))
    assert len(tars) == (0 if what == "escrow" else 1)
    for tar in tars:
        tar.write_bytes(b"another source") if what == "forged" else tar.unlink()
    shutil.rmtree(product.project.state_dir)
    assert heirloom("release", "publish", "1.0.0", "--from", folder).code == 0
    assert not list((product.project.state_dir / "sources").glob("*"))
    sha256 = product.repository.release(BOARD, "1.0.0").sha256
    assert provenance.find(product.project.state_dir, BOARD, "1.0.0", sha256) is not None


def test_an_upload_that_came_too_late_says_so(product: Product, heirloom: Program, tmp_path: Path) -> None:
    early = staged(product, heirloom, tmp_path)
    assert heirloom("release", "publish", "1.0.0").code == 0
    ran = heirloom("release", "publish", "1.0.0", "--from", early)
    assert ran.code == 1
    assert "version 2 is published" in ran.err
    assert "sign again on top of it" in ran.err


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--stage", "new", "--channel", "stable"], 2, "--stage goes with neither"),
        (["--stage", "new", "--from", "old"], 2, "--stage goes with neither"),
        (["--stage", "."], 1, "exists already"),
        (["--from", "nowhere"], 1, "holds no signed release"),
    ],
)
def test_wrong_ways_to_stage(product: Product, heirloom: Program, argv: list[str], code: int, message: str) -> None:
    product.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD).code == 0
    ran = heirloom("release", "publish", "1.0.0", *argv)
    assert ran.code == code
    assert message in ran.err


def test_a_full_disk_leaves_no_half_of_a_staged_release(
    product: Product, heirloom: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product.build("1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--board", BOARD).code == 0

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    ran = heirloom("release", "publish", "1.0.0", "--stage", tmp_path / "out" / "staged")
    assert ran.code == 1
    assert "no space left" in ran.err
    assert list((tmp_path / "out").iterdir()) == []


def command_lines(text: str) -> list[list[str]]:
    """The `heirloom` commands in shell or comment lines, with CI's variables filled in."""
    lines = [
        match[1]
        for match in re.finditer(r"(?:^|[\s#])(heirloom (?:release|channel|key|ceremony)\b.*)$", text, re.MULTILINE)
    ]
    return [shlex.split(line.replace("${VERSION#v}", "1.2.0"), comments=True)[1:] for line in lines]


def parse(argv: list[str]) -> None:
    """Parse a command line against the real program, down to the command, without running it."""
    app = typer.Typer()
    app.callback()(lambda: None)
    discovery.register_all(app)
    command: Any = typer.main.get_command(app)
    context = command.make_context("heirloom", hoist(argv)[1])
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, rest, parent=context)


@pytest.fixture
def workflow(source_tree: Path) -> Path:
    return source_tree / "examples" / "ci" / "release.yml"


def test_every_command_of_the_example_workflow_is_one_of_ours(workflow: Path, product: Product) -> None:
    pytest.importorskip("yaml", reason="no pyyaml: pip install the development tools")
    import yaml

    parsed = yaml.safe_load(workflow.read_text())
    steps = [step for job in parsed["jobs"].values() for step in job["steps"] if "run" in step]
    ours = [line for step in steps for line in command_lines(step["run"])]
    assert len(ours) == 5
    shown = command_lines(workflow.read_text())
    assert len(shown) >= len(ours) + 4
    for argv in [*ours, *shown]:
        parse(argv)
    with pytest.raises(typer.TyperException):
        parse(["release", "sign", "1.0.0", "--passphrase", "x"])


def test_the_example_workflow_gives_each_job_its_own_rights(workflow: Path) -> None:
    pytest.importorskip("yaml", reason="no pyyaml: pip install the development tools")
    import yaml

    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    text = {name: yaml.dump(job) for name, job in jobs.items()}
    with_secrets = {name for name, job in text.items() if "secrets." in job}
    with_identity = {name for name, job in text.items() if "id-token" in job}
    assert with_secrets == {"sign-encrypted"}
    assert with_identity == {"sign-kms"}
    assert all("publish" not in job or name == "upload" for name, job in text.items())


def test_commands_in_the_page_about_keys_are_ours(source_tree: Path, product: Product) -> None:
    lines = [
        line for line in (source_tree / "docs" / "keys.md").read_text().splitlines() if line.startswith("    heirloom")
    ]
    for line in lines:
        argv = shlex.split(re.sub(r"\s{2,}[^-'].*$", "", line.strip()), comments=True)[1:]
        if argv[:2] not in (["release", "sign"], ["release", "publish"]):
            parse(argv)
    assert len(lines) >= 5


def test_no_secret_is_in_what_a_project_commits(product: Product, heirloom: Program, machine: CryptoSigner) -> None:
    assert heirloom("key", "import", "env:RELEASE_KEY", "--name", "pipeline", "--ci").code == 0
    private = machine._private_key.private_bytes(  # type: ignore[union-attr]
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    files = [path for path in Path(Project.load().root).rglob("*") if path.is_file()]
    files += list(product.store.directory.glob("pipeline*"))
    assert files
    for path in files:
        assert private not in path.read_bytes()
        assert b"PRIVATE KEY" not in path.read_bytes()


def test_a_ceremony_that_adds_a_ci_key_asks_for_two_signatures(
    product: Product, heirloom: Program, machine: CryptoSigner
) -> None:
    assert heirloom("key", "import", "env:RELEASE_KEY", "--name", "pipeline", "--ci").code == 0
    ran = heirloom("ceremony", "start", "--add-key", f"{RELEASES}=pipeline", "--threshold", f"{RELEASES}=1")
    assert ran.code == 1
    assert "so that no machine alone releases anything" in ran.err
    ran = heirloom("ceremony", "start", "--add-key", f"{RELEASES}=pipeline", "--yes")
    assert ran.code == 0, ran.err
    assert heirloom("ceremony", "sign", "--yes").code == 0
    assert heirloom("ceremony", "finish", "--yes").code == 0
    targets = product.repository.targets().signed
    assert targets.get_delegated_role(RELEASES).threshold == 2
    assert ci.marked(targets) == {machine.public_key.keyid}
    product.build("1.0.0")
    ran = heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", "pipeline")
    assert "signed by 1 of 2" in ran.out
