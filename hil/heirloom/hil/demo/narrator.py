"""How the story is told: chapters, claims with their evidence, and what the two make as a document."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from heirloom.cli.output import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


@dataclass(frozen=True)
class Claim:
    """One thing that must hold.

    Attributes:
        text: The claim, as a sentence.
        held: Whether it did.
        evidence: What was seen, in a form that JSON knows; mostly read back from the device.
    """

    text: str
    held: bool
    evidence: object


@dataclass
class Chapter:
    """One part of the story."""

    title: str
    claims: list[Claim] = field(default_factory=list)
    seconds: float = 0.0


class Narrator:
    """Collects the chapters and, given a console, tells them as they happen.

    Args:
        console: Where to tell it, or None to stay silent.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        self._console = console
        self._start = time.monotonic()
        self._chapters: list[Chapter] = []

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """What happens inside belongs to the chapter `title`."""
        chapter = Chapter(title)
        self._chapters.append(chapter)
        self._print(f"\n[bold]{len(self._chapters)}. {title}[/bold]")
        start = time.monotonic()
        try:
            yield
        finally:
            chapter.seconds = round(time.monotonic() - start, 2)

    def say(self, text: str) -> None:
        """Tell something that is no claim."""
        self._print(f"   [dim]{_escape(text)}[/dim]")

    def claim(self, text: str, held: bool, evidence: object = None) -> None:
        """Tell a claim and whether it holds; go on in both cases."""
        self._chapters[-1].claims.append(Claim(text, bool(held), evidence))
        mark = "[green]✓[/green]" if held else "[bold red]✗ does not hold:[/bold red]"
        self._print(f"   {mark} {_escape(text)}")
        if not held:
            self._print(f"     [red]seen: {_escape(str(evidence))}[/red]")

    def quote(self, who: str, words: str) -> None:
        """Tell what the device itself says."""
        self._print(f"     [cyan]{_escape(who)}:[/cyan] [italic]{_escape(words)}[/italic]")

    @contextmanager
    def waiting(self, text: str) -> Iterator["Wait"]:
        """Show that something takes its time, on a terminal only."""
        if self._console is None or not self._console.is_terminal:
            yield Wait(None, text)
            return
        with self._console.status(_escape(text)) as status:
            yield Wait(status, text)

    def conclude(self) -> None:
        """Tell how it ended."""
        total = sum(len(chapter.claims) for chapter in self._chapters)
        if self.failed:
            self._print(f"\n[bold red]{len(self.failed)} of {total} claims did not hold[/bold red], {self.seconds} s")
            for claim in self.failed:
                self._print(f"   [red]✗[/red] {_escape(claim.text)}")
        else:
            self._print(f"\n[bold green]All {total} claims hold[/bold green], {self.seconds} s")

    @property
    def failed(self) -> list[Claim]:
        """The claims that did not hold."""
        return [claim for chapter in self._chapters for claim in chapter.claims if not claim.held]

    def document(self) -> dict[str, object]:
        """The whole story as data."""
        return {
            "ok": not self.failed,
            "seconds": self.seconds,
            "claims": sum(len(chapter.claims) for chapter in self._chapters),
            "failed": [claim.text for claim in self.failed],
            "chapters": [asdict(chapter) for chapter in self._chapters],
        }

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return round(time.monotonic() - self._start, 1)

    def _print(self, markup: str) -> None:
        if self._console is not None:
            self._console.print(markup, soft_wrap=True)


class Wait:
    """What `Narrator.waiting` yields: its text can be brought up to date."""

    def __init__(self, status: "Status | None", text: str) -> None:
        self._status = status
        self._text = text

    def update(self, detail: str) -> None:
        """Show `detail` behind the text."""
        if self._status is not None:
            self._status.update(_escape(f"{self._text} ({detail})"))


def _escape(text: str) -> str:
    """`text` as it is: neither Rich's markup nor control characters from a device do anything."""
    from rich.markup import escape

    return escape(printable(text))
