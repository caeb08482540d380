"""The file system that makes a blank unit a device: client, identity, root of trust, network."""

import hashlib
import json
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from heirloom.boards import Board
from heirloom.boards.images import lfs
from heirloom.cli.errors import HeirloomError
from heirloom.hil.bundle import bundle

# Types only; no module of the client imports it at run time.
_NOT_ON_DEVICES = ("protocols",)
# Of no use where the firmware is not replaced over the air.
_ONLY_ESP32 = ("/lib/heirloom_esp32.py", "/lib/heirloom/device/firmware.mpy")
# The same arithmetic in the machine code of one architecture, in viper for the others, and without viper for the host:
# a device gets one of them.
_ARITHMETIC = {"armv6m": "edwards_thumb"}
_ARITHMETICS = ("edwards", "edwards_thumb", "edwards_viper")
# Nothing but constants, which the bundler puts in where they are used.
_PUT_IN = ("comb_ed25519", "comb_p256")
_CLIENT_FOLDER = "/lib/heirloom/device"
DEVICE, NETWORK, ROOT = "/heirloom/device.json", "/heirloom/network.json", "/heirloom/trust/root.json"
FOLDERS = ("/lib/heirloom/device", "/heirloom/trust", "/heirloom/slots", "/heirloom/blobs", "/data")

# What was compiled or read in this process, by the name of its file.
_memory: dict[str, bytes] = {}

#: Keys of `timing` in /heirloom/device.json: seconds, for demonstrations and tests only.
TIMING_KEYS = ("check_after_s", "check_every_s", "trial_timeout_s", "alive_s")


@dataclass(frozen=True)
class Identity:
    """Who a device is.

    Attributes:
        id: Of the chip, as `machine.unique_id()` says it, in hexadecimal.
        secret: 32 bytes in hexadecimal; signs its status reports and is never reported.
    """

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, id: str) -> "Identity":
        """An identity with a fresh secret."""
        return cls(id, secrets.token_hex(32))


@dataclass(frozen=True)
class Network:
    """A Wi-Fi network that the device joins."""

    ssid: str
    password: str = field(default="", repr=False)


def content(
    board: Board,
    product: str,
    root_json: bytes,
    urls: Sequence[str],
    channel: str,
    identity: Identity,
    timing: Mapping[str, float] | None = None,
    *,
    networks: Sequence[Network] = (),
    build_dir: Path | None = None,
) -> dict[str, bytes]:
    """The files of a provisioned device, by their absolute path. `FOLDERS` are there as well.

    Args:
        board: Says layout and architecture.
        product: Name of the product.
        root_json: The root metadata that the device trusts from the start.
        urls: Base URLs of the repository, tried in this order after those of the root.
        channel: Which channel it follows, as in "stable".
        identity: Who it is.
        timing: Overrides the client's times, see `TIMING_KEYS`.
        networks: Wi-Fi networks, tried in this order.
        build_dir: Where the compiled client is kept; a temporary folder of this user if None.

    Raises:
        HeirloomError: The client cannot be compiled for the board.
    """
    unknown = set(timing or ()) - set(TIMING_KEYS)
    if unknown:
        raise HeirloomError(f"timing {min(unknown)!r} is unknown", f"known are {', '.join(TIMING_KEYS)}")
    device: dict[str, object] = {
        "product": product,
        "board": board.name,
        "id": identity.id,
        "secret": identity.secret,
        "urls": list(urls),
        "channel": channel,
    }
    if timing:
        device["timing"] = dict(timing)
    return {
        **client_files(board, build_dir),
        DEVICE: _json(device),
        NETWORK: _json({"networks": [{"ssid": n.ssid, "password": n.password} for n in networks]}),
        ROOT: root_json,
        "/heirloom/trust/provisioned.json": root_json,
    }


def build_filesystem(
    board: Board,
    product: str,
    root_json: bytes,
    urls: Sequence[str],
    channel: str,
    identity: Identity,
    timing: Mapping[str, float] | None = None,
    *,
    networks: Sequence[Network] = (),
    build_dir: Path | None = None,
) -> bytes:
    """The littlefs image of a provisioned device.

    Args:
        board: As for `content`, like all the rest.
        product: As for `content`.
        root_json: As for `content`.
        urls: As for `content`.
        channel: As for `content`.
        identity: As for `content`.
        timing: As for `content`.
        networks: As for `content`.
        build_dir: As for `content`.

    Raises:
        HeirloomError: The client cannot be compiled for the board, or does not fit.
    """
    files = content(board, product, root_json, urls, channel, identity, timing, networks=networks, build_dir=build_dir)
    return lfs.build(board.flash, files, FOLDERS)


def client_files(
    board: Board, build_dir: Path | None = None, edit: Callable[[str, str], str] | None = None
) -> dict[str, bytes]:
    """The client as it lies on the device: absolute path to content.

    boot.py, main.py and the chooser stay Python source, which every MicroPython reads; the rest is compiled, the
    verification core as one module.

    Args:
        board: Says architecture and format.
        build_dir: Where the compiled client is kept; a temporary folder of this user if None.
        edit: Given the name and the source of a module, what is taken in its place: for clients broken on purpose.
    """
    package = files("heirloom.device")
    change = edit or (lambda _name, source: source)
    changed = {name: change(name, source) for name, source in client_sources(board.arch).items()}
    sources = {f"{name}.py": source.encode() for name, source in bundle(changed).items() if name not in _PUT_IN}
    compiled = _compiled(board, sources, build_dir or _default_build_dir())
    roots = {path: change(Path(path).stem, data.decode()) for path, data in _tree(package / "rootfs", "")}
    content = {
        **{f"/{path}": source.encode() for path, source in roots.items()},
        **{f"{_CLIENT_FOLDER}/{name}": data for name, data in compiled.items()},
    }
    unused = () if board.hardware.flashing == "esptool" else _ONLY_ESP32
    return {path: data for path, data in content.items() if path not in unused}


def client_sources(arch: str | None = None) -> dict[str, str]:
    """The source of each module of the client, by its name; with an architecture, of those that a device of it gets."""
    entries = [entry for entry in files("heirloom.device").iterdir() if _is_client_module(entry)]
    sources = {entry.name.removesuffix(".py"): entry.read_text() for entry in entries}
    if arch:
        own = _ARITHMETIC.get(arch, "edwards_viper")
        sources = {name: source for name, source in sources.items() if name == own or name not in _ARITHMETICS}
    return sources


def _is_client_module(entry: Traversable) -> bool:
    return entry.name.endswith(".py") and entry.name.removesuffix(".py") not in _NOT_ON_DEVICES


def _tree(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir() and entry.name != "__pycache__":
            found += _tree(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _compiled(board: Board, sources: Mapping[str, bytes], build_dir: Path) -> dict[str, bytes]:
    """The .mpy files of the client, each compiled once for the same source, board format and compiler."""
    tool = _tool_version()
    compiled = {}
    for name, source in sources.items():
        output = name.removesuffix(".py") + ".mpy"
        # In tracebacks it is called as it lies on the device: the interpreter has that name already, and each name it
        # has to add stays in its heap.
        shown = f"{_CLIENT_FOLDER}/{output}"
        key = hashlib.sha256(b"\0".join([source, shown.encode(), board.arch.encode(), board.mpy.encode(), tool]))
        kept = build_dir / f"{key.hexdigest()[:32]}.mpy"
        if kept.name not in _memory:
            if not kept.is_file():
                _compile(board, shown, source, kept)
            _memory[kept.name] = kept.read_bytes()
        compiled[output] = _memory[kept.name]
    return compiled


def _compile(board: Board, shown: str, source: bytes, kept: Path) -> None:
    from heirloom.cli.files import write_atomic
    from heirloom.signing.compiler import Compiler

    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        path = Path(folder) / "module.py"
        path.write_bytes(source)
        # Lines would be those of the bundle, which nobody has.
        write_atomic(kept, Compiler(board).compile(path, shown, with_lines=False))


@cache
def _tool_version() -> bytes:
    from heirloom.signing.compiler import micropython_version, tool_version

    return f"{micropython_version()} {tool_version()}".encode()


def _default_build_dir() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("heirloom") / "client"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
