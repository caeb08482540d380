"""`heirloom release`, but for `publish`, which belongs to the server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import emit, printable
from heirloom.cli.project import Project
from heirloom.signing import completion
from heirloom.signing.options import Boards, DryRun, PassphraseFd, PinFd

if TYPE_CHECKING:
    from rich.console import Console

    from heirloom.device.manifest import Manifest
    from heirloom.signing.built import BuiltRelease
    from heirloom.signing.endorse import SignedRole
    from heirloom.signing.overview import Known, Verified
    from heirloom.signing.rebuild import Rebuilt

_Version = Annotated[str, typer.Argument(autocompletion=completion.versions, help="A version, as in 1.0.0.")]


def register(release: typer.Typer) -> None:
    """Add the commands to the group `release`."""
    release.command("build")(build_command)
    release.command("sign")(sign_command)
    release.command("list")(list_command)
    release.command("show")(show_command)
    release.command("verify")(verify_command)


def build_command(
    version: Annotated[str | None, typer.Option(help="The version. Default: that of [app] in heirloom.toml.")] = None,
    board: Boards = None,
    app: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Build this folder. Default: [app] source in heirloom.toml.")
    ] = None,
    notes: Annotated[str | None, typer.Option(help="What is new, for the owner of a device.")] = None,
    kind: Annotated[str, typer.Option(help="feature or security.")] = "feature",
    advisory: Annotated[
        list[str] | None, typer.Option(help="A security problem that it fixes, as in CVE-2026-1234; may be repeated.")
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(
            metavar="SEQUENCE|VERSION",
            help="Once this release is confirmed, a device goes back below that no more. Default: as before.",
        ),
    ] = None,
    requires: Annotated[
        str | None, typer.Option(metavar="SEQUENCE|VERSION", help="Devices below that install --via first.")
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            autocompletion=completion.versions,
            help="The stepping stone. Default: that of --requires.",
        ),
    ] = None,
    sequence: Annotated[int | None, typer.Option(min=1, help="Place in the order. Default: the next.")] = None,
    patch_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION",
            autocompletion=completion.versions,
            help="Make patches for devices that have this one; may be repeated. "
            "Default: those of the channels, and the newest.",
        ),
    ] = None,
    no_patches: Annotated[bool, typer.Option("--no-patches", help="Make no patches.")] = False,
    firmware: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Bring this MicroPython, too (ESP32 only). Default: that of [boards.NAME], if any.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take firmware that leaves less than 5 % of its slot free.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Build again with other content, as long as it is not signed.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Compile the application and describe it in a manifest. Needs no keys."""
    from heirloom.signing.build import Options, build

    project = Project.load()
    if no_patches and patch_from:
        raise UsageError("--no-patches and --patch-from exclude each other", "leave one of them out")
    known = () if no_patches else tuple(patch_from) if patch_from else None
    places, about = (sequence, floor, requires, via), (kind, tuple(advisory or ()), notes)
    options = Options(app, *places, *about, known, firmware, force, replace, dry_run)
    boards = board or _all_boards(project)
    if firmware is not None and len(boards) > 1:
        raise UsageError("one firmware file cannot be for several boards", "say --board, or [boards.NAME] firmware")
    releases = [build(project, name, version, options) for name in boards]
    rows = [{**_row(release.manifest), **_sizes(release), "dry_run": dry_run} for release in releases]
    emit({"releases": rows}, lambda console: _show_built(console, releases, dry_run))


def sign_command(
    version: Annotated[str, typer.Argument(autocompletion=completion.built_versions, help="A built version.")],
    board: Boards = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|URI",
            autocompletion=completion.keys,
            help="Sign with this key of the role; may be repeated. Default: all that are here.",
        ),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Sign a built release with the releases key. Publishing and channels are separate acts.

    Where a role needs several holders, each runs this with what the one before left in .heirloom.
    """
    from heirloom.signing import built, endorse
    from heirloom.signing.passphrases import Passphrases

    project = Project.load()
    built.check_version(version)
    passphrases = Passphrases(passphrase_fd, pin_fd)
    boards = board or built.boards_with(project, version) or _all_boards(project)
    builds = [built.load(project, name, version) for name in boards]
    signed = [
        endorse.sign(project, build, passphrases=passphrases, only=key or (), dry_run=dry_run) for build in builds
    ]
    emit({"signed": signed, "dry_run": dry_run}, lambda console: _show_signed(console, version, signed, dry_run))


def list_command(board: Boards = None) -> None:
    """List the releases: built, signed and published ones, and the channels that point to them."""
    from heirloom.signing.overview import known

    project = Project.load()
    found = [release for name in board or _all_boards(project) for release in known(project, name)]
    emit({"releases": found}, lambda console: _show_list(console, found))


def show_command(version: _Version, board: Boards = None) -> None:
    """Show what a release is: its place in the order, its files, what it says to owners."""
    from heirloom.signing.overview import find, manifest

    project = Project.load()
    shown = []
    for release in find(project, version, board or _all_boards(project)):
        described = manifest(project, release)
        shown.append({"state": release.state, "channels": release.channels, **_details(described)})
    emit({"releases": shown}, lambda console: _show_details(console, shown))


def verify_command(
    version: _Version,
    board: Boards = None,
    source: Annotated[
        Path | None,
        typer.Option(exists=True, metavar="DIR", help="Also build it again from this source (or tar) and compare."),
    ] = None,
) -> None:
    """Verify a built or published release: hashes, manifest, and the signatures as a client would."""
    from heirloom.signing.metadata import utc_now
    from heirloom.signing.overview import check, find

    project = Project.load()
    found = find(project, version, board or _all_boards(project))
    verified = [check(project, release, utc_now()) for release in found]
    rebuilt = [_rebuild(project, release, one.sha256, source) for release, one in zip(found, verified, strict=True)]
    emit({"verified": verified, "rebuilt": rebuilt}, lambda console: _show_verified(console, verified, rebuilt))
    for each in rebuilt:
        if each is not None:
            each.check()


def _rebuild(project: Project, release: "Known", sha256: str, source: Path | None) -> "Rebuilt | None":
    from heirloom.signing.overview import manifest
    from heirloom.signing.rebuild import rebuild

    return rebuild(project, manifest(project, release), sha256, source) if source else None


def _all_boards(project: Project) -> list[str]:
    from heirloom.cli.errors import HeirloomError

    if not project.boards:
        raise HeirloomError("heirloom.toml names no board", "add a table [boards.NAME]")
    return list(project.boards)


def _row(manifest: "Manifest") -> dict[str, object]:
    return {
        "board": manifest.board,
        "version": manifest.version,
        "epoch": manifest.epoch,
        "sequence": manifest.sequence,
        "floor": manifest.floor,
        "files": len(manifest.files),
        "patches": len(manifest.patches),
        "firmware": _firmware(manifest),
    }


def _firmware(manifest: "Manifest") -> dict[str, object] | None:
    if manifest.firmware is None:
        return None
    length, sha256, version = manifest.firmware
    return {"version": version, "length": length, "sha256": sha256}


def _sizes(release: "BuiltRelease") -> dict[str, object]:
    return {
        "size": release.size,
        "manifest_length": len(release.manifest_bytes),
        "sha256": release.sha256,
        "directory": release.directory,
    }


def _details(manifest: "Manifest") -> dict[str, object]:
    from heirloom.signing.build import kind_name, released_at

    files = [{"path": path, "length": length, "sha256": sha256} for path, length, sha256 in manifest.files]
    patches = [
        dict(zip(("from", "to", "sha256", "length", "algorithm"), each, strict=True)) for each in manifest.patches
    ]
    return {
        **{key: value for key, value in _row(manifest).items() if key not in ("files", "patches")},
        "product": manifest.product,
        "kind": kind_name(manifest),
        "released_at": released_at(manifest),
        "requires": manifest.requires,
        "via": manifest.via,
        "keep": list(manifest.keep),
        "confirm": manifest.confirm,
        "install": manifest.install,
        "support_until": manifest.support_until,
        "advisories": list(manifest.advisories),
        "notes": manifest.notes,
        "files": files,
        "patches": patches,
    }


def _show_details(console: "Console", releases: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    for release in releases:
        facts, files = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
        for key, value in release.items():
            if key not in ("files", "patches") and value not in (None, []):
                text = ", ".join(value) if isinstance(value, list) else str(value)
                if key == "firmware":
                    text = f"MicroPython {value['version']}, {value['length']} bytes, {value['sha256'].hex()[:16]}"
                facts.add_row(Text(key.replace("_", "-")), Text(printable(text)))
        for file in release["files"]:
            files.add_row(Text("  " + printable(file["path"])), Text(str(file["length"])), file["sha256"].hex()[:16])
        console.print(facts)
        console.print(f"{len(release['files'])} files, {len(release['patches'])} patches")
        console.print(files)


def _show_built(console: "Console", releases: "list[BuiltRelease]", dry_run: bool) -> None:
    for release in releases:
        manifest = release.manifest
        firmware = f" with MicroPython {manifest.firmware[2]}" if manifest.firmware else ""
        console.print(
            f"{'Would build' if dry_run else 'Built'} {release.version} for {release.board}{firmware}: "
            f"sequence {manifest.sequence}, {len(manifest.files)} files, {release.size} bytes, "
            f"{len(manifest.patches)} patches",
            markup=False,
        )
    if not dry_run:
        console.print(f"\nNow sign it: heirloom release sign {releases[0].version}", markup=False)


def _show_signed(console: "Console", version: str, signed: "list[SignedRole]", dry_run: bool) -> None:
    for role in signed:
        missing = max(0, role.threshold - role.signatures)
        done = "would be signed" if dry_run else f"signed by {role.signatures} of {role.threshold} keys that are needed"
        console.print(f"{version} for {role.board}: {done}; waiting: {', '.join(role.versions)}", markup=False)
        if not dry_run and missing:
            console.print(f"  {missing} more holders must sign {role.path}", markup=False, soft_wrap=True)
    if not dry_run and all(role.signatures >= role.threshold for role in signed):
        console.print(f"\nNow publish it: heirloom release publish {version} --channel stable", markup=False)


def _show_list(console: "Console", releases: "list[Known]") -> None:
    from rich.table import Table

    if not releases:
        console.print("No releases yet: heirloom release build --version 1.0.0", markup=False)
        return
    table = Table.grid(padding=(0, 2))
    for release in releases:
        order = f"{release.epoch}.{release.sequence}"
        table.add_row(release.board, release.version, order, release.state, ", ".join(release.channels))
    console.print(table)


def _show_verified(console: "Console", verified: "list[Verified]", rebuilt: "list[Rebuilt | None]") -> None:
    for release, again in zip(verified, rebuilt, strict=True):
        signed = f"{release.signatures} of {release.threshold} signatures" if release.signatures else "not signed yet"
        until = f", valid until {release.expires}" if release.expires else ""
        console.print(
            f"{release.version} for {release.board} ({release.state}) is whole: manifest {release.sha256[:16]}, "
            f"{release.files} files, {signed}{until}",
            markup=False,
        )
        for keyid, passed in release.attested.items():
            console.print(f"  attested by the rig {keyid}: {passed} tests passed", markup=False)
        if again is not None and again.is_same:
            console.print(f"  that source gives the same {again.files} files, byte for byte", markup=False)
