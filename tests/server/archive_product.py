"""A product that has released so often that old releases are in its archive."""

from heirloom.cli.main import call
from heirloom.cli.project import Project

PICO = "SIM_RPI_PICO_W"


def make_releases(project: Project, *versions: str, channel: bool = True, **options: str) -> None:
    """Build, sign and publish one release after the other for one board; `options` are of `release build`."""
    for version in versions:
        (project.app.source / "lib/text.py").write_text(f"VERSION = '{version}'\n")
        extra = [word for name, value in options.items() for word in (f"--{name}", value)]
        call(["release", "build", "--version", version, "--board", PICO, *extra])
        call(["release", "sign", version, "--board", PICO])
        call(["release", "publish", version, "--board", PICO, *(["--channel", "stable"] if channel else [])])
