"""The rig signs what it tested, and a releases role that has its key publishes nothing else."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import tomlkit
from signing_product import BOARD, PASSPHRASE, Product, Program, write_app

from heirloom.cli.project import FILE_NAME, Project
from heirloom.hil import results
from heirloom.server.store import Store
from heirloom.signing import attestation, keyfile, rig
from heirloom.signing.attestation import TestedDevice

RELEASES = f"releases-{BOARD}"
KITCHEN = TestedDevice("kitchen", "sim", BOARD, "1.29.0")
Report = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT_N", 2)


@pytest.fixture
def rigged(product: Product, heirloom: Program) -> Product:
    """The releases role is held by a person and by a rig, whose key a ceremony brought in; it needs both."""

    def done(*argv: object) -> str:
        ran = heirloom(*argv)
        assert ran.code == 0, ran.err
        return ran.out

    done("key", "new", "rig", "--rig")
    made = json.loads(done("ceremony", "start", "--add-key", f"{RELEASES}=rig", "--json"))
    done("ceremony", "sign", made["folder"], "--yes")
    done("ceremony", "finish", made["folder"], "--yes")
    path = product.project.root / FILE_NAME
    document = tomlkit.parse(path.read_text())
    document["signing"][RELEASES] = [f"heirloom:{RELEASES}-1", "heirloom:rig"]  # type: ignore[index]
    path.write_text(tomlkit.dumps(document))
    product.project = Project.load(product.project.root)
    return product


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Makes a JUnit report as a rig writes it: report(sha256s, outcomes by name)."""

    def make(sha256s: list[str], devices: list[TestedDevice] | None = None, **outcomes: str) -> Path:
        suite = ET.Element("testsuite", name="life-cycle", timestamp=datetime.now(UTC).isoformat(), time="2.5")
        said = ET.SubElement(suite, "properties")
        for name, value in results.properties(sha256s, [KITCHEN] if devices is None else devices, "life-cycle"):
            ET.SubElement(said, "property", name=name, value=value)
        for name, outcome in (outcomes or {"updates": "passed", "has_wifi": "skipped"}).items():
            case = ET.SubElement(suite, "testcase", classname="lifecycle", name=name)
            if outcome != "passed":
                ET.SubElement(case, outcome, message="it has none")
        path = tmp_path / f"report-{len(list(tmp_path.glob('report-*')))}.xml"
        ET.ElementTree(suite).write(path)
        return path

    return make


def test_nothing_untested_is_published(rigged: Product, heirloom: Program, report: Report) -> None:
    targets = rigged.repository.targets().signed
    assert len(rig.keys_of(targets, RELEASES)) == 1
    assert targets.get_delegated_role(RELEASES).threshold == 2
    built = rigged.build("1.0.0")
    signed = heirloom("release", "sign", "1.0.0", "--board", BOARD)
    assert signed.code == 0, "the person's key signs; the rig's is passed over"
    assert "signed by 1 of 2" in signed.out
    refused = heirloom("release", "publish", "1.0.0", "--board", BOARD)
    assert refused.code == 1
    assert "1 of 2 signatures" in refused.err
    by_name = heirloom("release", "sign", "1.0.0", "--board", BOARD, "--key", "rig")
    assert by_name.code == 1
    assert "signs only what the rig tested, not 1.0.0" in by_name.err

    attested = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([built.sha256]), "--json")
    assert attested.code == 0, attested.err
    said = json.loads(attested.out)["attested"][0]
    assert (said["passed"], said["devices"], said["role"]["signatures"]) == (1, ["kitchen"], 2)
    published = heirloom("release", "publish", "1.0.0", "--board", BOARD, "--channel", "stable")
    assert published.code == 0, published.err
    (file,) = (rigged.project.repository / "attestations").iterdir()
    envelope = json.loads(file.read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert file.name == f"{built.sha256}.intoto.jsonl"
    assert "attested by the rig" in heirloom("release", "verify", "1.0.0", "--board", BOARD).out

    # The next release is another one, and its attestation is not there.
    rigged.change(7)
    rigged.build("1.1.0")
    assert heirloom("release", "sign", "1.1.0", "--board", BOARD).code == 0
    assert heirloom("release", "publish", "1.1.0", "--board", BOARD).code == 1


def test_two_people_cannot_outvote_the_rig(
    rigged: Product, heirloom: Program, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher wants the rig's signature however many others there are."""
    done = heirloom("key", "new", "second")
    assert done.code == 0, done.err
    made = json.loads(heirloom("ceremony", "start", "--add-key", f"{RELEASES}=second", "--json").out)
    assert heirloom("ceremony", "sign", made["folder"], "--yes").code == 0
    assert heirloom("ceremony", "finish", made["folder"], "--yes").code == 0
    path = rigged.project.root / FILE_NAME
    path.write_text(path.read_text().replace('"heirloom:rig"', '"heirloom:rig", "heirloom:second"'))
    rigged.project = Project.load(rigged.project.root)
    built = rigged.build("1.0.0")
    assert "signed by 2 of 2" in heirloom("release", "sign", "1.0.0", "--board", BOARD).out
    refused = heirloom("release", "publish", "1.0.0", "--board", BOARD)
    assert refused.code == 1
    assert "no rig has attested it" in refused.err
    assert "heirloom hil attest 1.0.0" in refused.err
    ran = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([built.sha256]))
    assert ran.code == 0, ran.err
    # A signature of the rig without its statement does not do either: what was tested is part of it.
    kept = attestation.path_of(rigged.project.state_dir, built.sha256)
    moved = Path(shutil.move(kept, tmp_path / "elsewhere"))
    assert heirloom("release", "publish", "1.0.0", "--board", BOARD).code == 1
    shutil.move(moved, kept)
    staged = heirloom("release", "publish", "1.0.0", "--board", BOARD, "--stage", tmp_path / "inbox")
    assert staged.code == 0, staged.err
    shutil.rmtree(rigged.project.state_dir)
    ran = heirloom("release", "publish", "1.0.0", "--board", BOARD, "--from", tmp_path / "inbox")
    assert ran.code == 0, ran.err
    assert (rigged.project.repository / "attestations" / kept.name).read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ({"updates": "passed", "rolls_back": "failure"}, "failed 1 tests: lifecycle::rolls_back"),
        ({"updates": "passed", "rolls_back": "error"}, "failed 1 tests"),
        ({"updates": "skipped"}, "no test of release 1.0.0 ran on any device"),
    ],
)
def test_what_did_not_pass_is_not_attested(
    rigged: Product, heirloom: Program, report: Report, outcomes: dict[str, str], says: str
) -> None:
    built = rigged.build("1.0.0")
    ran = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([built.sha256], **outcomes))
    assert ran.code == 1
    assert says in ran.err
    assert not (rigged.project.state_dir / "attestations").exists()
    assert not (rigged.project.state_dir / "signed").exists()


def test_a_report_about_another_build_does_not_count(rigged: Product, heirloom: Program, report: Report) -> None:
    tested = rigged.build("1.0.0").sha256
    write_app(rigged.project.app.source, {"lib/sensor.py": "def read():\n    return -1\n"})
    rigged.build("1.0.0", replace=True)
    ran = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([tested]))
    assert ran.code == 1
    assert "no report is about release 1.0.0" in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<testsuite/>", "does not say which release was tested"),
        ("no xml", "is no JUnit XML"),
        (
            '<s><property name="heirloom.release" value="00"/><property name="heirloom.device" value="{"/></s>',
            "names a device in a way that is not known",
        ),
    ],
)
def test_reports_that_are_none(rigged: Product, heirloom: Program, tmp_path: Path, text: str, says: str) -> None:
    rigged.build("1.0.0")
    path = tmp_path / "odd.xml"
    path.write_text(text)
    ran = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", path)
    assert ran.code == 1
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_an_attestation_counts_only_as_it_was_signed(rigged: Product, heirloom: Program, report: Report) -> None:
    """Changed, about another release, by another key, or rubbish: passed over, never believed, never a crash."""
    built = rigged.build("1.0.0")
    assert heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([built.sha256])).code == 0
    folder = rigged.project.state_dir
    path, key, other = (
        attestation.path_of(folder, built.sha256),
        rigged.store.public("rig"),
        rigged.store.public("root-1"),
    )
    good = path.read_bytes()
    assert [found.passed for found in attestation.verified(folder, built.sha256, [key, other])] == [1]
    assert attestation.verified(folder, built.sha256, [other]) == []
    attestation.path_of(folder, "0" * 64).write_bytes(good)
    assert attestation.verified(folder, "0" * 64, [key]) == []
    fields = json.loads(good)
    payloads = [fields["payload"][:-8] + "AAAAAAA=", "", 7]
    lines = [json.dumps({**fields, "payload": payload}).encode() for payload in payloads]
    lines += [json.dumps({**fields, "payloadType": "text/plain"}).encode(), b"{}", b"[]", b"\xff", b"7", b"[" * 100_000]
    for line in lines:
        path.write_bytes(line + b"\n")
        assert attestation.verified(folder, built.sha256, [key]) == [], line
        path.write_bytes(line + b"\n" + good)
        assert len(attestation.verified(folder, built.sha256, [key])) == 1, line


def test_a_role_without_a_rig_attests_nothing(product: Product, heirloom: Program, report: Report) -> None:
    built = product.build("1.0.0")
    ran = heirloom("hil", "attest", "1.0.0", "--board", BOARD, "--results", report([built.sha256]))
    assert ran.code == 1
    assert "has no rig key" in ran.err
    assert "heirloom key new rig --rig" in ran.err
    assert PASSPHRASE not in ran.err
    assert Store(product.project.repository).path.is_dir()
