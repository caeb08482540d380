"""What successors need and nobody else may have: keys and inventory, in one file encrypted to them (age)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from heirloom.cli import tar
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.extras import advice_for
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.server.folders import refuse_taken

_KEYS = "keys"
_DEVICES = "devices"
_INVENTORY = "inventory"
_FORMAT = "format.json"


@dataclass(frozen=True)
class Packed:
    """What is in such a file.

    Attributes:
        keys: Number of private keys, each still encrypted under its passphrase.
        devices: Number of devices whose identity is known here.
    """

    file: Path
    keys: int
    devices: int


def export(project: Project, out: Path, recipients: Sequence[str], inventory: Path | None = None) -> Packed:
    """Write keys folder, identities of devices and inventory, encrypted to any of the recipients.

    Args:
        project: The project.
        out: A file that does not exist.
        recipients: Of age: "age1..." or a public SSH key.
        inventory: Any file with what is known of the devices.

    Raises:
        HeirloomError: `out` exists, a recipient is none, a file cannot be read or written.
    """
    refuse_taken(out)
    files = dict(_files(project, inventory))
    devices = len(_below(files, _DEVICES))
    keys = sum(name.startswith(f"{_KEYS}/") and name.endswith(".pem") for name in files)
    if not keys:
        raise HeirloomError(f"there are no keys in {project.keys_dir()}", "name their folder in HEIRLOOM_KEYS")
    files[_FORMAT] = json.dumps({"format": 1, "product": project.product.name}).encode()
    sealed = _age().encrypt(tar.pack(files.items(), mode=0o600), [_recipient(text) for text in recipients])
    write_atomic(out, sealed, mode=0o600)
    return Packed(out, keys, devices)


def _files(project: Project, inventory: Path | None) -> "list[tuple[str, bytes]]":
    try:
        keys = [(f"{_KEYS}/{path.name}", path.read_bytes()) for path in _plain(project.keys_dir())]
        found = sorted((project.state_dir / _DEVICES).glob("*/identity.json"))
        devices = [(f"{_DEVICES}/{path.parent.name}/{path.name}", path.read_bytes()) for path in found]
        named = [(f"{_INVENTORY}/{inventory.name}", inventory.read_bytes())] if inventory else []
    except OSError as exc:
        raise os_error(exc, "cannot read the secrets") from exc
    return [*keys, *devices, *named]


def _plain(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_file()) if folder.is_dir() else []


def _age() -> ModuleType:
    try:
        import pyrage
    except ImportError as exc:
        raise HeirloomError("encrypting to successors needs age", advice_for("pyrage")) from exc
    module: ModuleType = pyrage
    return module


def _recipient(text: str) -> object:
    age = _age()
    kind = age.ssh if text.startswith("ssh-") else age.x25519
    try:
        return kind.Recipient.from_str(text)
    except age.RecipientError as exc:
        raise UsageError(f"--to {text[:60]} is no age recipient", "age1..., or the line of an id_ed25519.pub") from exc


def unpack(project: Project, file: Path, identity: bytes) -> Packed:
    """Put the secrets in their places in a project; nothing that is there is overwritten.

    Args:
        project: As imported.
        file: As `export` wrote it.
        identity: An age key file or a private SSH key.

    Raises:
        HeirloomError: It is not encrypted to that key, is of another product, a key of that name exists, ...
    """
    try:
        sealed = file.read_bytes()
    except OSError as exc:
        raise os_error(exc, f"cannot read {file}") from exc
    files = dict(tar.unpack(_decrypt(sealed, identity, file), str(file)))
    if _product(files.pop(_FORMAT, b"")) != project.product.name:
        raise HeirloomError(f"{file} holds the secrets of another product than {project.product.name}")
    places = {project.keys_dir() / name.removeprefix(f"{_KEYS}/"): data for name, data in _below(files, _KEYS)}
    places |= {project.state_dir / name: data for name, data in _below(files, _DEVICES)}
    places |= {project.state_dir / name: data for name, data in _below(files, _INVENTORY)}
    for path, data in places.items():
        if path.exists() and path.read_bytes() != data:
            raise HeirloomError(f"{path} exists with other content", "nothing was unpacked; move it away first")
    for path, data in places.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, data, mode=0o600)
    pems = sum(path.suffix == ".pem" for path in places)
    return Packed(file, pems, len(_below(files, _DEVICES)))


def _product(description: bytes) -> object:
    try:  # whoever knows the recipient can encrypt to them, so this is nobody's word
        document = json.loads(description)
    except ValueError:
        return None
    return document.get("product") if isinstance(document, dict) else None


def _below(files: "dict[str, bytes]", folder: str) -> "list[tuple[str, bytes]]":
    return [(name, data) for name, data in files.items() if name.startswith(f"{folder}/")]


def _decrypt(sealed: bytes, identity: bytes, file: Path) -> bytes:
    age = _age()
    try:
        if b"OPENSSH PRIVATE KEY" in identity:
            keys: list[object] = [age.ssh.Identity.from_buffer(identity)]
        else:
            lines = [line.strip() for line in identity.decode().splitlines()]
            keys = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
        opened: bytes = age.decrypt(sealed, keys)
    except (age.IdentityError, UnicodeDecodeError) as exc:
        raise HeirloomError(
            "--identity is no age key", "a file with AGE-SECRET-KEY-1..., or a private SSH key"
        ) from exc
    except age.DecryptError as exc:
        raise HeirloomError(f"{file} does not open with that key: {exc}", "it was encrypted to others") from exc
    return opened
