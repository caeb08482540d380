"""What the global options say about the command that is running."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """The global options of one run of the program.

    Attributes:
        json: One JSON document on stdout instead of text.
        debug: Errors come with their traceback.
        yes: Questions are answered with yes.
        project: The project folder or its heirloom.toml, if named by --project or HEIRLOOM_PROJECT.
        capture: Documents are only collected, not printed (`heirloom.cli.main.call`).
        documents: What `heirloom.cli.output.emit` was given so far.
    """

    json: bool = False
    debug: bool = False
    yes: bool = False
    project: Path | None = None
    capture: bool = False
    documents: list[object] = field(default_factory=list)


_current: ContextVar[Context | None] = ContextVar("heirloom_context", default=None)


def current() -> Context:
    """The context of the running command; outside of one, all defaults."""
    return _current.get() or Context()


def enter(context: Context) -> Context | None:
    """Make `context` the current one. Returns the one before, for a later `enter` or `leave`."""
    before = _current.get()
    _current.set(context)
    return before


def leave(before: Context | None) -> None:
    """Go back to what `enter` returned."""
    _current.set(before)
