"""esptool as a program: it reads and writes the flash of whatever answers at a port, real or simulated."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.extras import advice_for, missing

#: More options for esptool, before its command.
OPTIONS_VARIABLE = "HEIRLOOM_ESPTOOL"

_AT = re.compile(r"(?:Writing at|Reading from) (0x[0-9a-f]+)")
_MAC = re.compile(r"MAC: +((?:[0-9a-f]{2}:){5}[0-9a-f]{2})")
_FLASH_SIZE = re.compile(r"Detected flash size: (\d+)(KB|MB)")
_UNITS = {"KB": 1 << 10, "MB": 1 << 20}
_FATAL = "A fatal error occurred: "
_ADVICE = "run it again: what was written halfway is written anew"
# What esptool says, and what a person should do then.
_ADVICES = (
    ("Permission denied", "join the group that owns the port: sudo usermod -aG dialout $USER, and log in anew"),
    ("port is busy", "close the program that uses the port, and run it again"),
    ("exclusively lock", "close the program that uses the port, and run it again"),
    ("No serial data received", "hold its BOOT button, press reset, let go, and run it again"),
    ("Failed to connect", "hold its BOOT button, press reset, let go, and run it again"),
)


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
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        arguments = []
        for number, region in enumerate(regions):
            path = Path(folder) / f"{number}.bin"
            path.write_bytes(region.data)
            arguments += [hex(region.offset), str(path)]
        _run([*_at(port, chip), "write-flash", *arguments], _Progress(regions, written))


def read(port: str, chip: str, offset: int, length: int, done: Callable[[int], None]) -> bytes:
    """Read a part of an ESP32's flash, which esptool compares with its MD5.

    Args:
        port: As for `esptool --port`.
        chip: As for `esptool --chip`; another one is refused.
        offset: In bytes.
        length: In bytes.
        done: Told now and then how many bytes were read.

    Raises:
        HeirloomError: esptool is not installed.
        RigTrouble: It failed; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        path = Path(folder) / "flash.bin"
        region = Region(offset, bytes(length))
        arguments = [*_at(port, chip), "read-flash", hex(offset), hex(length), str(path)]
        _run(arguments, _Progress([region], done))
        return path.read_bytes()


@dataclass(frozen=True)
class Chip:
    """A chip as its ROM describes it.

    Attributes:
        id: Its MAC address, which is also its `machine.unique_id()`, in hexadecimal.
        flash_size: Of its flash chip, in bytes; None: it is not known.
    """

    id: str
    flash_size: int | None


def identify(port: str, chip: str) -> Chip:
    """Ask the ROM of an ESP32.

    Raises:
        HeirloomError: esptool is not installed.
        RigTrouble: It failed, or it is another chip; the message is esptool's own.
    """
    said = "\n".join(_run([*_at(port, chip), "flash-id"], lambda _: None))
    mac, size = _MAC.search(said), _FLASH_SIZE.search(said)
    if mac is None:
        raise RigTrouble("esptool does not say the MAC address of the chip", _ADVICE)
    return Chip(mac[1].replace(":", ""), int(size[1]) * _UNITS[size[2]] if size else None)


def _at(port: str, chip: str) -> list[str]:
    # Not every emulated chip runs the program that esptool loads into it first: "--no-stub".
    return ["--port", port, "--chip", chip, *shlex.split(os.environ.get(OPTIONS_VARIABLE, ""))]


def _run(arguments: Sequence[str], progress: "Callable[[str], None]") -> list[str]:
    if missing("flash"):
        raise HeirloomError("esptool is not installed", advice_for("esptool"))
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
        reason = _reason(said)
        advice = next((advice for sign, advice in _ADVICES if sign in "\n".join(said)), _ADVICE)
        raise RigTrouble(f"esptool failed: {reason}", advice)
    return said


def _reason(said: Sequence[str]) -> str:
    fatal = [line.split(_FATAL)[1] for line in said if _FATAL in line]
    return (fatal or [line for line in said if line] or ["it said nothing"])[-1].rstrip(".")


class _Progress:
    """Makes the addresses that esptool names into bytes."""

    def __init__(self, regions: Sequence[Region], written: Callable[[int], None]) -> None:
        self._regions = sorted(regions, key=lambda region: region.offset)
        self._written = written

    def __call__(self, line: str) -> None:
        match = _AT.search(line)
        if match:
            address = int(match[1], 16)
            done = (min(max(address - region.offset, 0), len(region.data)) for region in self._regions)
            self._written(sum(done))
