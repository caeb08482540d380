"""Bytes of .mpy that each module of the client takes on a device, by architecture; `tuf` is the verification core.

bench/bench_size.py           as `heirloom device provision` makes them
bench/bench_size.py --loose   also each module by itself, before it is bundled
"""

import argparse
import json
import tempfile
from pathlib import Path

from heirloom import boards
from heirloom.hil.provision import client_files, client_sources
from heirloom.signing.compiler import Compiler

BOARDS = ("RPI_PICO_W", "ESP32_GENERIC", "ESP32_GENERIC_C3")
OUT = Path(__file__).resolve().parent / "out"


def bundled(board: boards.Board) -> dict[str, int]:
    return {Path(path).stem: len(data) for path, data in client_files(board).items() if path.endswith(".mpy")}


def loose(board: boards.Board) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        for name, source in client_sources(board.arch).items():
            path = Path(folder) / f"{name}.py"
            path.write_text(source)
            sizes[name] = len(Compiler(board).compile(path, path.name, with_lines=False))
    return sizes


def table(title: str, columns: dict[str, dict[str, int]]) -> None:
    print(f"{title:16}" + "".join(f"{name:>18}" for name in columns))
    names = sorted({name for sizes in columns.values() for name in sizes})
    rows = [(name, [sizes.get(name, 0) for sizes in columns.values()]) for name in names]
    core = [sizes["tuf"] + sizes["errors"] for sizes in columns.values()]
    for name, sizes in [*rows, ("tuf + errors", core), ("all", [sum(sizes.values()) for sizes in columns.values()])]:
        print(f"{name:16}" + "".join(f"{size:18}" for size in sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loose", action="store_true", help="also each module by itself")
    figures = {"bundled": {name: bundled(boards.load(name)) for name in BOARDS}}
    if parser.parse_args().loose:
        figures["loose"] = {name: loose(boards.load(name)) for name in BOARDS}
    for title, columns in figures.items():
        table(title, columns)
    OUT.mkdir(exist_ok=True)
    (OUT / "size.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
