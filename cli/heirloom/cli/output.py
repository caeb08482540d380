"""What the program says: results on stdout (text or JSON), everything else on stderr."""

import dataclasses
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from heirloom.cli.context import current
from heirloom.cli.errors import HeirloomError, UsageError

if TYPE_CHECKING:
    from rich.console import Console


class Progress(Protocol):
    """What `progress` yields."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done, in the unit of the total."""

    def update(self, *, completed: float) -> None:
        """So much is done altogether."""

    def describe(self, description: str) -> None:
        """Something else is going on now."""

    def step(self, description: str, total: float | None = None) -> None:
        """Something else begins, with an end of its own."""

    def paused(self) -> AbstractContextManager[None]:
        """For the block the bar is gone, so that a person can be asked something."""
        ...


def printable(text: str) -> str:
    """`text` without control characters: what a file or a server says must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def emit(data: object, human: "Callable[[Console], None] | None" = None) -> None:
    """Say the result of a command.

    Args:
        data: The result; anything JSON knows, and dataclasses, paths, times (RFC 3339) and bytes (hexadecimal).
        human: Draws the result for a person. Without it, `data` is printed plainly.
    """
    context = current()
    plain = json.loads(json.dumps(data, default=_as_json))
    context.documents.append(plain)
    if context.capture:
        return
    if context.json:
        print(json.dumps(plain, indent=2, ensure_ascii=False))
    elif human is not None:
        human(_console(stderr=False))
    else:
        print("\n".join(_plain_lines(plain)))


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _plain_lines(value: object, indent: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield printable(f"{indent}{key}:")
                yield from _plain_lines(item, indent + "  ")
            else:
                yield printable(f"{indent}{key}: {_word(item)}")
    elif isinstance(value, list):
        for item in value:
            yield from _plain_lines(item, indent)
    else:
        yield printable(f"{indent}{_word(value)}")


def _word(value: object) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Into a pipe or a file, long lines stay whole, so that they can be searched.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 400
    # No highlighting: colours are chosen, not guessed from digits and quotes.
    return Console(stderr=stderr, highlight=False, width=width)


def note(text: str) -> None:
    """Tell a person what is going on (stderr); silent with --json."""
    if not current().json:
        print(printable(text), file=sys.stderr)


def warn(text: str) -> None:
    """Tell a person about something that may go wrong (stderr)."""
    print(f"warning: {printable(text)}", file=sys.stderr)


class Silent:
    """A progress that nobody sees."""

    def advance(self, amount: float = 1) -> None:
        """Nobody is looking."""

    def update(self, *, completed: float) -> None:
        """Nobody is looking."""

    def describe(self, description: str) -> None:
        """Nobody is looking."""

    def step(self, description: str, total: float | None = None) -> None:
        """Nobody is looking."""

    def paused(self) -> AbstractContextManager[None]:
        """Nobody is looking."""
        return nullcontext()


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Progress]:
    """A progress bar on stderr, if that is a terminal.

    Args:
        description: What is going on.
        total: The end of the bar in any unit, or None when it is not known.
    """
    if current().json or not sys.stderr.isatty():
        yield Silent()
        return
    from rich import progress as rich_progress

    with rich_progress.Progress(console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(description), total=total)

        class Shown:
            def advance(self, amount: float = 1) -> None:
                bar.advance(task, amount)

            def update(self, *, completed: float) -> None:
                bar.update(task, completed=completed)

            def describe(self, description: str) -> None:
                bar.update(task, description=printable(description))

            def step(self, description: str, total: float | None = None) -> None:
                bar.reset(task, description=printable(description), total=total)

            @contextmanager
            def paused(self) -> Iterator[None]:
                bar.stop()
                try:
                    yield
                finally:
                    bar.start()

        yield Shown()


def confirm(question: str) -> None:
    """Return if a person agrees.

    Raises:
        UsageError: There is nobody to ask; names --yes.
        HeirloomError: The answer was no.
    """
    if current().yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody to ask: {question}", "say --yes to agree without a terminal")
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise HeirloomError("nothing was done: the answer was not yes")


def ask_secret(
    what: str, *, env: str, fd: int | None = None, repeat: bool = False, option: str = "--passphrase-fd"
) -> str:
    """A secret from a file descriptor, else from the environment, else typed at a terminal.

    Args:
        what: Names the secret in the prompt, as in "passphrase of key root-1".
        env: The environment variable that may hold it.
        fd: An open file descriptor; its first line is the secret.
        repeat: A typed secret is asked for twice.
        option: The option that gives `fd`, for the error message.

    Raises:
        UsageError: There is no way to get it, or the two typed ones differ.
    """
    if fd is not None:
        return _read_secret(what, fd, option)
    if env in os.environ:
        return os.environ[env]
    if not sys.stdin.isatty():
        raise UsageError(f"nobody to ask for the {what}", f"give it by {option} N or in {env}")
    secret = getpass.getpass(f"{printable(what)}: ")
    if repeat and getpass.getpass(f"{printable(what)}, again: ") != secret:
        raise UsageError(f"the two entries of the {what} differ", "try again")
    return secret


def _read_secret(what: str, fd: int, option: str) -> str:
    try:
        with os.fdopen(os.dup(fd), encoding="utf-8") as stream:
            return stream.readline().removesuffix("\n")
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read the {what} from file descriptor {fd}: {exc}", f"see {option}") from exc
