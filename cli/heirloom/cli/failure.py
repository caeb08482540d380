"""How a failure is told: one line and advice on stderr; with --json also as a document on stdout."""

import json
import os
import sys
from collections.abc import Sequence

import typer

from heirloom.cli import extras
from heirloom.cli.context import current
from heirloom.cli.discovery import Absent
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.output import printable


def tell(error: HeirloomError) -> None:
    """Print `error`."""
    message = printable(" ".join(error.message.split()))
    print(f"error: {message}", file=sys.stderr)
    if error.advice:
        print(printable(error.advice), file=sys.stderr)
    context = current()
    # A command that already gave its document (`status`, say) does not get a second one.
    if context.json and not context.documents:
        print(json.dumps({"error": {"message": message, "advice": error.advice}}, ensure_ascii=False))


def as_error(exc: Exception) -> HeirloomError:
    """What a person is told about `exc`."""
    if isinstance(exc, HeirloomError):
        return exc
    if isinstance(exc, ModuleNotFoundError) and (advice := extras.advice_for(exc.name)):
        return HeirloomError(f"this command needs {exc.name}, which is not installed", advice)
    if isinstance(exc, OSError):
        return os_error(exc, str(exc.filename or "the operating system refused"))
    reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return HeirloomError(f"internal error: {reason} (run again with --debug)")


def usage_error(exc: typer.TyperException, absent: Sequence[Absent]) -> HeirloomError:
    """What a person is told about a command line that cannot be parsed.

    Args:
        exc: Typer's opinion.
        absent: Folders without commands: the missing one may be theirs.
    """
    parsed = getattr(exc, "ctx", None)
    command = parsed.command_path if parsed is not None else "heirloom"
    # Typer puts the whole help text into the message of this one, and it is private there.
    if type(exc).__name__ == "NoArgsIsHelpError":
        if not current().json:
            print(exc.format_message())
        return UsageError(f"{command} needs a command", f"see `{command} --help`")
    advice = [f"see `{command} --help`"]
    if "command" in exc.format_message():
        advice += [f"{folder.reason}; {folder.advice}".rstrip("; ") for folder in absent]
    return UsageError(exc.format_message().rstrip("."), "\n".join(advice))


def discard_stdout() -> None:
    """Nobody reads stdout any more: let the interpreter flush it at exit without a complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
