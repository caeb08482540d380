"""`heirloom export` and `heirloom import`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing.options import PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.server.archive import Exported, Lasting
    from heirloom.server.archive_import import Imported

_YEARS = 20


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("export")(export_command)
    app.command("import")(import_command)


def export_command(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet; a file with --secrets.")
    ],
    lasting: Annotated[
        bool, typer.Option("--lasting", help="Sign a last timestamp, snapshot and channels for many years.")
    ] = False,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help=f"With --lasting: how long. Default: {_YEARS} years.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="With --lasting: root, targets and releases too, by their keys; they are published first."
        ),
    ] = False,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Write only the keys and the inventory, encrypted to the --to.")
    ] = False,
    to: Annotated[
        list[str] | None, typer.Option(metavar="RECIPIENT", help="An age recipient, age1... or ssh-...; repeat.")
    ] = None,
    inventory: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="With --secrets: the inventory.")
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
) -> None:
    """Write a static copy with all that successors need; any file server can serve it to devices.

    Keys and inventory are not in it: they travel apart, by --secrets.
    """
    from heirloom.server import archive
    from heirloom.signing.metadata import utc_now
    from heirloom.signing.passphrases import Passphrases

    project = Project.load()
    if secrets:
        _export_secrets(project, out, to or [], inventory)
        return
    if to or inventory:
        raise UsageError("--to and --inventory belong to --secrets", "an archive holds no secrets")
    if not lasting and (until or offline):
        raise UsageError("--until and --offline belong to --lasting")
    now = utc_now()
    last = _lasting(until, now, offline=offline) if lasting else None
    exported = archive.export(project, out, now, Passphrases(passphrase_fd, pin_fd), last)
    emit(exported, lambda console: _show_exported(console, exported))


def _lasting(until: str | None, now: datetime, *, offline: bool) -> "Lasting":
    from heirloom.server.archive import Lasting

    if until is None:
        # The 28th exists in every month and year.
        return Lasting(now.replace(year=now.year + _YEARS, day=min(now.day, 28)), offline)
    try:
        return Lasting(datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC), offline)
    except ValueError as exc:
        raise UsageError(f"--until {until} is no day", "as in 2046-12-31") from exc


def _export_secrets(project: Project, out: Path, to: list[str], inventory: Path | None) -> None:
    from heirloom.server import archive_secrets

    if not to:
        raise UsageError("nobody to encrypt the secrets to", "name successors with --to")
    packed = archive_secrets.export(project, out, to, inventory)
    emit(
        packed,
        lambda console: console.print(
            f"{packed.file}: {packed.keys} keys and {packed.devices} devices, for {len(to)} recipients.\n"
            "The keys in it are still locked by their passphrase, which must travel another way.",
            markup=False,
            soft_wrap=True,
        ),
    )


def import_command(
    archive: Annotated[
        Path, typer.Argument(exists=True, metavar="ARCHIVE", help="The archive's folder; a file with --secrets.")
    ],
    into: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The project's folder; must not exist. Default: the product.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="A root to trust. Default: the archive's first."
        ),
    ] = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Unpack the keys and the inventory that `export --secrets` wrote.")
    ] = False,
    identity: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="With --secrets: your age key.")
    ] = None,
) -> None:
    """Go on with an archive elsewhere: it becomes a project, after everything in it was verified."""
    from heirloom.server import archive as archives
    from heirloom.server.archive_import import import_archive

    if secrets:
        _import_secrets(archive, identity)
        return
    if identity is not None:
        raise UsageError("--identity belongs to --secrets")
    folder = into or Path(str(archives.description(archive).get("product", "product")))
    if into is None and folder.name != str(folder):
        raise HeirloomError("the archive's product is no name for a folder", "name one with --into")
    imported = import_archive(archive, folder, _read(root) if root else None)
    emit(imported, lambda console: _show_imported(console, imported))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc


def _import_secrets(file: Path, identity: Path | None) -> None:
    from heirloom.server import archive_secrets

    if identity is None:
        raise UsageError("the secrets are encrypted", "name your age key with --identity")
    packed = archive_secrets.unpack(Project.load(), file, _read(identity))
    emit(packed)


def _show_exported(console: "Console", exported: "Exported") -> None:
    lines = [
        f"{exported.archive}: {exported.releases} releases, {exported.bytes} bytes. Open index.html in it.",
        f"Devices accept it as it is until {exported.accepted_until}, when {exported.limited_by} expires.",
    ]
    if exported.lost:
        lines.append(f"{exported.lost}.")
    if exported.without_source:
        lines.append(f"Not in it, as nothing is recorded here: the source of {', '.join(exported.without_source)}.")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _show_imported(console: "Console", imported: "Imported") -> None:
    lines = [
        f"{imported.project}: {imported.product}, {imported.releases} releases, root {imported.root}, all verified."
    ]
    if not imported.anchored:
        lines.append(
            "Nobody vouched for its first root: compare this fingerprint with what others have, before anything is "
            f"signed:\n  {imported.fingerprint}"
        )
    if imported.source:
        lines.append(f"The source of {imported.source} is the application now.")
    if imported.wills:
        lines.append("There is a sealed will: see `heirloom will check` and `heirloom will open`.")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
