"""The one program: global options, the folders' commands, errors as people and programs read them, exit codes."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from heirloom.cli import discovery, extras, failure
from heirloom.cli.context import Context, current, enter, leave
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.output import emit

_FLAGS = ("--json", "--debug", "--yes")
_PROJECT = "--project"
GLOBAL_OPTIONS = (*_FLAGS, _PROJECT)
_NAMES = ("heirloom", "heirloom-ota")
_ATTENTION = 3
_INTERRUPTED = 130  # as a shell reports SIGINT
_BROKEN_PIPE = 141  # as a shell reports SIGPIPE


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the program and leave the interpreter with its exit code.

    Args:
        argv: The command line without the program's name; that of the process if None.
    """
    code = run(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        failure.discard_stdout()
        code = _BROKEN_PIPE
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command in this process. Returns the exit code; errors are printed."""
    flags, rest = hoist(argv)
    return _run(flags, rest, _context(flags, capture=False))


def call(argv: Sequence[str]) -> object:
    """Run one command in this process and return what it would print with --json (None if nothing).

    A command that says "attention needed" after its document has not failed: the document is returned.

    Raises:
        HeirloomError: The command failed, with its exit code.
    """
    flags, rest = hoist(argv)
    context = _context(["--json", *flags], capture=True)
    before = enter(context)
    try:
        if code := _invoke(flags, rest):
            raise HeirloomError(f"heirloom {' '.join(rest)} ended with exit code {code}", exit_code=code)
    except Exception as exc:
        error = failure.as_error(exc)
        if error.exit_code != _ATTENTION or not context.documents:
            raise error from exc
    finally:
        leave(before)
    return context.documents[-1] if context.documents else None


def hoist(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into the global options, wherever they stand before `--`, and the rest."""
    flags: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return flags, [*rest, word, *words]
        if word in _FLAGS or word.startswith(f"{_PROJECT}="):
            flags.append(word)
        elif word == _PROJECT:
            value = next(words, None)
            if value is None:
                return [*flags, word], []  # last on the line, where the parser misses the value
            flags += [word, value]
        else:
            rest.append(word)
    return flags, rest


def _context(flags: Sequence[str], *, capture: bool) -> Context:
    # Known before the command line is parsed, so that a usage error is told as asked for.
    return Context(json="--json" in flags, debug="--debug" in flags, yes="--yes" in flags, capture=capture)


def _run(flags: list[str], rest: list[str], context: Context) -> int:
    before = enter(context)
    try:
        return _invoke(flags, rest)
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        failure.discard_stdout()
        return _BROKEN_PIPE
    except Exception as exc:  # noqa: BLE001 - the one place where a traceback becomes a sentence
        if current().debug:
            traceback.print_exc()
        error = failure.as_error(exc)
        failure.tell(error)
        return error.exit_code
    finally:
        leave(before)


def _invoke(flags: list[str], rest: list[str]) -> int:
    app = typer.Typer(
        name=_NAMES[0],
        no_args_is_help=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=True,
    )
    app.callback(invoke_without_command=True)(_global_options)
    absent = discovery.register_all(app)
    command = typer.main.get_command(app)
    name = Path(sys.argv[0]).name
    name = name if name in _NAMES else _NAMES[0]
    if f"_{name}_COMPLETE".replace("-", "_").upper() in os.environ:
        command.main(prog_name=name)
    try:
        with command.make_context(name, [*flags, *rest]) as parsed:
            command.invoke(parsed)
    except typer.Exit as exc:
        return exc.exit_code
    except typer.TyperException as exc:
        raise failure.usage_error(exc, absent) from exc
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        number = version(extras.DISTRIBUTION)
        emit({"version": number}, lambda console: console.print(f"heirloom {number}"))
        raise typer.Exit


def _global_options(
    parsed: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors come with their traceback.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer yes to every question.")] = False,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project", metavar="PATH", help="The project folder. Default: HEIRLOOM_PROJECT, or at or above here."
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and leave.")
    ] = False,
) -> None:
    """Secure updates for MicroPython boards that outlive their maker.

    The options below may stand anywhere on the line.
    Exit codes: 0 done, 1 failed, 2 usage, 3 attention needed, 4 rig trouble.
    """
    if parsed.invoked_subcommand is None:
        _show_help(parsed)
    context = current()
    enter(Context(json, debug, yes, project, context.capture, context.documents))


def _show_help(parsed: typer.Context) -> NoReturn:
    if current().json:
        raise UsageError("no command given", "see `heirloom --help`")
    print(parsed.get_help())
    raise typer.Exit(2)
