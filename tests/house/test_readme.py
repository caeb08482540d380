"""What the README shows is what the program does."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from heirloom.cli import discovery, main

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISES = re.compile(r"^\| (P\d) \|.*$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(README.read_text()) if found == language]


def help_blocks() -> list[tuple[str, str]]:
    """Command line and output of each block that begins with `$ heirloom ... --help`."""
    shown = []
    for body in blocks("text"):
        command, _, output = body.partition("\n")
        if command.startswith("$ heirloom") and command.endswith("--help"):
            shown.append((command.removeprefix("$ heirloom "), output))
    return shown


def test_there_is_a_help_block() -> None:
    assert "--help" in [command for command, _ in help_blocks()]


@pytest.mark.parametrize(("command", "shown"), help_blocks())
def test_help_is_shown_as_it_is(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(command.split()) == 0
    assert capsys.readouterr().out == shown


def command_lines() -> list[list[str]]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("heirloom ")]


def commands(app: typer.Typer) -> set[str]:
    found = {command.name or "" for command in app.registered_commands}
    for registered in app.registered_groups:
        assert registered.typer_instance is not None
        found |= {f"{registered.name} {name}" for name in commands(registered.typer_instance)}
    return found


def test_the_first_release_uses_real_commands(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    assert discovery.register_all(app) == []
    known = commands(app)
    lines = command_lines()
    assert len(lines) > 5
    for words in lines:
        names = [" ".join(words[1:3]), words[1]]
        name = next((name for name in names if name in known), None)
        assert name is not None, f"no command for: {' '.join(words)}"
        capsys.readouterr()
        assert main.run([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert option in text or option in main.GLOBAL_OPTIONS, f"{name} has no {option}"


def test_each_promise_names_its_tests() -> None:
    text = README.read_text()
    assert PROMISES.findall(text) == [f"P{number}" for number in range(1, 10)]
    for line in PROMISES.finditer(text):
        named = re.findall(r"`(tests/[\w/.-]+)`", line[0])
        assert named or "issue" in line[0] or "not yet" in line[0], line[0]
        for name in named:
            assert (README.parent / name).exists(), name
