"""esptool as a program: it writes to whatever answers at a port, real or simulated."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for, missing

_WRITING = re.compile(r"Writing at (0x[0-9a-f]+)")
_FATAL = "A fatal error occurred: "
_ADVICE = "run it again: what was written halfway is written anew"


@dataclass(frozen=True)
class Region:
    """What belongs where in flash. The offset is a multiple of 4096."""

    offset: int
    data: bytes


def write(port: str, chip: str, regions: Sequence[Region], written: Callable[[int], None]) -> None:
    """Write regions of an ESP32's flash, each compared with its MD5 afterwards. What lies elsewhere stays.

    Args:
        port: As for `esptool --port`.
        chip: As for `esptool --chip`; another one is refused.
        regions: They do not overlap.
        written: Told now and then how many bytes are written.

    Raises:
        HeirloomError: esptool is not installed.
        RigTrouble: It failed; the message is its own.
    """
    if missing("flash"):
        raise HeirloomError("esptool is not installed", advice_for("esptool"))
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        arguments = []
        for number, region in enumerate(regions):
            path = Path(folder) / f"{number}.bin"
            path.write_bytes(region.data)
            arguments += [hex(region.offset), str(path)]
        _run(["--port", port, "--chip", chip, "write-flash", *arguments], _Progress(regions, written))


def _run(arguments: Sequence[str], progress: "Callable[[str], None]") -> None:
    command = [sys.executable, "-m", "esptool", *arguments]
    # Its own colours and bars are for a terminal, which it does not have here.
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        for line in running.stdout or ():
            progress(line)
            said.append(line.strip())
    if running.returncode:
        raise RigTrouble(f"esptool failed: {_reason(said)}", _ADVICE)


def _reason(said: Sequence[str]) -> str:
    fatal = [line.split(_FATAL)[1] for line in said if _FATAL in line]
    return (fatal or [line for line in said if line] or ["it said nothing"])[-1].rstrip(".")


class _Progress:
    """Makes the addresses that esptool names into bytes."""

    def __init__(self, regions: Sequence[Region], written: Callable[[int], None]) -> None:
        self._regions = sorted(regions, key=lambda region: region.offset)
        self._written = written

    def __call__(self, line: str) -> None:
        match = _WRITING.search(line)
        if match:
            address = int(match[1], 16)
            done = (min(max(address - region.offset, 0), len(region.data)) for region in self._regions)
            self._written(sum(done))
