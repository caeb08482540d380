"""`heirloom hil attest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import emit
from heirloom.cli.project import Project
from heirloom.signing import completion
from heirloom.signing.options import Boards, DryRun, PassphraseFd, PinFd

if TYPE_CHECKING:
    from heirloom.hil.results import Report
    from heirloom.signing.built import BuiltRelease


def attest_command(
    version: Annotated[str, typer.Argument(autocompletion=completion.built_versions, help="A built version.")],
    results: Annotated[
        list[Path],
        typer.Option(
            "--results", exists=True, dir_okay=False, metavar="FILE", help="JUnit XML of a run; may be repeated."
        ),
    ],
    board: Boards = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME|URI", autocompletion=completion.keys, help="The rig's key. Default: the one here."),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    pin_fd: PinFd = None,
    dry_run: DryRun = False,
) -> None:
    """Attest with the rig's key that a release passed its tests, and sign the releases role with it.

    The statement (in-toto, DSSE) is published with the release. A role that has a rig's key publishes nothing without.
    """
    from heirloom.hil import results as reports
    from heirloom.hil.attest import attest
    from heirloom.signing import built
    from heirloom.signing.passphrases import Passphrases

    project = Project.load()
    built.check_version(version)
    boards = board or built.boards_with(project, version)
    if not boards:
        raise HeirloomError(f"release {version} was not built here", f"heirloom release build --version {version}")
    read = [reports.read(path) for path in results]
    passphrases = Passphrases(passphrase_fd, pin_fd)
    pairs = [(build, _about(read, build)) for build in (built.load(project, name, version) for name in boards)]
    attested = [
        attest(project, build, report.results, key, passphrases=passphrases, dry_run=dry_run) for build, report in pairs
    ]
    sentences = "\n".join(each.sentence(dry_run) for each in attested)
    emit(
        {"attested": attested, "dry_run": dry_run},
        lambda console: console.print(sentences, markup=False, soft_wrap=True),
    )


def _about(read: "list[Report]", build: "BuiltRelease") -> "Report":
    for report in read:
        if build.sha256 in report.releases:
            return report
    raise HeirloomError(
        f"no report is about release {build.version} for {build.board} as it was built ({build.sha256[:16]})",
        "test this very build: a release that was built again is another one",
    )
