"""Wrong input to each command: exit code 1 or 2, one clear line, no traceback; --debug gives the traceback."""

import io
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from heirloom.cli.main import run
from heirloom.hil.demo.steps import BOARD, Workshop, weather

PASSPHRASE = "HEIRLOOM_PASSPHRASE"


@dataclass
class Case:
    """One mistake: what is prepared, what is run, and what the program must say."""

    name: str
    argv: list[str]
    code: int
    says: str
    prepare: Callable[[Workshop, pytest.MonkeyPatch], None] | None = None


def no_keys(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop.keys_dir)


def wrong_passphrase(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    patch.setenv(PASSPHRASE, "this is not it")


def no_terminal(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    patch.delenv(PASSPHRASE)
    patch.setattr("sys.stdin", io.StringIO())


def no_keys_and_no_terminal(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    no_keys(shop, patch)
    no_terminal(shop, patch)


def no_project(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    (shop.project_dir / "heirloom.toml").unlink()


def broken_project(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    (shop.project_dir / "heirloom.toml").write_text("[product\n")


def empty_folder(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop.project_dir / "app")
    (shop.project_dir / "app").mkdir()


def no_folder(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop.project_dir / "app")


def bad_python(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    (shop.project_dir / "app/lib/broken.py").write_text("def f(:\n    pass\n")


def too_many_files(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (shop.project_dir / f"app/file{number}.txt").write_text(str(number))


def climbing_keep(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    project = shop.project_dir / "heirloom.toml"
    project.write_text(project.read_text().replace("settings.json", "../settings.json"))


def built(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    shop.take_source(weather("1.1.0"))
    shop.heirloom("release", "build", "--version", "1.1.0")


def no_repository(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop.project_dir / "repository")


def built_and_no_keys(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    built(shop, patch)
    no_keys(shop, patch)


def built_and_wrong_passphrase(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    built(shop, patch)
    wrong_passphrase(shop, patch)


def built_and_no_terminal(shop: Workshop, patch: pytest.MonkeyPatch) -> None:
    built(shop, patch)
    no_terminal(shop, patch)


BUILD = ["release", "build", "--version", "2.0.0"]
CASES = [
    Case("init without answers", ["init", "--project", "other"], 2, "--name", no_terminal),
    Case(
        "init without a passphrase",
        [
            "init",
            "--project",
            "other",
            "--name",
            "x",
            "--board",
            BOARD,
            "--url",
            "https://a.example/",
            "--url",
            "https://b.example.net/",
        ],
        2,
        PASSPHRASE,
        no_keys_and_no_terminal,
    ),
    Case(
        "init twice",
        [
            "init",
            "--name",
            "weather",
            "--board",
            BOARD,
            "--url",
            "https://a.example/",
            "--url",
            "https://b.example.net/",
        ],
        1,
        "is a project already",
    ),
    Case(
        "init with an unknown board",
        [
            "init",
            "--project",
            "other",
            "--name",
            "x",
            "--board",
            "NOSUCH",
            "--url",
            "https://a.example/",
            "--url",
            "https://b.example.net/",
        ],
        1,
        "NOSUCH",
    ),
    Case(
        "init with one place",
        ["init", "--project", "other", "--name", "x", "--board", BOARD, "--url", "https://a.example/"],
        2,
        "at least 2",
    ),
    Case(
        "init with a climbing app folder",
        [
            "init",
            "--project",
            "other",
            "--name",
            "x",
            "--board",
            BOARD,
            "--app",
            "../app",
            "--url",
            "https://a.example/",
            "--url",
            "https://b.example.net/",
        ],
        2,
        "--app",
    ),
    Case("key new twice", ["key", "new", "timestamp"], 1, "exists"),
    Case("key new without a terminal", ["key", "new", "other"], 2, PASSPHRASE, no_terminal),
    Case("key test with the wrong passphrase", ["key", "test"], 1, "wrong passphrase", wrong_passphrase),
    Case("key show of no key", ["key", "show", "nosuch"], 1, "nosuch"),
    Case("build without a project", BUILD, 1, "heirloom.toml", no_project),
    Case("build with a broken project", BUILD, 1, "heirloom.toml", broken_project),
    Case("build of an empty folder", BUILD, 1, "app", empty_folder),
    Case("build of no folder", BUILD, 1, "app", no_folder),
    Case("build of what mpy-cross refuses", BUILD, 1, "broken.py", bad_python),
    Case("build of 300 files", BUILD, 1, "256", too_many_files),
    Case("build with a climbing keep path", BUILD, 1, "..", climbing_keep),
    Case("build of a published version", ["release", "build", "--version", "1.0.0"], 1, "already published"),
    Case("build with a lower sequence", [*BUILD, "--sequence", "1"], 1, "sequence"),
    Case("build of a version with ..", ["release", "build", "--version", "../2"], 2, "no version"),
    Case("build for an unknown board", [*BUILD, "--board", "NOSUCH"], 1, "NOSUCH"),
    Case("sign what was not built", ["release", "sign", "9.9.9"], 1, "was not built"),
    Case("sign without keys", ["release", "sign", "1.1.0"], 1, "releases-", built_and_no_keys),
    Case(
        "sign with the wrong passphrase",
        ["release", "sign", "1.1.0"],
        1,
        "wrong passphrase",
        built_and_wrong_passphrase,
    ),
    Case("sign without a terminal", ["release", "sign", "1.1.0"], 2, PASSPHRASE, built_and_no_terminal),
    Case("publish twice", ["release", "publish", "1.0.0"], 1, "already published"),
    Case("publish what is not signed", ["release", "publish", "1.1.0"], 1, "not signed", built),
    Case("show an unknown release", ["release", "show", "9.9.9"], 1, "9.9.9"),
    Case("channel to an unknown release", ["channel", "set", "stable", "9.9.9"], 1, "9.9.9"),
    Case("channel without keys", ["channel", "set", "beta", "1.0.0"], 1, "channels-", no_keys),
    Case("channel with ..", ["channel", "set", "../stable", "1.0.0"], 2, "../stable"),
    Case("renew without keys", ["renew"], 1, "no key of the role", no_keys),
    Case("renew with the wrong passphrase", ["renew"], 1, "wrong passphrase", wrong_passphrase),
    Case("renew without a repository", ["renew"], 1, "repository", no_repository),
    Case("status without a repository", ["status"], 1, "repository", no_repository),
    Case("get from nobody", ["get", BOARD, "--url", "http://127.0.0.1:9/", "--out", "out"], 1, "127.0.0.1:9"),
    Case("get from no address", ["get", BOARD, "--url", "nonsense", "--out", "out"], 2, "nonsense"),
    Case("serve at no port", ["serve", "--port", "99999"], 2, "--port"),
    Case("no such command", ["relaese"], 2, "relaese"),
    Case("no such option", ["renew", "--quickly"], 2, "--quickly"),
]


@pytest.fixture
def at_project(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(shop.project_dir)
    return shop


def check_told(said: str, words: str) -> None:
    """One line that begins with error:, perhaps a line of advice, and the words somewhere."""
    assert "Traceback" not in said
    lines = [line for line in said.strip().splitlines() if not line.startswith("warning: ")]
    assert lines[0].startswith("error: "), said
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert len(lines) <= 3, said
    assert "internal error" not in said
    assert words in said


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_one_clear_line(
    case: Case, at_project: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if case.prepare is not None:
        case.prepare(at_project, monkeypatch)
    code = run(case.argv)
    out, err = capfd.readouterr()
    check_told(err, case.says)
    assert code == case.code
    assert out == ""


def test_debug_gives_the_traceback(at_project: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--debug", "release", "sign", "9.9.9"]) == 1
    said = capfd.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "error: release 9.9.9" in said


def test_json_gives_the_error_as_data(at_project: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "sign", "9.9.9", "--json"]) == 1
    assert '"message": "release 9.9.9' in capfd.readouterr().out


def test_serve_on_a_port_in_use(at_project: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = "from heirloom.cli.main import main; main()"
        command = [sys.executable, "-c", program, "serve", "--port", str(port)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    check_told(done.stderr, str(port))
