"""What a board is: definitions (TOML) and flash layouts.

`load(name)` gives a `Board`, as in `load("RPI_PICO_W").flash.block_count`.
"""

from heirloom.boards.definition import load, names
from heirloom.boards.model import Board, FlashLayout

__all__ = ["Board", "FlashLayout", "load", "names"]
