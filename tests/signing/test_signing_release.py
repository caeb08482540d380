"""Building, signing and verifying releases."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from signing_product import APP, BOARD, OTHER, PASSPHRASE, Product, write_app

from heirloom.boards import load as load_board
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import build, compiler, endorse, online, overview, release, source
from heirloom.signing.metadata import next_role, sign, to_bytes, utc_now

RELEASES = f"releases-{BOARD}"


@pytest.fixture
def app(product: Product) -> Path:
    return product.project.app.source


def test_python_becomes_bytecode_and_the_rest_stays(product: Product, app: Path) -> None:
    write_app(
        app, {"settings.json": "{}", "boot.py": "x = 1\n", "lib/boot.py": "y = 1\n", ".hidden": "", "lib/.git/x": ""}
    )
    write_app(app, {"__pycache__/main.pyc": "", "lib/__pycache__/sensor.pyc": ""})
    built = product.build("1.0.0")
    manifest = built.manifest
    paths = [path for path, _, _ in manifest.files]
    assert paths == ["boot.py", "lib/boot.mpy", "lib/sensor.mpy", "main.py", "settings.json"]
    assert (manifest.product, manifest.board, manifest.version) == ("weather", BOARD, "1.0.0")
    assert (manifest.epoch, manifest.sequence, manifest.floor, manifest.kind) == (0, 1, 0, 0)
    assert (manifest.confirm, manifest.install) == ("check", "reboot")
    for path, length, sha256 in manifest.files:
        data = (built.directory / "blobs" / sha256.hex()).read_bytes()
        assert (len(data), hashlib.sha256(data).digest()) == (length, sha256)
        assert path.endswith(".mpy") == data.startswith(b"M\x06")
    assert len(built.blobs) == len(paths)


def test_the_bytecode_runs_and_names_the_file_in_tracebacks(product: Product, app: Path, micropython: Path) -> None:
    write_app(app, {"lib/sensor.py": "def read():\n    raise ValueError('cold')\n"})
    built = product.build("1.0.0")
    sha256 = next(sha256 for path, _, sha256 in built.manifest.files if path == "lib/sensor.mpy")
    folder = app.parent / "device"
    folder.mkdir()
    shutil.copy(built.directory / "blobs" / sha256.hex(), folder / "sensor.mpy")
    command = [str(micropython), "-c", "import sensor; sensor.read()"]
    result = subprocess.run(
        command, cwd=folder, env={"MICROPYPATH": ".:.frozen"}, capture_output=True, text=True, check=False
    )
    assert 'File "lib/sensor.py", line 2, in read' in result.stdout


def test_the_same_input_gives_the_same_bytes(product: Product, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = product.build("1.0.0").manifest_bytes
    assert cbor2.loads(first)[17] == 1700000000
    elsewhere = app.parent / "elsewhere"
    for path in reversed(APP):
        write_app(elsewhere, {path: APP[path]})
    shutil.rmtree(product.project.state_dir / "releases")
    assert product.build("1.0.0", app=elsewhere).manifest_bytes == first


def test_building_again_keeps_the_release(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = product.build("1.0.0")
    endorse.sign(product.project, first)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    again = product.build("1.0.0")
    assert again.manifest_bytes == first.manifest_bytes
    assert release.unpublished(product.project, product.repository, BOARD)


def test_building_again_repairs_a_damaged_build(product: Product) -> None:
    first = product.build("1.0.0")
    first.blobs[0].write_bytes(b"damaged")
    with pytest.raises(HeirloomError, match="does not have its SHA-256"):
        first.check()
    product.build("1.0.0").check()


def test_other_content_needs_another_version(product: Product) -> None:
    product.build("1.0.0")
    product.change(2)
    with pytest.raises(HeirloomError, match="built with other content") as caught:
        product.build("1.0.0")
    assert "--replace" in caught.value.advice
    replaced = product.build("1.0.0", replace=True)
    endorse.sign(product.project, replaced)
    product.change(3)
    with pytest.raises(HeirloomError, match="built with other content") as caught:
        product.build("1.0.0", replace=True)
    assert "--replace" not in caught.value.advice
    product.publish(BOARD, "1.0.0")
    with pytest.raises(HeirloomError, match="already published"):
        product.build("1.0.0")


def test_sequences_go_up_by_themselves(product: Product) -> None:
    product.release("1.0.0")
    product.change(2)
    assert product.build("1.1.0").manifest.sequence == 2
    product.change(3)
    assert product.build("1.2.0").manifest.sequence == 3
    assert product.build("1.2.0", OTHER).manifest.sequence == 1
    product.change(2)
    assert product.build("1.1.0").manifest.sequence == 2, "that of its earlier build"


@pytest.mark.parametrize(("sequence", "message"), [(1, "not above 1"), (2, "that of 1.1.0"), (1 << 31, "too large")])
def test_sequences_that_do_not_go_up_are_refused(product: Product, sequence: int, message: str) -> None:
    product.release("1.0.0")
    product.build("1.1.0")
    with pytest.raises(HeirloomError, match=message):
        product.build("1.2.0", sequence=sequence)
    assert product.build("1.2.0", sequence=7).manifest.sequence == 7


def test_the_sequence_of_a_signed_release_is_taken_though_its_build_is_gone(product: Product) -> None:
    signed = product.build("1.0.0")
    endorse.sign(product.project, signed)
    shutil.rmtree(signed.directory)
    assert product.build("1.1.0").manifest.sequence == 2


def test_a_build_that_was_overtaken_gets_a_new_sequence(product: Product) -> None:
    product.build("0.9.0")
    product.release("1.0.0", sequence=5)
    assert product.build("0.9.0", replace=True).manifest.sequence == 6


def test_a_floor_is_named_by_version_and_never_sinks(product: Product) -> None:
    product.release("1.0.0")
    product.release("1.1.0", floor="1.0.0")
    assert product.build("1.2.0").manifest.floor == 1
    assert product.build("1.3.0", floor="4", sequence=4).manifest.floor == 4
    with pytest.raises(HeirloomError, match=r"^the floor 9 is above the release's own sequence 5"):
        product.build("1.4.0", floor="9")
    with pytest.raises(UsageError, match="neither a published version nor a sequence"):
        product.build("1.4.0", floor="9.9.9")


def test_a_stepping_stone_is_published_and_leads_there(product: Product) -> None:
    product.release("1.0.0")
    product.release("1.1.0")
    manifest = product.build("2.0.0", requires="1.1.0").manifest
    assert (manifest.requires, manifest.via) == (2, "1.1.0")
    manifest = product.build("2.1.0", requires="1", via="1.1.0").manifest
    assert (manifest.requires, manifest.via) == (1, "1.1.0")
    with pytest.raises(UsageError, match="--via without --requires"):
        product.build("2.2.0", via="1.1.0")
    with pytest.raises(HeirloomError, match="does not lead"):
        product.build("2.2.0", requires="2", via="1.0.0")
    with pytest.raises(HeirloomError, match=r"no release 2\.0\.0"):
        product.build("2.2.0", requires="2", via="2.0.0")
    with pytest.raises(UsageError, match="no published release has sequence 0"):
        product.build("2.2.0", requires="0")


def test_what_is_said_about_a_release_is_in_its_manifest(product: Product) -> None:
    manifest = product.build("1.0.0", kind="security", advisories=("CVE-2026-1",), notes="Warmer.").manifest
    assert (manifest.kind, manifest.advisories, manifest.notes) == (1, ["CVE-2026-1"], "Warmer.")
    with pytest.raises(UsageError, match="no kind of release"):
        product.build("1.1.0", kind="marketing")


def _symlink(name: str, target: str) -> Callable[[Path], None]:
    return lambda app: (app / name).symlink_to(target)


def _many(app: Path) -> None:
    write_app(app, {f"f{number}.txt": "" for number in range(298)})


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (shutil.rmtree, "there is no application folder"),
        (lambda app: [shutil.rmtree(app), app.mkdir()], "is empty"),
        (lambda app: (app / "main.py").unlink(), r"has no main\.py"),
        (
            lambda app: write_app(app, {"lib/bad.py": "x = 1\ndef f(:\n"}),
            r"^lib/bad\.py, line 2: SyntaxError: invalid syntax$",
        ),
        (
            lambda app: write_app(app, {"main.py": "await f()\n"}),
            r"^main\.py, line 1: SyntaxError: 'await' outside function$",
        ),
        (lambda app: write_app(app, {"x.py": "def f():\n    a\n  b\n"}), r"^x\.py, line 2: IndentationError"),
        (_many, "has 300 files, a release has at most 256"),
        (_symlink("passwd", "/etc/passwd"), "a link that leaves the folder"),
        (_symlink("up", "../heirloom.toml"), "a link that leaves the folder"),
        (_symlink("folder", "lib"), "a link to a folder"),
        (_symlink("nowhere", "nothing"), "cannot read .*nowhere"),
        (lambda app: os.mkfifo(app / "pipe"), "is not a file"),
        (lambda app: write_app(app, {"a\\b.txt": ""}), "backslash or a control character"),
        (lambda app: write_app(app, {"a\nb.txt": ""}), "backslash or a control character"),
        (lambda app: write_app(app, {"x" * 128: ""}), "longer than 127 bytes"),
        (lambda app: write_app(app, {os.fsdecode(b"caf\xe9"): ""}), "is not UTF-8"),
        (lambda app: write_app(app, {"lib/sensor.mpy": "M"}), r"lib/sensor\.mpy and lib/sensor\.py"),
        (lambda app: write_app(app, {"Main.py": "x = 1\n", "main.mpy": ""}), r"Main\.py and main\.mpy"),
        (lambda app: write_app(app, {"big.bin": bytes(900 << 10)}), r"big\.bin has 921600 bytes, the file system of"),
        (lambda app: write_app(app, {f"b{n}.bin": bytes([n]) * (300 << 10) for n in range(3)}), "the release takes"),
        (
            lambda app: write_app(app, {"lib": ""} if (shutil.rmtree(app / "lib")) else {"LIB/x": "", "lib": ""}),
            "same path",
        ),
    ],
)
def test_folders_that_are_no_application_are_refused(
    product: Product, app: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(app)
    with pytest.raises(HeirloomError, match=message) as caught:
        product.build("1.0.0")
    assert caught.value.advice
    assert not (product.project.state_dir / "releases" / BOARD / "1.0.0").exists()


def test_a_link_inside_the_folder_is_its_content(product: Product, app: Path) -> None:
    (app / "alias.txt").symlink_to("main.py")
    files = {path: sha256 for path, _, sha256 in product.build("1.0.0").manifest.files}
    assert files["alias.txt"] == files["main.py"]


def test_a_manifest_over_16_kib_is_refused(product: Product, app: Path) -> None:
    write_app(app, {f"{'x' * 100}{number}.txt": "" for number in range(200)})
    with pytest.raises(HeirloomError, match="bytes, at most 16384 are allowed"):
        product.build("1.0.0")


@pytest.mark.parametrize(("keep", "message"), [("../x", r"\.\. segment"), ("/x", "absolute"), ("a//b", "empty")])
def test_keep_paths_stay_inside(product: Product, keep: str, message: str) -> None:
    changed = dataclasses.replace(product.project, app=dataclasses.replace(product.project.app, keep=[keep]))
    with pytest.raises(HeirloomError, match=message):
        release.build(changed, BOARD, "1.0.0")


@pytest.mark.parametrize("version", ["../1", "1/0", "", ".1", "1 0", "x" * 65, "-1"])
def test_versions_that_could_leave_the_folder_are_refused(product: Product, version: str) -> None:
    with pytest.raises(UsageError, match="is no version"):
        product.build(version)
    with pytest.raises(UsageError, match="is no version"):
        release.load(product.project, BOARD, version)


def test_the_clock_of_a_build_is_a_number(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("yesterday", "-1", "1e9", "99999999999"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            product.build("1.0.0")


def test_a_board_of_another_bytecode_version_is_refused(tmp_path: Path) -> None:
    board = load_board(BOARD)
    with pytest.raises(HeirloomError, match=r"loads version 5\.2"):
        compiler.Compiler(dataclasses.replace(board, mpy="5.2"))
    native = tmp_path / "fast.py"
    native.write_text("import micropython\n@micropython.native\ndef f(x):\n    return x + 1\n")
    older = compiler.Compiler(dataclasses.replace(board, mpy="6.1"))
    with pytest.raises(HeirloomError, match="has native code"):
        older.compile(native, "fast.py")
    assert compiler.Compiler(board).compile(native, "fast.py")[2] >> 2
    plain = tmp_path / "plain.py"
    plain.write_text("x = 1\n")
    assert older.compile(plain, "plain.py").startswith(b"M\x06")


def test_a_build_is_whole_or_absent(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    real = build.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.name == "manifest.cbor":
            raise HeirloomError("cannot write: no space left on device")
        real(path, data)

    monkeypatch.setattr(build, "write_atomic", full)
    with pytest.raises(HeirloomError, match="no space left"):
        product.build("1.0.0")
    assert list((product.project.state_dir / "releases" / BOARD).iterdir()) == []


def test_a_dry_run_writes_nothing(product: Product) -> None:
    built = product.build("1.0.0", dry_run=True)
    assert built.manifest.sequence == 1
    assert not (product.project.state_dir / "releases").exists()


def test_several_releases_wait_for_publishing_together(product: Product) -> None:
    endorse.sign(product.project, product.build("1.0.0"))
    product.change(2)
    signed = endorse.sign(product.project, product.build("1.1.0"))
    assert signed.versions == ["1.0.0", "1.1.0"]
    assert signed.path.name == f"2.{RELEASES}.json"
    assert [built.version for built in release.unpublished(product.project, product.repository, BOARD)] == [
        "1.0.0",
        "1.1.0",
    ]
    product.publish(BOARD, "1.1.0")
    assert [known.version for known in product.repository.releases(BOARD)] == ["1.0.0", "1.1.0"]
    assert product.repository.channels(BOARD) == {"stable": "1.1.0"}
    assert release.pending(product.project, product.repository, BOARD) is None


def test_a_second_holder_adds_a_signature(product: Product) -> None:
    second = product.store.create("releases-2", PASSPHRASE)
    targets = next_role(product.repository.targets(), "targets", utc_now())
    targets.signed.add_key(second, RELEASES)
    assert targets.signed.delegations is not None
    assert targets.signed.delegations.roles is not None
    targets.signed.delegations.roles[RELEASES].threshold = 2
    first_role = product.repository.role(RELEASES)
    sign(targets, product.signers("targets")["targets"])
    product.project.signing[RELEASES].append("heirloom:releases-2")
    refreshed = next_role(first_role, RELEASES, utc_now())
    sign(refreshed, product.signers(RELEASES)[RELEASES])
    changed = {"2.targets.json": to_bytes(targets), f"2.{RELEASES}.json": to_bytes(refreshed)}
    product.write(online.refresh(product.repository, changed, product.signers(), utc_now()))
    built = product.build("1.0.0")
    uris = product.project.signing[RELEASES]
    product.project.signing[RELEASES] = uris[:1]
    signed = endorse.sign(product.project, built)
    assert (signed.signatures, signed.threshold) == (1, 2)
    first = signed.path.read_bytes()
    product.project.signing[RELEASES] = uris[1:]
    signed = endorse.sign(product.project, built)
    assert (signed.signatures, signed.threshold) == (2, 2)
    assert signed.path.read_bytes() != first
    product.publish(BOARD, "1.0.0")


def test_signing_needs_a_key_of_the_role(product: Product) -> None:
    built = product.build("1.0.0")
    product.store.create("stranger", PASSPHRASE)
    product.project.signing[RELEASES] = ["heirloom:stranger"]
    with pytest.raises(HeirloomError, match="is not one of the keys that targets names"):
        endorse.sign(product.project, built)
    assert not (product.project.state_dir / "signed").exists()


def test_signing_opens_no_other_key(product: Product) -> None:
    built = product.build("1.0.0")
    for name in product.store.names():
        if name != f"{RELEASES}-1":
            (product.store.directory / f"{name}.pem").unlink()
    assert endorse.sign(product.project, built).signatures == 1


def test_a_release_of_another_product_or_place_is_not_signed(product: Product) -> None:
    built = product.build("1.0.0")
    stranger = dataclasses.replace(product.project, product=dataclasses.replace(product.project.product, name="other"))
    with pytest.raises(HeirloomError, match="was built for the product weather"):
        endorse.sign(stranger, built)
    moved = dataclasses.replace(built, version="1.0.1")
    with pytest.raises(HeirloomError, match=r"holds 1\.0\.0"):
        endorse.sign(product.project, moved)


def test_a_release_that_others_overtook_is_not_signed(product: Product) -> None:
    product.build("0.9.0", sequence=3)
    product.release("1.0.0", sequence=5)
    stale = release.load(product.project, BOARD, "0.9.0")
    with pytest.raises(HeirloomError, match="sequence 3, which is not above 5"):
        endorse.sign(product.project, stale)
    with pytest.raises(HeirloomError, match="already published"):
        endorse.sign(product.project, release.load(product.project, BOARD, "1.0.0"))


def test_what_waits_must_carry_our_signature(product: Product) -> None:
    path = endorse.sign(product.project, product.build("1.0.0")).path
    path.write_bytes(path.read_bytes().replace(b'"sequence":1', b'"sequence":9'))
    with pytest.raises(HeirloomError, match="carries no valid signature") as caught:
        endorse.sign(product.project, release.load(product.project, BOARD, "1.0.0"))
    assert "remove it" in caught.value.advice


def test_what_was_signed_is_what_is_published(product: Product) -> None:
    built = product.build("1.0.0")
    endorse.sign(product.project, built)
    (built.directory / "manifest.cbor").write_bytes(built.manifest_bytes.replace(b"weather", b"weathes"))
    with pytest.raises(HeirloomError, match="is not what was signed"):
        release.unpublished(product.project, product.repository, BOARD)


def test_releases_are_known_from_built_to_published(product: Product) -> None:
    def states() -> list[tuple[str, str, list[str]]]:
        return [(known.version, known.state, known.channels) for known in overview.known(product.project, BOARD)]

    assert states() == []
    built = product.build("1.0.0")
    assert states() == [("1.0.0", "built", [])]
    endorse.sign(product.project, built)
    assert states() == [("1.0.0", "signed", [])]
    product.publish(BOARD, "1.0.0")
    product.change(2)
    product.build("1.1.0")
    assert states() == [("1.0.0", "published", ["stable"]), ("1.1.0", "built", [])]


def verified(product: Product, version: str) -> overview.Verified:
    (known,) = overview.find(product.project, version, [BOARD])
    return overview.check(product.project, known, utc_now())


def test_a_release_is_verified_at_each_stage(product: Product) -> None:
    built = product.build("1.0.0")
    assert (verified(product, "1.0.0").signatures, verified(product, "1.0.0").files) == (0, 2)
    endorse.sign(product.project, built)
    assert verified(product, "1.0.0").signatures == 1
    product.publish(BOARD, "1.0.0")
    found = verified(product, "1.0.0")
    assert (found.state, found.sha256, found.signatures, found.threshold) == ("published", built.sha256, 1, 1)
    with pytest.raises(HeirloomError, match=r"no release 2\.0\.0"):
        verified(product, "2.0.0")


@pytest.mark.parametrize("folder", ["repository/blobs", "repository/targets/releases", "repository/metadata"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_verifying_a_published_release_finds_any_damage(product: Product, folder: str, damage: str) -> None:
    product.release("1.0.0")
    verified(product, "1.0.0")
    for file in sorted((product.project.root / folder).rglob("*")):
        if file.is_dir() or file.name.endswith(".z") or file.name == "root.json" or OTHER in str(file):
            continue
        data = file.read_bytes()
        if file.name.startswith("1.") and "root" not in file.name and "targets" not in file.name:
            continue  # an older version that nothing refers to
        if damage == "flip":
            middle = len(data) // 2
            file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        else:
            file.unlink()
        with pytest.raises(HeirloomError):
            verified(product, "1.0.0")
        file.write_bytes(data)
    verified(product, "1.0.0")


def test_verifying_a_build_finds_any_damage(product: Product) -> None:
    built = product.build("1.0.0")
    endorse.sign(product.project, built)
    for file in (built.directory / "manifest.cbor", *built.blobs):
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(HeirloomError):
            verified(product, "1.0.0")
        file.write_bytes(data)


def test_source_files_are_sorted_and_relative(app: Path) -> None:
    assert [file.path for file in source.collect(app)] == ["lib/sensor.py", "main.py"]


def test_a_build_of_another_epoch_is_not_signed(product: Product) -> None:
    product.build("1.0.0")
    targets = next_role(product.repository.targets(), "targets", utc_now())
    targets.signed.unrecognized_fields["x-heirloom-epoch"] = 1
    sign(targets, product.signers("targets")["targets"])
    product.write(
        online.refresh(product.repository, {"2.targets.json": to_bytes(targets)}, product.signers(), utc_now())
    )
    with pytest.raises(HeirloomError, match="was built for epoch 0, now is 1"):
        endorse.sign(product.project, release.load(product.project, BOARD, "1.0.0"))
    assert product.build("1.1.0").manifest.order == (1, 1)
