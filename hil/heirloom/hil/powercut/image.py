"""The files in a flash image, read on the host by real littlefs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for

if TYPE_CHECKING:
    from littlefs import LittleFS


@dataclass
class _Memory:
    """Block device of littlefs-python, without the log that its own one writes of each access."""

    cells: bytearray

    def read(self, cfg: "object", block: int, off: int, size: int) -> bytearray:
        start = block * cfg.block_size + off  # type: ignore[attr-defined]
        return self.cells[start : start + size]

    def prog(self, _cfg: "object", _block: int, _off: int, _data: bytes) -> int:
        return -5  # nothing is written here

    def erase(self, _cfg: "object", _block: int) -> int:
        return -5

    def sync(self, _cfg: "object") -> int:
        return 0


def files(board: Board, cells: bytearray, below: str = "/") -> dict[str, bytes]:
    """Absolute path to content, of what lies below a folder. `cells` stays as it is.

    Raises:
        HeirloomError: There is no file system in it, or a file cannot be read.
    """
    try:
        from littlefs import LittleFS, LittleFSError
    except ImportError as exc:
        raise HeirloomError("littlefs-python is not installed", advice_for("littlefs")) from exc
    mounted = LittleFS(
        context=_Memory(cells),  # type: ignore[arg-type]
        block_size=board.flash.block_size,
        block_count=board.flash.block_count,
        read_size=board.flash.program_size,
        prog_size=board.flash.program_size,
        cache_size=board.flash.block_size,
        mount=False,  # it would format what it cannot mount
    )
    try:
        mounted.mount()
        return dict(_walk(mounted, below))
    except LittleFSError as exc:
        raise HeirloomError(f"littlefs cannot read this flash: {exc}") from exc


def _walk(mounted: "LittleFS", below: str) -> "list[tuple[str, bytes]]":
    found = []
    for folder, _, names in mounted.walk(below):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with mounted.open(path, "rb") as file:
                found.append((path, file.read()))
    return found
