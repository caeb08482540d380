"""`heirloom init`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.context import current
from heirloom.cli.errors import UsageError
from heirloom.cli.output import emit, note
from heirloom.cli.project import FILE_NAME, PROJECT_VARIABLE, Project
from heirloom.signing import completion, roles
from heirloom.signing.options import DryRun, PassphraseFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.signing.founding import Answers


def init_command(
    name: Annotated[str | None, typer.Option(help="The product: what shares one root of trust.")] = None,
    board: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VERSION]",
            autocompletion=completion.known_boards,
            help="A board, and the MicroPython version on it; may be repeated.",
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A place where devices look for the repository; at least two, on two sites, one not yours."),
    ] = None,
    app: Annotated[str | None, typer.Option(metavar="FOLDER", help="The application's folder. Default: app.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A file that the application itself writes; may be repeated."),
    ] = None,
    maker: Annotated[str | None, typer.Option(help="Who stands behind the product. Default: its name.")] = None,
    contact: Annotated[
        str | None, typer.Option(help="Where security problems are told: a mail or web address.")
    ] = None,
    support_until: Annotated[str | None, typer.Option(metavar="DATE", help="Until when there will be updates.")] = None,
    version: Annotated[
        str | None, typer.Option(help="The version to build when `release build` is given none.")
    ] = None,
    passphrase_fd: PassphraseFd = None,
    dry_run: DryRun = False,
) -> None:
    """Found a product: heirloom.toml, encrypted keys, and the first signed metadata.

    Without options it asks. Interrupted, it continues when run again.
    """
    from heirloom.signing import founding
    from heirloom.signing.keys import KeyStore
    from heirloom.signing.metadata import utc_now
    from heirloom.signing.passphrases import Passphrases

    folder = _folder()
    given = {"name": name, "boards": board, "urls": url, "app": app, "maker": maker, "contact": contact}
    given |= {"support_until": support_until, "version": version, "keep": keep}
    answers = _continued(folder, given) or _answers(given, folder)
    project = founding.check(folder, answers)
    store = KeyStore(project.keys_dir())
    if not dry_run:
        passphrase = Passphrases(passphrase_fd).create(f"the keys of {answers.name}")
        founding.found(folder, answers, passphrase, utc_now())
    wanted = roles.product_roles(list(answers.boards))
    result = {
        "project": folder,
        "product": answers.name,
        "boards": list(answers.boards),
        "urls": list(answers.urls),
        "keys_directory": store.directory,
        "keys": [key for role in wanted for key in roles.key_names(role)],
        "repository": project.repository,
        "dry_run": dry_run,
    }
    emit(result, lambda console: _show(console, project, store.directory, dry_run))


def _folder() -> Path:
    named = current().project or (Path(value).expanduser() if (value := os.environ.get(PROJECT_VARIABLE)) else None)
    folder = (named or Path.cwd()).absolute()
    return folder.parent if folder.name == FILE_NAME else folder


def _continued(folder: Path, given: Mapping[str, object]) -> "Answers | None":
    """The answers of an interrupted run; other ones beside them are refused."""
    from heirloom.signing import founding

    answers = founding.unfinished(folder)
    if answers is None:
        return None
    same = all(value is None or _plain(key, value) == getattr(answers, key) for key, value in given.items())
    if not same:
        raise UsageError(
            f"an interrupted `heirloom init` of {answers.name} in {folder} had other answers",
            f"run it without options to finish, or remove {FILE_NAME}, .heirloom and repository there to start again",
        )
    note(f"finishing the interrupted `heirloom init` of {answers.name}")
    return answers


def _answers(given: Mapping[str, object], folder: Path) -> "Answers":
    from heirloom.signing import founding

    name = _need("--name", given["name"], "Name of the product", folder.name)
    boards = _plain("boards", given["boards"] or _ask_list("--board", "Board", "RPI_PICO_W"))
    urls = _plain("urls", given["urls"] or _ask_list("--url", "Place where devices look", None))
    rest = {key: given[key] for key in ("maker", "contact", "support_until", "version")}
    if given["name"] is None and rest["contact"] is None:
        rest["contact"] = typer.prompt(
            "Where are security problems told (mail or web address, may be empty)", "", err=True
        )
    rest = {key: value or None for key, value in rest.items()}
    app = given["app"] or "app"
    return founding.Answers(name, boards, urls, _plain("app", app), **rest, keep=given["keep"] or [])  # type: ignore[arg-type]


def _plain(key: str, value: object) -> object:
    """An option's value as `Answers` keeps it."""
    from heirloom.signing import places

    if key == "boards" and isinstance(value, list):
        return dict(_board(item) for item in value)
    if key == "urls" and isinstance(value, list):
        return [places.normalise(item) for item in value]
    if key == "app" and isinstance(value, str):
        return value.removeprefix("./").rstrip("/") or "."
    return value


def _board(text: str) -> tuple[str, str]:
    from heirloom.signing.compiler import micropython_version

    name, separator, version = text.partition("=")
    if separator and not version:
        raise UsageError(f"--board {text} names no version", "as in --board RPI_PICO_W=1.27, or without the =")
    return name, version or micropython_version()


def _need(option: str, value: object, question: str, default: str) -> object:
    if value is not None:
        return value
    _need_terminal(option, question)
    return typer.prompt(question, default, err=True)


def _ask_list(option: str, question: str, default: str | None) -> list[str]:
    _need_terminal(option, question)
    items: list[str] = []
    while item := typer.prompt(
        f"{question} (empty: no more)" if items else question, "" if items else default, err=True
    ):
        items.append(item)
    return items


def _need_terminal(option: str, question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"nobody to ask: {question}", f"say {option}")


def _show(console: "Console", project: Project, keys: Path, dry_run: bool) -> None:
    verb = "would be" if dry_run else "is"
    product = project.product.name
    console.print(f"The product {product} {verb} founded in {project.root}.", markup=False, soft_wrap=True)
    console.print(f"  repository  {project.repository}", markup=False, soft_wrap=True)
    console.print(f"  keys        {keys}", markup=False, soft_wrap=True)
    if dry_run:
        return
    console.print(
        "\nCopy the keys of root and targets to two more places and take them off this machine: whoever has two of\n"
        "three owns the product, and without them nobody does. Then put your application into "
        f"{project.app.source.name}/ and run\n\n  heirloom release build --version 1.0.0",
        markup=False,
        soft_wrap=True,
    )
