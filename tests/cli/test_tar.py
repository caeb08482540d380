"""Tars that travel: the same bytes for the same content, and nothing but plain files comes out."""

import io
import tarfile
from collections.abc import Callable

import pytest

from heirloom.cli import tar
from heirloom.cli.errors import HeirloomError

FILES = [("b/c.txt", b"two"), ("a.txt", b""), ("é/" + "x" * 150, b"\0" * 1000)]


def test_what_is_packed_comes_out_sorted() -> None:
    assert list(tar.unpack(tar.pack(FILES), "x")) == sorted(FILES)
    assert tar.pack(FILES) == tar.pack(reversed(FILES))


def _with(change: Callable[[tarfile.TarInfo], None]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as opened:
        info = tarfile.TarInfo("plain")
        change(info)
        opened.addfile(info, io.BytesIO(bytes(info.size)))
    return stream.getvalue()


def _named(name: str) -> bytes:
    return _with(lambda info: setattr(info, "name", name))


def _typed(kind: bytes) -> bytes:
    return _with(lambda info: (setattr(info, "type", kind), setattr(info, "linkname", "/etc/passwd"))[0])


@pytest.mark.parametrize(
    "data",
    [
        *map(_named, ("/etc/passwd", "../x", "a/../../x", "a//b", "./x", "..")),
        *map(_typed, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)),
    ],
)
def test_nothing_but_files_of_the_folder_comes_out(data: bytes) -> None:
    with pytest.raises(HeirloomError, match="no plain file"):
        list(tar.unpack(data, "x.tar"))


def test_folders_are_left_out() -> None:
    assert list(tar.unpack(_typed(tarfile.DIRTYPE), "x")) == []


def test_one_that_is_too_big_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_FILE_BYTES", 999)
    with pytest.raises(HeirloomError, match="no plain file"):
        list(tar.unpack(tar.pack(FILES), "x"))
    monkeypatch.setattr(tar, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(tar, "MAX_FILES", 2)
    with pytest.raises(HeirloomError, match="no plain file"):
        list(tar.unpack(tar.pack(FILES), "x"))


@pytest.mark.parametrize("data", [b"", b"no tar", tar.pack(FILES)[:700], b"\xff" * 512 + bytes(1024)])
def test_damaged_ones_are_refused(data: bytes) -> None:
    with pytest.raises(HeirloomError, match="damaged"):
        list(tar.unpack(data, "x"))
