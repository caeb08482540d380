"""`init`, `key` and `release` as a person or a pipeline uses them: results, one clear line per error, exit codes."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from signing_product import BOARD, OTHER, PASSPHRASE, URLS, Product, Program, write_app

from heirloom.cli.main import call
from heirloom.signing import completion, endorse, keyfile
from heirloom.signing.keys import KeyStore

INIT = ["init", "--name", "clock", "--board", BOARD, *(word for url in URLS for word in ("--url", url))]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_keys: None) -> Path:
    """An empty working directory."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_from_nothing_to_a_signed_release(empty: Path, passphrase: str, heirloom: Program) -> None:
    ran = heirloom(*INIT, "--version", "1.0.0", "--contact", "security@example.com")
    assert (ran.code, ran.err) == (0, "")
    assert "The product clock is founded" in ran.out
    write_app(empty / "app")
    assert "Built 1.0.0" in heirloom("release", "build").out
    assert "signed by 1 of 1" in heirloom("release", "sign", "1.0.0").out
    ran = heirloom("release", "verify", "1.0.0")
    assert ran.code == 0
    assert "is whole" in ran.out
    assert "signed" in heirloom("release", "list").out
    assert "lib/sensor.mpy" in heirloom("release", "show", "1.0.0").out
    assert heirloom("key", "test").code == 0
    assert "root-1" in heirloom("key", "list").out
    assert not list(empty.rglob("*.pem"))


def test_every_command_speaks_json(empty: Path, passphrase: str, heirloom: Program) -> None:
    def document(*argv: str) -> dict[str, object]:
        ran = heirloom(*argv, "--json")
        assert (ran.code, ran.err) == (0, "")
        parsed = json.loads(ran.out)
        assert isinstance(parsed, dict)
        return parsed

    assert document(*INIT)["product"] == "clock"
    write_app(empty / "app")
    (row,) = document("release", "build", "--version", "1.0.0")["releases"]  # type: ignore[misc]
    assert row["board"] == BOARD
    assert row["files"] == 2
    (row,) = document("release", "sign", "1.0.0")["signed"]  # type: ignore[misc]
    assert row["versions"] == ["1.0.0"]
    (row,) = document("release", "list")["releases"]  # type: ignore[misc]
    assert (row["state"], row["channels"]) == ("signed", [])
    (row,) = document("release", "show", "1.0.0")["releases"]  # type: ignore[misc]
    assert [file["path"] for file in row["files"]] == ["lib/sensor.mpy", "main.py"]
    (row,) = document("release", "verify", "1.0.0")["verified"]  # type: ignore[misc]
    assert row["signatures"] == 1
    assert len(document("key", "list")["keys"]) == 10  # type: ignore[arg-type]
    assert document("key", "show", "root-1")["roles"] == ["root"]
    assert document("key", "test", "root-1")["tested"] == ["root-1"]
    assert document("key", "new", "spare")["uri"] == "heirloom:spare"


def test_call_gives_the_same_in_process(product: Product) -> None:
    result = call(["release", "build", "--version", "1.0.0", "--board", BOARD])
    assert isinstance(result, dict)
    assert result["releases"][0]["sequence"] == 1


def test_without_a_board_option_all_boards_are_meant(product: Product, heirloom: Program) -> None:
    assert heirloom("release", "build", "--version", "1.0.0").code == 0
    signed = call(["release", "sign", "1.0.0"])
    assert isinstance(signed, dict)
    assert [role["board"] for role in signed["signed"]] == [BOARD, OTHER]
    listed = call(["release", "list", "--board", OTHER])
    assert isinstance(listed, dict)
    assert [release["board"] for release in listed["releases"]] == [OTHER]


@pytest.mark.parametrize(
    "argv", [INIT, ["release", "build", "--version", "1.0.0"], ["release", "sign", "0.9.0"], ["key", "new", "spare"]]
)
def test_a_dry_run_changes_nothing(
    product: Product, heirloom: Program, tmp_path: Path, home: Path, argv: list[str]
) -> None:
    product.build("0.9.0")
    product.change(2)
    if argv is INIT:
        (tmp_path / "new").mkdir()
        os.chdir(tmp_path / "new")
        shutil.rmtree(home / "keys")
    before = {path: path.read_bytes() for path in (*tmp_path.rglob("*"), *home.rglob("*")) if path.is_file()}
    ran = heirloom(*argv, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert before == {path: path.read_bytes() for path in (*tmp_path.rglob("*"), *home.rglob("*")) if path.is_file()}


def test_no_secret_is_ever_said(empty: Path, passphrase: str, heirloom: Program) -> None:
    said = [heirloom(*INIT, "--debug"), heirloom("key", "test", "--debug"), heirloom("key", "show", "root-1", "--json")]
    os.environ["HEIRLOOM_PASSPHRASE"] = "the wrong passphrase"
    said.append(heirloom("key", "test", "--debug"))
    assert said[-1].code == 1
    for ran in said:
        assert PASSPHRASE not in ran.out + ran.err
        assert "the wrong passphrase" not in ran.out + ran.err


def test_the_passphrase_comes_through_a_descriptor(
    empty: Path, heirloom: Program, secret_fd: Callable[[str], int]
) -> None:
    assert heirloom(*INIT, "--passphrase-fd", secret_fd(PASSPHRASE)).code == 0
    assert heirloom("key", "test", "--passphrase-fd", secret_fd(PASSPHRASE)).code == 0
    write_app(empty / "app")
    heirloom("release", "build", "--version", "1.0.0")
    assert heirloom("release", "sign", "1.0.0", "--passphrase-fd", secret_fd(PASSPHRASE)).code == 0


def test_an_interrupted_init_is_finished_without_options(
    empty: Path, passphrase: str, heirloom: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("heirloom.signing.founding._metadata", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert heirloom(*INIT).code == 130
    ran = heirloom(*INIT[:-2], "--url", "https://elsewhere.example.net/")
    assert ran.code == 2
    assert "had other answers" in ran.err
    ran = heirloom("init")
    assert ran.code == 0
    assert "finishing the interrupted" in ran.err
    assert heirloom("key", "test").code == 0


# What is typed wrong, and what is said about it: (prepare, command line, exit code, in the message).
Prepare = Callable[[Product], object]


def nothing(product: Product) -> None:
    """The product as it is."""


def no_project(product: Product) -> None:
    os.chdir("/")


def no_passphrase(product: Product) -> None:
    del os.environ["HEIRLOOM_PASSPHRASE"]


def wrong_passphrase(product: Product) -> None:
    os.environ["HEIRLOOM_PASSPHRASE"] = "not the right one"


def no_keys(product: Product) -> None:
    shutil.rmtree(product.store.directory)


def open_keys(product: Product) -> None:
    product.store.directory.chmod(0o755)


def built(product: Product) -> None:
    product.build("1.0.0")


def built_with(*preparations: Prepare) -> Prepare:
    def prepare(product: Product) -> None:
        for step in (built, *preparations):
            step(product)

    return prepare


def published(product: Product) -> None:
    product.release("1.0.0")


def app(files: dict[str, str | bytes]) -> Prepare:
    return lambda product: write_app(product.project.app.source, files)


def empty_app(product: Product) -> None:
    shutil.rmtree(product.project.app.source)
    product.project.app.source.mkdir()


def no_repository(product: Product) -> None:
    shutil.rmtree(product.project.repository)


def torn_metadata(product: Product) -> None:
    file = product.project.repository / "metadata" / "1.targets.json"
    file.write_bytes(file.read_bytes()[:100])


def no_boards(product: Product) -> None:
    file = product.project.root / "heirloom.toml"
    text = file.read_text()
    file.write_text(text[: text.index("[boards")] + text[text.index("[signing]") :])


def keys_in_git(product: Product) -> None:
    (product.store.directory / ".git").mkdir()


def elsewhere(product: Product) -> None:
    folder = product.project.root.parent / "new"
    folder.mkdir()
    os.chdir(folder)
    no_keys(product)


def elsewhere_with_keys(product: Product) -> None:
    elsewhere(product)
    KeyStore(product.store.directory).create("old", PASSPHRASE)


BUILD = ["release", "build", "--version", "1.0.0"]
WRONG: list[tuple[Prepare, list[str], int, str]] = [
    (nothing, INIT, 1, "is a project already"),
    (elsewhere, ["init"], 2, "nobody to ask"),
    (elsewhere, INIT[:3], 2, "nobody to ask: Board"),
    (elsewhere, INIT[:5], 2, "nobody to ask: Place"),
    (elsewhere, INIT[:7], 2, "devices need at least 2 places"),
    (elsewhere, [*INIT[:7], "--url", "http://127.0.0.1:9000/"], 2, "all places are on 127.0.0.1"),
    (elsewhere, [*INIT, "--url", "gopher://x/"], 2, "'gopher://x/' is no place"),
    (elsewhere, [*INIT, "--board", "NOBODY_KNOWS"], 1, "no board NOBODY_KNOWS"),
    (elsewhere, [*INIT, "--board", "RPI_PICO="], 2, "names no version"),
    (elsewhere, [*INIT, "--app", "../app"], 2, "--app"),
    (elsewhere, ["init", "--name", "a/b", *INIT[3:]], 1, "'a/b'"),
    (lambda product: [elsewhere(product), no_passphrase(product)], INIT, 2, "nobody to ask for the new passphrase"),
    (lambda product: [elsewhere(product), os.environ.update(HEIRLOOM_PASSPHRASE="short")], INIT, 2, "too short"),
    (elsewhere_with_keys, INIT, 1, "no key is shared by two products"),
    (elsewhere, [*INIT, "--passphrase-fd", "99"], 2, "file descriptor 99"),
    (elsewhere, [*INIT, "--passphrase", "secret"], 2, "No such option"),
    (no_project, ["key", "list"], 1, "no heirloom.toml"),
    (keys_in_git, ["key", "list"], 1, "git work tree"),
    (nothing, ["key", "new", "root-1"], 1, "a key root-1 exists"),
    (nothing, ["key", "new", "../x"], 2, "is no name for a key"),
    (nothing, ["key", "new", "x", "--type", "dsa"], 2, "no kind of key"),
    (no_passphrase, ["key", "new", "x"], 2, "nobody to ask"),
    (open_keys, ["key", "new", "x"], 1, "others can read"),
    (nothing, ["key", "show", "nobody"], 1, "no key nobody"),
    (nothing, ["key", "test", "nobody"], 1, "no key nobody"),
    (no_keys, ["key", "test"], 2, "no keys in"),
    (wrong_passphrase, ["key", "test", "root-1"], 1, "wrong passphrase for key root-1"),
    (no_passphrase, ["key", "test", "root-1"], 2, "nobody to ask for the passphrase of key root-1"),
    (open_keys, ["key", "test", "root-1"], 1, "others can read"),
    (nothing, ["release", "build"], 2, "no version given"),
    (nothing, ["release", "build", "--version", "../1"], 2, "is no version"),
    (nothing, [*BUILD, "--board", "NOBODY_KNOWS"], 1, "NOBODY_KNOWS is no board of this project"),
    (nothing, [*BUILD, "--app", "nowhere"], 1, "no application folder nowhere"),
    (nothing, [*BUILD, "--kind", "x"], 2, "no kind of release"),
    (nothing, [*BUILD, "--floor", "x"], 2, "neither a published version nor a sequence"),
    (nothing, [*BUILD, "--floor", "2"], 1, "above the release's own sequence"),
    (nothing, [*BUILD, "--via", "1"], 2, "--via without --requires"),
    (nothing, [*BUILD, "--sequence", "0"], 2, "--sequence"),
    (nothing, [*BUILD, "--notes", "x" * 20000], 1, "at most 16384"),
    (published, ["release", "build", "--version", "1.0.0", "--board", BOARD], 1, "already published"),
    (published, ["release", "build", "--version", "1.1.0", "--sequence", "1", "--board", BOARD], 1, "not above 1"),
    (built_with(app({"new.txt": "x"})), [*BUILD, "--board", BOARD], 1, "built with other content"),
    (empty_app, BUILD, 1, "is empty"),
    (app({"bad.py": "def"}), BUILD, 1, "bad.py, line 1: SyntaxError"),
    (app({f"f{number}": "" for number in range(298)}), BUILD, 1, "300 files"),
    (no_boards, BUILD, 1, "names no board"),
    (no_repository, BUILD, 1, "there is no repository"),
    (torn_metadata, BUILD, 1, "1.targets.json is not the file"),
    (nothing, ["release", "sign", "1.0.0"], 1, "was not built"),
    (nothing, ["release", "sign", "../1.0.0"], 2, "is no version"),
    (nothing, ["release", "sign"], 2, "Missing argument"),
    (built_with(no_keys), ["release", "sign", "1.0.0"], 1, "no key of the role"),
    (built_with(wrong_passphrase), ["release", "sign", "1.0.0"], 1, "wrong passphrase"),
    (built_with(no_passphrase), ["release", "sign", "1.0.0"], 2, "nobody to ask for the passphrase"),
    (built_with(open_keys), ["release", "sign", "1.0.0"], 1, "others can read"),
    (published, ["release", "sign", "1.0.0"], 1, "already published"),
    (nothing, ["release", "show", "1.0.0"], 1, "no release 1.0.0"),
    (nothing, ["release", "show", "/"], 2, "is no version"),
    (nothing, ["release", "verify", "1.0.0"], 1, "no release 1.0.0"),
    (built_with(no_repository), ["release", "verify", "1.0.0"], 1, "there is no repository"),
    (nothing, ["release", "list", "--board", "NOBODY_KNOWS"], 1, "no role"),
]


@pytest.mark.parametrize(
    ("prepare", "argv", "code", "message"), WRONG, ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_wrong_input_gets_one_clear_line(
    product: Product,
    quick_keys: None,
    heirloom: Program,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Prepare,
    argv: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("HEIRLOOM_PASSPHRASE", PASSPHRASE)  # put back what `prepare` does to it
    prepare(product)
    ran = heirloom(*argv)
    assert ran.code == code, ran.err
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert len(lines) == 2, "one line, and one of advice"
    assert "Traceback" not in ran.err
    ran = heirloom(*argv, "--debug", "--json")
    assert "Traceback" in ran.err
    told = json.loads(ran.out)
    assert told["error"]["message"] == lines[0].removeprefix("error: ")
    assert told["error"]["advice"] == lines[1]


def test_init_asks_a_person(empty: Path) -> None:
    """At a real terminal: every answer by prompt, the passphrase typed twice and not shown."""
    answers = ["clock", BOARD, "", *URLS, "", "security@example.com", PASSPHRASE, PASSPHRASE]
    shown, code = at_terminal(["init"], answers)
    assert code == 0, shown
    assert "is founded" in shown
    assert PASSPHRASE not in shown
    text = (empty / "heirloom.toml").read_text()
    assert 'name = "clock"' in text
    assert 'contact = "security@example.com"' in text
    assert all(url in text for url in URLS)


def at_terminal(argv: list[str], answers: list[str]) -> tuple[str, int]:
    """Run the program with a terminal of its own, answering each prompt. Returns what was shown and the exit code."""
    ours, theirs = pty.openpty()
    script = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    script += "from heirloom.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, *argv]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = ""
    answered = 0
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data.decode()
        if shown.endswith(": ") and answered < len(answers):
            os.write(ours, answers[answered].encode() + b"\n")
            answered += 1
    os.close(ours)
    return shown, child.wait(30)


def test_names_are_completed(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    product.build("1.0.0")
    product.build("1.1.0")
    endorse.sign(product.project, product.build("2.0.0", OTHER))
    assert completion.versions("1.") == completion.built_versions("1.") == ["1.0.0", "1.1.0"]
    product.release("3.0.0")
    shutil.rmtree(product.project.state_dir)
    assert completion.built_versions("") == []
    assert completion.versions("") == ["3.0.0"]
    assert completion.project_boards("SIM_E") == [OTHER]
    assert completion.keys("root") == ["root-1", "root-2", "root-3"]
    assert "RPI_PICO_W" in completion.known_boards("RPI")
    monkeypatch.chdir("/")
    for complete in (completion.versions, completion.built_versions, completion.project_boards, completion.keys):
        assert complete("") == []


def test_the_shell_is_offered_versions(product: Product) -> None:
    product.build("1.0.0")
    environment = {**os.environ, "_HEIRLOOM_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": "heirloom release sign 1", "COMP_CWORD": "3"}
    script = "import sys; sys.argv[0] = 'heirloom'; from heirloom.cli.main import main; main([])"
    offered = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert offered.stdout.split() == ["1.0.0"]


def test_keys_from_init_are_as_strong_as_promised(tmp_path: Path, home: Path, passphrase: str) -> None:
    assert (keyfile.SCRYPT_N, keyfile.SCRYPT_R, keyfile.SCRYPT_P) == (1 << 14, 8, 2)


def findings(heirloom: Program) -> dict[str, tuple[str, str]]:
    checks = json.loads(heirloom("doctor", "--json").out)["checks"]
    return {check["name"]: (check["state"], check["text"]) for check in checks}


def test_doctor_names_the_roles_that_cannot_be_signed_here(product: Product, heirloom: Program) -> None:
    assert "roles" not in findings(heirloom)
    (product.store.directory / "snapshot.pem").unlink()
    assert findings(heirloom)["roles"] == ("absent", "no key here for snapshot")
    os.chdir("/")
    assert "roles" not in findings(heirloom)


def test_doctor_finds_an_interrupted_init(product: Product, heirloom: Program) -> None:
    marker = product.project.state_dir / "init.json"
    marker.write_text(json.dumps({"name": "weather", "boards": {}, "urls": []}))
    assert findings(heirloom)["init"] == ("attention", "`heirloom init` was interrupted here")
