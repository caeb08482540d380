"""Fetching a release beside the application: in small steps, going on where it stopped, nothing wrong kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client_server import Server, ok

BIG = bytes(range(256)) * 120
FILES = {"main.py": b"print('alive')\n", "big.bin": BIG}


def described(folder: Path) -> str:
    entries = [(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in sorted(FILES.items())]
    (folder / "files").write_text(json.dumps(entries))
    return str(folder / "files")


def answers(lie: Callable[[bytes], bytes] = lambda data: data) -> Callable[[str], bytes]:
    blobs = {hashlib.sha256(data).hexdigest(): lie(data) for data in FILES.values()}

    def answer(request: str) -> bytes:
        data = blobs[request.split()[1].rpartition("/")[2]]
        if "Range: bytes=" in request:
            start = int(request.split("Range: bytes=")[1].split("-", maxsplit=1)[0])
            return ok(data[start:], f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n", "206 Partial")
        return ok(data)

    return answer


def told(said: str) -> list[Any]:
    found: list[Any] = json.loads(said.rpartition("=> ")[2])
    return found


def test_the_loop_gets_a_turn_for_each_kibibyte(
    on_device: Callable[..., str], serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answers())
    came, turns, most, whole, _ = told(on_device("fetch_beside", "fetches", server.url, described(tmp_path), heap="2m"))
    assert (came, whole) == (sum(map(len, FILES.values())), True)
    assert turns >= 2 * len(BIG) // 1024  # it is read back in steps as well
    assert most <= 4096 + 1024  # littlefs shows what was flushed


def test_what_is_not_as_signed_gets_no_name(
    on_device: Callable[..., str], serve: Callable[..., Server], tmp_path: Path
) -> None:
    lying = serve(answers(lambda data: data[:-1] + b"!"))
    came, _, _, whole, _ = told(on_device("fetch_beside", "fetches", lying.url, described(tmp_path), heap="2m"))
    assert str(came).startswith("E_HASH: ")
    assert not whole


def test_a_cut_download_goes_on(on_device: Callable[..., str], serve: Callable[..., Server], tmp_path: Path) -> None:
    whole_answer = answers()
    cut = serve(lambda request: whole_answer(request)[: 9000 if "Range" not in request else None] + b"")
    paths = described(tmp_path)
    first = told(on_device("fetch_beside", "fetches", cut.url, paths, heap="2m"))
    assert not first[3]
    server = serve(whole_answer)
    came, _, _, whole, _ = told(on_device("fetch_beside", "fetches", server.url, paths, heap="2m"))
    assert whole
    assert came < sum(map(len, FILES.values()))
    assert any("Range: bytes=" in request for request in server.requests)
