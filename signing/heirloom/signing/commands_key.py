"""`heirloom key`."""

from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing import completion
from heirloom.signing.options import DryRun, PassphraseFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.signing.keys import KeyStore

_Name = Annotated[str, typer.Argument(autocompletion=completion.keys, help="A key, as in root-1.")]


def register(key: typer.Typer) -> None:
    """Add the commands to the group `key`."""
    key.command("new")(new_command)
    key.command("list")(list_command)
    key.command("show")(show_command)
    key.command("test")(check_command)


def new_command(
    name: Annotated[str, typer.Argument(help="Name of the new key, as in releases-RPI_PICO_W-2.")],
    kind: Annotated[str, typer.Option("--type", help="ed25519, ecdsa (P-256) or rsa.")] = "ed25519",
    passphrase_fd: PassphraseFd = None,
    dry_run: DryRun = False,
) -> None:
    """Make a key. It signs nothing until a role names it."""
    from heirloom.signing.keys import KINDS, check_name
    from heirloom.signing.passphrases import Passphrases

    check_name(name)
    if kind not in KINDS:
        raise UsageError(f"--type {kind} is no kind of key", f"known kinds: {', '.join(KINDS)}")
    project, store = _store()
    store.check_free(name)
    if dry_run:
        emit({"name": name, "directory": store.directory, "dry_run": True})
        return
    store.create(name, Passphrases(passphrase_fd).create(f"key {name}"), kind)
    emit(_details(project, store, name))


def list_command() -> None:
    """List the keys of the project: those that are here, and those that heirloom.toml names."""
    project, store = _store()
    named = {store.name(uri) for uris in project.signing.values() for uri in uris}
    here = store.names()
    keys = [_row(project, store, name, name in here) for name in sorted({*here, *named})]
    emit({"directory": store.directory, "keys": keys}, lambda console: _show_list(console, store, keys))


def show_command(name: _Name) -> None:
    """Show the public half of a key and where it is used."""
    project, store = _store()
    emit(_details(project, store, name))


def check_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=completion.keys, help="Keys to test. Default: all that are here."),
    ] = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Open keys with their passphrase, sign something and verify it."""
    from heirloom.signing.passphrases import Passphrases

    _, store = _store()
    wanted = names or store.names()
    if not wanted:
        raise UsageError(f"no keys in {store.directory}", "`heirloom init` and `heirloom key new` make keys")
    passphrases = Passphrases(passphrase_fd)
    for name in wanted:
        store.test(name, passphrases)
    emit({"tested": wanted}, lambda console: console.print(f"{len(wanted)} keys open and sign: {', '.join(wanted)}"))


def _store() -> "tuple[Project, KeyStore]":
    from heirloom.signing.keys import KeyStore

    project = Project.load()
    return project, KeyStore(project.keys_dir())


def _roles(project: Project, name: str) -> list[str]:
    return [role for role, uris in project.signing.items() if f"heirloom:{name}" in uris]


def _row(project: Project, store: "KeyStore", name: str, here: bool) -> dict[str, object]:
    public = store.public(name) if here else None
    return {
        "name": name,
        "type": public.keytype if public else None,
        "keyid": public.keyid if public else None,
        "roles": _roles(project, name),
        "here": here,
    }


def _details(project: Project, store: "KeyStore", name: str) -> dict[str, object]:
    public = store.public(name)
    return {
        "name": name,
        "uri": f"heirloom:{name}",
        "type": public.keytype,
        "scheme": public.scheme,
        "keyid": public.keyid,
        "public": public.keyval["public"],
        "roles": _roles(project, name),
        "directory": store.directory,
    }


def _show_list(console: "Console", store: "KeyStore", keys: list[dict[str, object]]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for key in keys:
        keyid = str(key["keyid"])[:8] if key["here"] else "not here"
        used = key["roles"]
        table.add_row(
            str(key["name"]), str(key["type"] or "-"), keyid, ", ".join(used) if isinstance(used, list) else ""
        )
    console.print(f"Keys in {store.directory}", markup=False, soft_wrap=True)
    console.print(table)
