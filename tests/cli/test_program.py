"""The program itself: global options, errors, exit codes, in-process runs. The commands here are made for it."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
import typer

from heirloom.cli import discovery, main
from heirloom.cli.context import Context, current
from heirloom.cli.errors import AttentionNeeded, HeirloomError, RigTrouble, UsageError
from heirloom.cli.groups import group
from heirloom.cli.output import emit, note, warn

MODULE = "heirloom_test_commands"


def register(app: typer.Typer) -> None:
    @app.command("say")
    def say(words: list[str]) -> None:
        note("about to say it")
        emit({"words": words, "at": Path("there"), "raw": b"\x01\xff"})

    @app.command("options")
    def options() -> None:
        context = current()
        emit({"debug": context.debug, "yes": context.yes, "project": context.project})

    @app.command("fail")
    def fail(how: str) -> None:
        errors = {
            "plain": HeirloomError("the kettle\nis cold", "light the stove"),
            "usage": UsageError("no such cup"),
            "attention": AttentionNeeded("the milk is old"),
            "rig": RigTrouble("the cup leaks"),
            "bug": KeyError("spoon"),
            "disk": OSError(28, "No space left on device", "/somewhere"),
            "steering": HeirloomError("evil \x1b[2J name"),
            "extra": ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn"),
            "interrupt": KeyboardInterrupt(),
            "exit": typer.Exit(3),
        }
        raise errors[how]

    @app.command("attend")
    def attend() -> None:
        emit({"milk": "old"})
        raise AttentionNeeded("the milk is old")

    @app.command("warns")
    def warns() -> None:
        warn("mind the step")

    @group(app, "tea", "About tea.").command("brew")
    def brew() -> None:
        emit("brewed")

    @group(app, "tea", "A second time.").command("pour")
    def pour() -> None:
        emit("poured")


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(MODULE)
    module.register = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    entries(monkeypatch, MODULE)


def entries(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    found = [EntryPoint(name.rpartition(".")[2], name, discovery.GROUP) for name in modules]
    monkeypatch.setattr(discovery, "entry_points", lambda group: found if group == discovery.GROUP else [])


def test_options_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--json", "--yes", "options"], ["options", "--yes", "--json"], ["options", "--json", "--yes"]):
        assert main.run(line) == 0
        assert json.loads(capsys.readouterr().out) == {"debug": False, "yes": True, "project": None}
    assert main.run(["options", "--json", "--project", "here"]) == 0
    assert json.loads(capsys.readouterr().out)["project"] == "here"
    assert main.run(["options", "--project=there", "--json", "--debug"]) == 0
    assert json.loads(capsys.readouterr().out) == {"debug": True, "yes": False, "project": "there"}


def test_a_double_dash_ends_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["say", "--", "--json", "--yes"]) == 0
    assert "--json" in capsys.readouterr().out


def test_project_needs_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["options", "--project"]) == 2
    assert "error: Option '--project' requires an argument" in capsys.readouterr().err


def test_the_context_ends_with_the_command() -> None:
    assert main.run(["warns", "--json", "--yes"]) == 0
    assert current() == Context()


def test_text_goes_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["say", "a", "b"]) == 0
    said = capsys.readouterr()
    assert said.out == "words:\n  a\n  b\nat: there\nraw: 01ff\n"
    assert said.err == "about to say it\n"


def test_json_goes_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["say", "a", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"words": ["a"], "at": "there", "raw": "01ff"}
    assert said.err == ""


def test_warnings_are_never_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["warns", "--json"]) == 0
    assert capsys.readouterr() == ("", "warning: mind the step\n")


@pytest.mark.parametrize(
    ("how", "code", "lines"),
    [
        ("plain", 1, ["error: the kettle is cold", "light the stove"]),
        ("usage", 2, ["error: no such cup"]),
        ("attention", 3, ["error: the milk is old"]),
        ("rig", 4, ["error: the cup leaks"]),
        ("bug", 1, ["error: internal error: KeyError: 'spoon' (run again with --debug)"]),
        ("disk", 1, ["error: /somewhere: no space left on device", "free some space on that disk and try again"]),
        ("steering", 1, ["error: evil \\x1b[2J name"]),
        (
            "extra",
            1,
            ["error: this command needs uvicorn, which is not installed", "pip install 'heirloom-ota[server]'"],
        ),
        ("interrupt", 130, []),
        ("exit", 3, []),
    ],
)
def test_errors(how: str, code: int, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["fail", how]) == code
    said = capsys.readouterr()
    assert said.err.splitlines() == lines
    assert said.out == ""
    assert main.run(["fail", how, "--json"]) == code
    document = capsys.readouterr().out
    if lines:
        advice = lines[1] if len(lines) > 1 else ""
        assert json.loads(document) == {"error": {"message": lines[0].removeprefix("error: "), "advice": advice}}
    else:
        assert document == ""


def test_debug_gives_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["fail", "bug", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert said.splitlines()[-1].startswith("error: internal error: KeyError")


def test_one_document_even_when_attention_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["attend", "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out) == {"milk": "old"}
    assert said.err == "error: the milk is old\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["say"], "Missing argument 'words'"),
        (["options", "--wrong"], "No such option: --wrong"),
        (["tea"], "heirloom tea needs a command"),
        (["tea", "drink"], "No such command 'drink'"),
    ],
)
def test_usage_errors(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(line) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert main.run([*line, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith(message)


def test_alone_it_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    assert capsys.readouterr().out.startswith("Usage: heirloom [OPTIONS] COMMAND")
    assert main.run(["--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "no command given"


def test_folders_share_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["tea", "--help"]) == 0
    said = capsys.readouterr().out
    assert "brew" in said
    assert "pour" in said
    assert "About tea." in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("heirloom ")
    assert main.run(["--version", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["version"]


def test_call_returns_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(["say", "a"]) == {"words": ["a"], "at": "there", "raw": "01ff"}
    assert main.call(["warns"]) is None
    assert capsys.readouterr().out == ""


def test_call_raises() -> None:
    with pytest.raises(HeirloomError, match="kettle") as caught:
        main.call(["fail", "plain"])
    assert caught.value.advice == "light the stove"
    with pytest.raises(HeirloomError, match="internal error") as caught:
        main.call(["fail", "bug"])
    with pytest.raises(HeirloomError, match="No such command") as caught:
        main.call(["nothing"])
    assert caught.value.exit_code == 2
    with pytest.raises(HeirloomError, match="exit code 3") as caught:
        main.call(["fail", "exit"])
    assert caught.value.exit_code == 3


def test_call_returns_what_needs_attention() -> None:
    assert main.call(["attend"]) == {"milk": "old"}


def test_a_folder_without_commands_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries(monkeypatch, MODULE, "heirloom_not_there.commands")
    assert main.run(["warns"]) == 0
    capsys.readouterr()
    assert main.run(["serve"]) == 2
    assert "the commands of commands cannot be loaded: No module named 'heirloom_not_there'" in capsys.readouterr().err


def test_a_folder_that_lacks_its_extra_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    source = "import fastapi\n"
    monkeypatch.setattr(
        discovery.importlib, "import_module", lambda name: exec(source) if name == "lacking" else sys.modules[name]
    )
    entries(monkeypatch, MODULE, "lacking")
    assert main.run(["serve"]) == 2
    assert "pip install 'heirloom-ota[server]'" in capsys.readouterr().err


def heirloom(*line: str, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from heirloom.cli.main import main; main()", *line]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_no_error(unbuffered: str) -> None:
    """Whether the reader is missed at once or only when the program ends."""
    with heirloom("doctor", "--json", env=os.environ | {"PYTHONUNBUFFERED": unbuffered}) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    # The command reads from a pipe into which nothing is written.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = (
        "import sys, typer; from heirloom.cli import main, discovery\n"
        "def register(app):\n"
        "    @app.command('wait')\n"
        "    def wait(): open(sys.argv[1]).read()\n"
        "discovery.register_all = lambda app: register(app) or []\n"
        "main.main(['wait'])\n"
    )
    command = [sys.executable, "-c", script, str(pipe)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with pipe.open("w"):  # returns when the command has opened it, too
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_completion_knows_the_commands() -> None:
    environment = os.environ | {"_HEIRLOOM_COMPLETE": "complete_bash", "COMP_WORDS": "heirloom doc", "COMP_CWORD": "1"}
    with heirloom(env=environment) as process:
        assert process.communicate(timeout=60)[0].split() == ["doctor"]
