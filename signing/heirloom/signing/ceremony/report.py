"""How ceremonies are shown, to people and as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import emit, printable
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.ceremony import Ceremony, listed
from heirloom.signing.ceremony.difference import Change, difference
from heirloom.signing.ceremony.draft import Documents
from heirloom.signing.ceremony.place import CEREMONIES, Place
from heirloom.signing.ceremony.quorum import sentences
from heirloom.signing.metadata import utc_now

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Described:
    """A ceremony, for showing.

    Attributes:
        state: "open", "complete" (it can be finished), "finished", "aborted" or "refused".
        problem: Why it must not be signed or finished; empty if nothing speaks against it.
        purpose: In the words of whoever started it.
        needs: What is signed and what is missing, one sentence for each threshold.
        waiting: Names of those whose signature is missing.
    """

    ceremony: str
    id: str
    state: str
    purpose: str
    created: str = ""
    problem: str = ""
    advice: str = ""
    changes: list[Change] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    folder: Path | None = None


def describe(ceremony: Ceremony, base: Base, here: Place) -> Described:
    """A ceremony that verified."""
    needs = ceremony.needs(base)
    missing = [need for need in needs if need.missing]
    published = ceremony.published(here.repository) if here.repository else set()
    finished = published == set(ceremony.documents)
    state = "aborted" if ceremony.aborted else "finished" if finished else "open" if missing else "complete"
    return Described(
        ceremony=ceremony.path.name,
        id=ceremony.id,
        state=state,
        purpose=ceremony.proposal.purpose,
        created=ceremony.proposal.created,
        problem=_problem(ceremony, base, here) if state in ("open", "complete") else ceremony.aborted,
        changes=ceremony.difference(base),
        needs=sentences(needs),
        waiting=sorted({name for need in missing for name in need.waiting}),
        folder=ceremony.path,
    )


def preview(base: Base, documents: Documents, purpose: str) -> Described:
    """A ceremony that was not started."""
    return Described("", "", "not started", purpose, changes=difference(base, documents))


def _problem(ceremony: Ceremony, base: Base, here: Place) -> str:
    try:
        ceremony.check(base, here.product, utc_now())
        if here.repository:
            ceremony.check_current(here.repository)
    except HeirloomError as exc:
        return exc.message
    rivals = ", ".join(rival.path.name for rival in ceremony.rivals())
    return f"it conflicts with {rivals}: abort one of them" if rivals else ""


def look(ceremony: Ceremony, here: Place) -> Described:
    """Any ceremony, also one that does not verify."""
    try:
        return describe(ceremony, here.base(ceremony), here)
    except HeirloomError as exc:
        state = "aborted" if ceremony.aborted else "refused"
        purpose, created = ceremony.proposal.purpose, ceremony.proposal.created
        return Described(ceremony.path.name, ceremony.id, state, purpose, created, exc.message, exc.advice)


def lines(found: Described) -> Iterator[str]:
    """The description for people."""
    if found.ceremony:
        yield f"Ceremony {found.ceremony}: {found.state}"
    yield f"  purpose, as its starter says: {found.purpose}"
    if found.problem:
        yield f"  PROBLEM: {found.problem}"
    if found.changes:
        yield ""
        yield "What it changes, compared with the metadata that is trusted here:"
        yield from (f"  - {change.sentence}" for change in found.changes)
    if found.needs:
        yield ""
        yield from (f"  {need}" for need in found.needs)


def text(found: Described) -> str:
    """The description for people, printable."""
    return printable("\n".join(lines(found))) + "\n"


def shown(found: Described) -> None:
    """Show a ceremony."""
    emit(found, lambda console: _show(console, found))


def started(found: Described) -> None:
    """Say what `ceremony start` made."""
    emit(found, lambda console: _show(console, found, _next(found)))


def _next(found: Described) -> str:
    if not found.ceremony:
        return "Nothing was written."
    return (
        f"Hand {found.folder} to {', '.join(found.waiting)}, by mail, on a stick or by git; each runs\n\n"
        f"  heirloom ceremony sign {found.ceremony}\n\n"
        "and hands its new files back. Then run `heirloom ceremony finish`."
    )


def signed(ceremony: Ceremony, base: Base, here: Place, written: list[str]) -> None:
    """Say what `ceremony sign` wrote."""
    found = describe(ceremony, base, here)
    result = {"written": written, **vars(found)}

    def human(console: "Console") -> None:
        for file in written:
            console.print(f"wrote {ceremony.path / file}", markup=False, soft_wrap=True)
        if not written:
            console.print("These keys had signed already.", markup=False)
        if found.waiting:
            console.print(f"Still missing: {', '.join(found.waiting)}", markup=False, soft_wrap=True)
        else:
            console.print("It is complete: `heirloom ceremony finish` publishes it.", markup=False)

    emit(result, human)


def status(ceremony: Ceremony, here: Place) -> None:
    """Show one ceremony; HeirloomError, after showing it, if it must not be signed."""
    found = look(ceremony, here)
    emit(found, lambda console: _show(console, found))
    if found.state == "refused":
        raise HeirloomError(found.problem, found.advice)


def overview(here: Place) -> None:
    """Show all ceremonies of the project."""
    parent = here.project.root / CEREMONIES if here.project else Path.cwd()
    found = [look(ceremony, here) for ceremony in listed(parent)]

    def human(console: "Console") -> None:
        for one in found:
            _show(console, one)
        if not found:
            console.print("There are no ceremonies: `heirloom ceremony start` makes one.", markup=False)

    emit({"ceremonies": found}, human)


def _show(console: "Console", found: Described, after: str = "") -> None:
    console.print(text(found) + (f"\n{after}" if after else ""), markup=False, soft_wrap=True)
