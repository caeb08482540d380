"""Questions and secrets: answered by options, asked at a terminal, never waited for in vain."""

import os
import pty
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heirloom.cli import output
from heirloom.cli.context import Context, enter, leave
from heirloom.cli.errors import HeirloomError, UsageError


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> "int":
    """The far end of a terminal that is this program's stdin."""
    far, near = pty.openpty()
    stream = os.fdopen(near, "r", buffering=1)
    monkeypatch.setattr("sys.stdin", stream)
    yield far
    stream.close()
    os.close(far)


def test_nobody_to_ask() -> None:
    with pytest.raises(UsageError) as caught:
        output.confirm("burn it?")
    assert "--yes" in caught.value.advice
    with pytest.raises(UsageError) as caught:
        output.ask_secret("passphrase of key root-1", env="HEIRLOOM_PASSPHRASE")
    assert "--passphrase-fd" in caught.value.advice
    assert "HEIRLOOM_PASSPHRASE" in caught.value.advice


def test_yes_answers() -> None:
    before = enter(Context(yes=True))
    try:
        output.confirm("burn it?")
    finally:
        leave(before)


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y", True), ("YES", True), ("n", False), ("", False), ("yikes", False)]
)
def test_asking_at_a_terminal(terminal: int, answer: str, agreed: bool) -> None:
    os.write(terminal, f"{answer}\n".encode())
    if agreed:
        output.confirm("burn it?")
    else:
        with pytest.raises(HeirloomError, match="nothing was done") as caught:
            output.confirm("burn it?")
        assert caught.value.exit_code == 1


def pipe(content: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


def test_a_secret_from_a_descriptor_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "from environment")
    assert output.ask_secret("word", env="SECRET") == "from environment"
    descriptor = pipe(b"  from pipe, spaces and all \nsecond line\n")
    assert output.ask_secret("word", env="SECRET", fd=descriptor) == "  from pipe, spaces and all "
    os.close(descriptor)
    with pytest.raises(UsageError, match="cannot read the word from file descriptor"):
        output.ask_secret("word", env="SECRET", fd=descriptor)


def test_a_typed_secret_is_asked_twice(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert output.ask_secret("word", env="UNSET", repeat=True) == "one"
    with pytest.raises(UsageError, match="differ"):
        output.ask_secret("word", env="UNSET", repeat=True)


def test_what_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "set": {2, 1}, "path": Path("x")})
    assert capsys.readouterr().out == "when: 2026-01-02T03:04:05Z\nset:\n  1\n  2\npath: x\n"
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.emit(object())


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"name": "\x1b]0;owned\x07"})
    output.note("\x1b[31m")
    assert "\x1b" not in "".join(capsys.readouterr())


def test_progress_without_a_terminal_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("brewing", 2) as bar:
        bar.advance()
        bar.update(completed=2)
    assert capsys.readouterr() == ("", "")


def test_progress_at_a_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a terminal that calls itself dumb gets no moving bar
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with output.progress("brewing", 2) as bar:
        bar.advance()
        bar.update(completed=2)
    assert "brewing" in capfd.readouterr().err
