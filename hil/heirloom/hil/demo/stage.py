"""Sets up what the story needs, and takes it down whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.cli.files import write_atomic
from heirloom.hil.demo.steps import DEVICE, HOST, Workshop
from heirloom.hil.demo.wire import Wire

GUIDE = "README.txt"


@contextmanager
def stage(directory: Path) -> Iterator[tuple[Workshop, Wire]]:
    """A workshop in `directory`, at work, and a wire."""
    workshop = Workshop(directory, f"http://{HOST}/")
    with workshop.at_work(), Wire() as wire:
        yield workshop, wire


def leave_guide(workshop: Workshop) -> None:
    """Tell the curious what lies in the demo's folder and how to go on with it."""
    lines = [
        "What `heirloom demo --keep` left:",
        "",
        "  project/   heirloom.toml, the application, the repository that was published",
        "  keys/      the encrypted keys; throw them away with the rest",
        f"  project/.heirloom/devices/{DEVICE}/   the simulated device: its flash and all it said (console.log)",
        "",
        "To go on with it:",
        "",
        f"  export HEIRLOOM_PROJECT={workshop.project_dir}",
        f"  export HEIRLOOM_KEYS={workshop.keys_dir}",
        f"  export HEIRLOOM_PASSPHRASE={workshop.passphrase}",
        "  heirloom release list",
        f"  heirloom device status {DEVICE}",
        "",
    ]
    write_atomic(workshop.directory / GUIDE, "\n".join(lines).encode(), mode=0o600)
