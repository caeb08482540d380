"""`heirloom key`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing import completion
from heirloom.signing.options import DryRun, PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.signing.keys import KeyStore

_Name = Annotated[
    str, typer.Argument(metavar="NAME|URI", autocompletion=completion.keys, help="A key, as in root-1 or hsm:2.")
]
_Ci = Annotated[
    bool,
    typer.Option("--ci", help="A machine signs with it: a releases role that has it needs a second signature."),
]
_Rig = Annotated[
    bool,
    typer.Option(
        "--rig", help="A rig signs with it what it tested (`heirloom hil attest`), and nothing else. Implies --ci."
    ),
]


def register(key: typer.Typer) -> None:
    """Add the commands to the group `key`."""
    key.command("new")(new_command)
    key.command("import")(import_command)
    key.command("list")(list_command)
    key.command("show")(show_command)
    key.command("test")(check_command)


def new_command(
    name: Annotated[str, typer.Argument(help="Name of the new key, as in releases-RPI_PICO_W-2.")],
    kind: Annotated[
        str | None, typer.Option("--type", help="ed25519 (default), ecdsa (P-256) or rsa; tokens make ecdsa.")
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Make it on a PKCS#11 token: hsm:ID?label=LABEL. Default: an encrypted file."),
    ] = None,
    rig: _Rig = False,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Make a key: an encrypted file, or one on a token that never leaves it. It signs nothing until a role names it."""
    from heirloom.signing.kinds import ED25519
    from heirloom.signing.passphrases import Passphrases

    project, store = _store()
    store.check_free(name)
    _check_kind(kind, uri)
    if uri is not None and rig:
        raise UsageError(
            "--rig goes with a key file here", "make it on the token, then `heirloom key import URI --rig`"
        )
    if dry_run:
        emit({"name": name, "uri": uri, "directory": store.directory, "dry_run": True})
        return
    passphrases = Passphrases(passphrase_fd, pin_fd)
    if uri is None:
        store.create(name, passphrases.create(f"key {name}"), kind or ED25519, rig=rig)
    else:
        store.create_on_token(name, uri, passphrases)
    emit(_details(project, store, name))


def import_command(
    uri: Annotated[str, typer.Argument(metavar="URI", help="As in awskms:alias/release; see docs/keys.md.")],
    name: Annotated[str, typer.Option(help="What people call it, as in anna-yubikey.")],
    ci: _Ci = False,
    rig: _Rig = False,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Record the public half of a key that is no file: on a token, in a cloud, in the environment.

    Then heirloom.toml can name it as heirloom:NAME, or by its URI.
    """
    from heirloom.signing.passphrases import Passphrases

    _, store = _store()
    found = store.fetch(name, uri, Passphrases(passphrase_fd, pin_fd), ci=ci, rig=rig)
    if not dry_run:
        store.record(name, found)
    emit({**_public(found.public), "name": name, "uri": found.uri, "ci": found.ci, "rig": rig, "dry_run": dry_run})


def list_command() -> None:
    """List the keys of the project: those that are here, and those that heirloom.toml names."""
    project, store = _store()
    named = {store.name(uri) for uris in project.signing.values() for uri in uris}
    keys = [_row(project, store, name) for name in sorted({*store.names(), *named})]
    emit({"directory": store.directory, "keys": keys}, lambda console: _show_list(console, store, keys))


def show_command(name: _Name) -> None:
    """Show the public half of a key and where it is used."""
    project, store = _store()
    emit(_details(project, store, name))


def check_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|URI]...", autocompletion=completion.keys, help="Keys to test. Default: all that are here."
        ),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
) -> None:
    """Open keys with their passphrase or PIN, sign something and verify it."""
    from heirloom.signing.keys import as_uri
    from heirloom.signing.passphrases import Passphrases

    _, store = _store()
    wanted = names or [name for name in store.names() if store.has(as_uri(name))]
    if not wanted:
        raise UsageError(f"no keys in {store.directory}", "`heirloom init` and `heirloom key new` make keys")
    passphrases = Passphrases(passphrase_fd, pin_fd)
    for name in wanted:
        store.test(name, passphrases)
    emit({"tested": wanted}, lambda console: console.print(f"{len(wanted)} keys open and sign: {', '.join(wanted)}"))


def _check_kind(kind: str | None, uri: str | None) -> None:
    from heirloom.signing.kinds import ECDSA, KINDS

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--type {kind} is no kind of key", f"known kinds: {', '.join(KINDS)}")
    if uri is not None and kind not in (None, ECDSA):
        raise UsageError(
            f"a token makes no {kind} keys that can be used here", f"tokens sign with P-256: say --type {ECDSA}"
        )


def _store() -> "tuple[Project, KeyStore]":
    from heirloom.signing.keys import KeyStore

    project = Project.load()
    return project, KeyStore(project.keys_dir())


def _roles(project: Project, store: "KeyStore", name: str) -> list[str]:
    return [role for role, uris in project.signing.items() if name in map(store.name, uris)]


def _row(project: Project, store: "KeyStore", name: str) -> dict[str, Any]:
    """What is known of a key without asking anybody; `name` may be a URI for which no name is known."""
    from heirloom.signing.keys import as_uri

    uri = as_uri(name)
    public = store.public(name) if name in store.names() else None
    return {
        "name": name,
        "uri": store.behind(uri),
        "type": public.keytype if public else None,
        "keyid": public.keyid if public else None,
        "roles": _roles(project, store, name),
        "here": store.has(uri),
        "missing": store.missing(uri),
        "ci": store.is_ci(uri),
        "rig": store.is_rig(uri),
    }


def _details(project: Project, store: "KeyStore", key: str) -> dict[str, object]:
    from heirloom.signing.keys import as_uri
    from heirloom.signing.passphrases import Passphrases

    uri = as_uri(key)
    name = store.name(uri)
    public = store.public_behind(uri, Passphrases())
    return {
        "name": name,
        "uri": store.behind(uri),
        **_public(public),
        "roles": _roles(project, store, name),
        "here": store.has(uri),
        "ci": store.is_ci(uri),
        "rig": store.is_rig(uri),
        "directory": store.directory,
    }


def _public(public: Any) -> dict[str, object]:
    return {
        "type": public.keytype,
        "scheme": public.scheme,
        "keyid": public.keyid,
        "public": public.keyval["public"],
    }


def _show_list(console: "Console", store: "KeyStore", keys: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for key in keys:
        keyid = str(key["keyid"])[:8] if key["keyid"] else "-"
        place = "" if key["uri"] == f"heirloom:{key['name']}" or key["uri"] == key["name"] else key["uri"]
        here = "here" if key["here"] else "not here"
        marks = " ".join(filter(None, [here, "rig" if key["rig"] else "CI" if key["ci"] else "", place]))
        table.add_row(*map(Text, (key["name"], key["type"] or "-", keyid, marks, ", ".join(key["roles"]))))
    console.print(f"Keys in {store.directory}", markup=False, soft_wrap=True)
    console.print(table)
