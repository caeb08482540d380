"""Pages name commands, options, files and each other; all of these exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from heirloom.cli import discovery, main

TREE = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "*/README.md")
    for page in TREE.glob(pattern)
    if not page.parent.name.startswith(".")
)
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(heirloom [^`\n]+)`")
INDENTED = re.compile(r"^ {4}(heirloom .+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[\w-]*)?\)")
# What stands for something, or is left open.
OPEN = {"...", "…"}


def command_lines(text: str) -> list[str]:
    lines = [line for body in FENCE.findall(text) for line in body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("heirloom ")] + INLINE.findall(text) + INDENTED.findall(text)


def commands() -> dict[str, object]:
    app = typer.Typer()
    discovery.register_all(app)
    found: dict[str, object] = {}
    for command in app.registered_commands:
        found[str(command.name)] = command
    for group in app.registered_groups:
        found[str(group.name)] = group
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            found[f"{group.name} {command.name}"] = command
    return found


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)[1:]
    except ValueError:  # an apostrophe in a sentence
        return line.split()[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_commands_and_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = commands()
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = [word for word in words_of(line) if word not in OPEN]
        while words and words[0] in main.GLOBAL_OPTIONS:
            words.pop(0)
        if not words or words[0].startswith("--"):
            continue
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
        # `heirloom release build|sign|list`: each of them
        if "|" in " ".join(words[:2]):
            choices = words[1].split("|")
            assert all(f"{words[0]} {choice}" in known for choice in choices), line
            continue
        assert name is not None, f"no command for: {line}"
        options = [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]
        capsys.readouterr()
        assert main.run([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        missing = [option for option in options if option not in text and option not in main.GLOBAL_OPTIONS]
        assert missing == [], line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (TREE / "docs/README.md").read_text(encoding="utf-8")
    assert [
        page.name for page in (TREE / "docs").glob("*.md") if page.name != "README.md" and page.name not in index
    ] == []
