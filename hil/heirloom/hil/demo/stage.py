"""Sets up what the story needs, and takes it down whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.hil.demo.steps import HOST, Unit, Workshop
from heirloom.hil.demo.wire import Wire

GUIDE = "README.txt"


@contextmanager
def stage(directory: Path) -> Iterator[tuple[Workshop, Wire, Unit]]:
    """A workshop, a wire and a blank unit in `directory`."""
    workshop = Workshop(directory, f"http://{HOST}/")
    with workshop.at_work(), Wire() as wire:
        unit = Unit.blank(directory / "device", wire.port)
        try:
            yield workshop, wire, unit
        finally:
            unit.sim.close()


def leave_guide(workshop: Workshop) -> None:
    """Tell the curious what lies in the demo's folder and how to go on with it."""
    lines = [
        "What `heirloom demo --keep` left:",
        "",
        "  project/   heirloom.toml, the application, the repository that was published",
        "  keys/      the encrypted keys; throw them away with the rest",
        "  device/    the simulated device: its flash and everything it said (console.log)",
        "",
        "To go on with it:",
        "",
        f"  export HEIRLOOM_PROJECT={workshop.project_dir}",
        f"  export HEIRLOOM_KEYS={workshop.keys_dir}",
        f"  export HEIRLOOM_PASSPHRASE={workshop.passphrase}",
        "  heirloom release list",
        "  heirloom status",
        "",
    ]
    (workshop.directory / GUIDE).write_text("\n".join(lines), encoding="utf-8")
