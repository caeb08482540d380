"""The USB drive that an RP2 chip shows while its BOOTSEL button was held: a UF2 file copied there is its firmware."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import uf2
from heirloom.cli.errors import HeirloomError, RigTrouble
from heirloom.cli.files import os_error

INFO = "INFO_UF2.TXT"
_BOARD_IDS = {"rp2040": "RPI-RP2", "rp2350": "RP2350"}
_MOUNTS = Path("/proc/self/mounts")
_OTHER_PLACES = (Path("/Volumes"),)
_PIECE_BYTES = 65536
_AGAIN_S = 0.25
_ADVICE = "hold BOOTSEL while plugging it in, and mount the drive if your system does not; or name it with --volume"


def mounted() -> list[Path]:
    """The drives of UF2 loaders that are mounted here."""
    return [place for place in _places() if (place / INFO).is_file()]


def _places() -> Iterator[Path]:
    if _MOUNTS.is_file():
        for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split(" ")
            if len(words) > 2 and words[2] in ("vfat", "msdos", "fuseblk"):
                yield Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[1]))
    for folder in _OTHER_PLACES:
        if folder.is_dir():
            yield from folder.iterdir()


def check(volume: Path, board: Board) -> None:
    """Refuse a drive of another chip.

    Raises:
        HeirloomError: It is none, or of another chip.
    """
    try:
        info = (volume / INFO).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise os_error(exc, f"{volume} is no drive of a UF2 loader: cannot read {INFO}") from exc
    said = re.search(r"^Board-ID: *(\S+)", info, re.MULTILINE)
    wanted = _BOARD_IDS.get(board.chip)
    if said is None or said[1] != wanted:
        found = said[1] if said else "nothing"
        raise HeirloomError(
            f"the drive {volume} belongs to a {found}, and a {board.name} is a {wanted}", "choose the right --board"
        )


def wait(board: Board, timeout_s: float) -> Path:
    """The only drive of such a chip.

    Raises:
        RigTrouble: There is none in time, or there are several.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = mounted()
        if len(found) == 1:
            check(found[0], board)
            return found[0]
        if found:
            raise RigTrouble(f"which drive? {', '.join(map(str, found))}", "name it with --volume")
        if time.monotonic() >= deadline:
            raise RigTrouble(f"no drive of a {board.name} in BOOTSEL mode is mounted", _ADVICE)
        time.sleep(_AGAIN_S)


def copy(data: bytes, volume: Path, written: Callable[[int], None]) -> None:
    """Copy a UF2 file to a drive; the chip starts it when the last block is there, and the drive is gone.

    Args:
        data: The UF2 file.
        volume: The drive.
        written: Told of each piece how many bytes it has.

    Raises:
        RigTrouble: The drive went away before, or takes nothing.
    """
    path = volume / "firmware.uf2"
    done = 0
    try:
        with path.open("wb", buffering=0) as file:
            for at in range(0, len(data), _PIECE_BYTES):
                piece = data[at : at + _PIECE_BYTES]
                file.write(piece)
                os.fsync(file.fileno())
                done += len(piece)
                written(len(piece))
    except OSError as exc:
        # The last blocks make the chip restart, so that the drive is gone before the system has said good-bye.
        if done < len(data) - _PIECE_BYTES:
            raise RigTrouble(f"cannot write {path}: {exc}", "plug it in with BOOTSEL held and repeat") from exc


def with_filesystem(board: Board, firmware: bytes, filesystem: bytes) -> bytes:
    """A UF2 file that holds firmware and file system, in one piece.

    Args:
        board: Says where the file system lies.
        firmware: The published UF2 file.
        filesystem: The image of the file system.
    """
    image = uf2.read(firmware, board.chip)
    room = board.flash.offset - image.address
    return uf2.build(board.chip, image.data.ljust(room, b"\xff") + filesystem, image.address)
