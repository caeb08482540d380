"""Files of a unit at its REPL: listed, read, written so that a cut leaves the old one or the new one."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping

from heirloom.cli.errors import RigTrouble
from heirloom.hil.units import Repl

_CHUNK_BYTES = 1536
_WINDOW_BYTES = 12288
_TIMEOUT_S = 60.0

# `_w` writes one piece; `_t` walks. Mounted file systems are not the unit's own: /app is the release, /remote a host's.
_HELPERS = """
import os, json, hashlib
from binascii import a2b_base64 as _d, b2a_base64 as _e, hexlify as _x
def _t(p, s, o):
    for n, k, *r in os.ilistdir(p or "/"):
        q = p + "/" + n
        if q in s: continue
        if k & 0x4000: _t(q, s, o)
        else: o[q] = r[1] if len(r) > 1 else os.stat(q)[6]
    return o
def _h(p):
    h = hashlib.sha256()
    b = memoryview(bytearray(1024))
    try:
        with open(p, "rb") as f:
            while True:
                n = f.readinto(b)
                if not n: return _x(h.digest()).decode()
                h.update(b[:n])
    except OSError:
        return None
def _m(p):
    i = p.rfind("/")
    if i > 0:
        _m(p[:i])
        try: os.mkdir(p[:i])
        except OSError: pass
"""
_MOUNTED = ("/app", "/remote", "/rom")


class Files:
    """The files of a unit.

    Args:
        repl: The unit at its REPL.
        name: The unit, for messages.
    """

    def __init__(self, repl: Repl, name: str) -> None:
        self._repl = repl
        self._name = name
        repl.exec(_HELPERS, _TIMEOUT_S)

    def sizes(self) -> dict[str, int]:
        """Absolute path to length in bytes, of every file but those of mounted releases."""
        found = self._ask(f"print(json.dumps(_t('', {_MOUNTED!r}, {{}})))")
        if not isinstance(found, dict):
            raise self._nonsense(found)
        return {str(path): int(size) for path, size in found.items()}

    def hashes(self, paths: Iterable[str]) -> dict[str, str | None]:
        """SHA-256 in hexadecimal by path; None where there is no such file. A few at a time, for their heaps' sake."""
        wanted = list(paths)
        found: dict[str, str | None] = {}
        for at in range(0, len(wanted), 8):
            some = wanted[at : at + 8]
            answer = self._ask(f"print(json.dumps([_h(p) for p in {some!r}]))")
            if not isinstance(answer, list) or len(answer) != len(some):
                raise self._nonsense(answer)
            found.update(zip(some, answer, strict=True))
        return found

    def get(self, path: str, read: Callable[[int], None] = lambda _: None) -> bytes:
        """The content of a file.

        Args:
            path: Absolute.
            read: Told of each piece how many bytes it has.

        Raises:
            DeviceError: There is none.
        """
        data = b""
        while True:
            code = (
                f"with open({path!r}, 'rb') as f:\n f.seek({len(data)})\n"
                f" for _ in range({_WINDOW_BYTES // _CHUNK_BYTES}):\n"
                f"  b = f.read({_CHUNK_BYTES})\n  if b: print(_e(b).decode(), end='')\n"
            )
            try:
                piece = b"".join(
                    base64.b64decode(line, validate=True) for line in self._repl.exec(code, _TIMEOUT_S).splitlines()
                )
            except ValueError as exc:
                raise self._nonsense(str(exc)) from exc
            data += piece
            read(len(piece))
            if len(piece) < _WINDOW_BYTES:
                return data

    def put(self, path: str, data: bytes, written: Callable[[int], None] = lambda _: None) -> None:
        """Write a file: beside the old one, read back by its hash, then renamed over it.

        Args:
            path: Absolute; its folders are made.
            data: Its content.
            written: Told of each piece how many bytes it has.

        Raises:
            RigTrouble: What was written does not read back.
            DeviceError: The unit refused, as when it is full.
        """
        new = f"{path}.new"
        self._repl.exec(f"_m({path!r})\n_f = open({new!r}, 'wb')", _TIMEOUT_S)
        for at in range(0, len(data), _CHUNK_BYTES):
            piece = data[at : at + _CHUNK_BYTES]
            self._repl.exec(f"_f.write(_d({base64.b64encode(piece)!r}))", _TIMEOUT_S)
            written(len(piece))
        self._repl.exec("_f.close()", _TIMEOUT_S)
        if self.hashes([new])[new] != hashlib.sha256(data).hexdigest():
            raise RigTrouble(f"device {self._name}: {path} does not read back as it was written", "try it again")
        self._repl.exec(f"os.rename({new!r}, {path!r})", _TIMEOUT_S)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        for path in paths:
            self._repl.exec(f"os.remove({path!r})", _TIMEOUT_S)

    def make_folders(self, paths: Iterable[str]) -> None:
        """Make folders, and those above them."""
        for path in paths:
            self._repl.exec(f"_m({path + '/x'!r})", _TIMEOUT_S)

    def differing(self, wanted: Mapping[str, bytes]) -> list[str]:
        """Which files are missing or have another content."""
        there = self.hashes(wanted)
        return [path for path, data in wanted.items() if there[path] != hashlib.sha256(data).hexdigest()]

    def _ask(self, code: str) -> object:
        answer = self._repl.exec(code, _TIMEOUT_S)
        try:
            return json.loads(answer)
        except ValueError as exc:
            raise self._nonsense(answer) from exc

    def _nonsense(self, answer: object) -> RigTrouble:
        return RigTrouble(f"device {self._name} answers nonsense: {str(answer)[:100]!r}", "try it again")
