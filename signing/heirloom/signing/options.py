"""Options that several commands share."""

from typing import Annotated

import typer

from heirloom.signing import completion

PassphraseFd = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Read the passphrase from this open file descriptor. Else HEIRLOOM_PASSPHRASE, else a prompt."
    ),
]
PinFd = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Read the PIN of a token from this open file descriptor. Else HEIRLOOM_PIN, else a prompt."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Boards = Annotated[
    list[str] | None,
    typer.Option("--board", autocompletion=completion.project_boards, help="A board; may be repeated. Default: all."),
]
