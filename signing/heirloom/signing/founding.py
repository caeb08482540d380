"""Founding a product: project file, keys and first metadata, in an order that may be interrupted anywhere.

A marker in `.heirloom` records the answers before anything else is written, and goes away at the very end. While it
is there, founding again continues; without it, an existing project is never touched.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer

from heirloom.boards import load as load_board
from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import FILE_NAME, Project, parse
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import check_path
from heirloom.signing import online, places, roles, twins
from heirloom.signing.keys import SCHEME, KeyStore, WrongPassphraseError
from heirloom.signing.metadata import file_name, first_role, first_root, first_targets, sign, to_bytes
from heirloom.signing.repository import METADATA, Repository
from heirloom.signing.template import project_file

IGNORED = ".heirloom/"
_JOBS = 2  # scrypt runs outside of the interpreter's lock


@dataclass(frozen=True)
class Answers:
    """What a person says about a new product.

    Attributes:
        boards: Board name to the MicroPython version on it.
        app: The application's folder, relative to the project.
        maker: Who stands behind it.
        version: To build when the command line names none.
        keep: Paths that the application itself writes.
    """

    name: str
    boards: Mapping[str, str]
    urls: Sequence[str]
    app: str = "app"
    maker: str | None = None
    contact: str | None = None
    support_until: str | None = None
    version: str | None = None
    keep: Sequence[str] = dataclasses.field(default_factory=list)

    def text(self) -> str:
        """The project file."""
        return project_file(
            self.name, self.urls, self.boards, self.app, self.contact, self.support_until, self.version, self.keep
        )

    def maker_field(self) -> dict[str, object]:
        """`x-heirloom-maker` of the targets role: who stands behind the product."""
        fields = {"name": self.maker or self.name, "contact": self.contact, "support-until": self.support_until}
        return {**{key: value for key, value in fields.items() if value}, "advisories": []}


def unfinished(folder: Path) -> Answers | None:
    """The answers of an interrupted founding in `folder`, or None."""
    marker = _marker(folder)
    try:
        return Answers(**json.loads(marker.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise os_error(exc, f"cannot read {marker}") from exc
    except (ValueError, TypeError) as exc:
        raise HeirloomError(f"{marker} is damaged", f"remove it together with {FILE_NAME} and start again") from exc


def check(folder: Path, answers: Answers) -> Project:
    """Everything that can be refused before anything is written. Returns the project as it will be.

    Raises:
        HeirloomError: There is a project here, a name or place is not acceptable, or keys of that name exist.
    """
    continues = unfinished(folder) is not None
    if (folder / FILE_NAME).exists() and not continues:
        raise HeirloomError(
            f"{folder} is a project already", "`heirloom key new` and `heirloom release build` go on from here"
        )
    if (folder / "repository").exists() and not continues:
        raise HeirloomError(
            f"there is a repository in {folder} without a {FILE_NAME}", "found the product in another folder"
        )
    if not answers.boards:
        raise UsageError("no board named", "say --board NAME; `heirloom board list` shows the known ones")
    project = parse(tomllib.loads(answers.text()), folder / FILE_NAME)
    for board in answers.boards:
        load_board(board)
    places.check(answers.urls)
    _check_path("--app", answers.app, "name a folder inside the project")
    for path in answers.keep:
        _check_path("--keep", path, "name it as the application does, relative to its folder")
    store = KeyStore(project.keys_dir())
    store.check_folder()
    if store.names() and not continues:
        raise HeirloomError(
            f"there are keys in {store.directory}, and no key is shared by two products",
            "choose another --name, or name another folder in HEIRLOOM_KEYS",
        )
    return project


def found(folder: Path, answers: Answers, passphrase: str, now: datetime) -> Project:
    """Write project file, keys and first metadata into `folder`, or finish doing so.

    Args:
        folder: The project's folder; made if it does not exist.
        answers: What a person said.
        passphrase: For all keys.
        now: Time of signing (UTC).

    Raises:
        HeirloomError: See `check`; a file cannot be written; another passphrase than before the interruption.
    """
    project = check(folder, answers)
    marker = _marker(folder)
    _make_folder(marker.parent)
    write_atomic(marker, json.dumps(dataclasses.asdict(answers), indent=1).encode())
    _ignore(folder / ".gitignore")
    write_atomic(folder / FILE_NAME, answers.text().encode())
    if not Repository(project.repository).exists:
        store = KeyStore(project.keys_dir())
        signers = _keys(store, roles.product_roles(list(answers.boards)), passphrase)
        files = _metadata(answers, signers, now)
        store.set_anchor(files["1.root.json"])
        _publish(project.repository / METADATA, files)
    marker.unlink()
    return project


def _marker(folder: Path) -> Path:
    return folder / ".heirloom" / "init.json"


def _check_path(option: str, path: str, advice: str) -> None:
    try:
        check_path(path)
    except UpdateError as exc:
        raise UsageError(f"{option}: {exc.sentence.partition(': ')[2]}", advice) from exc


def _ignore(path: Path) -> None:
    """Keep build output out of git; what else is in .gitignore stays."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise HeirloomError(f"cannot read {path}: {exc}", "correct or remove it") from exc
    if IGNORED not in text.splitlines():
        text = text + "\n" if text and not text.endswith("\n") else text
        write_atomic(path, f"{text}{IGNORED}\n".encode())


def _keys(store: KeyStore, wanted: list[str], passphrase: str) -> dict[str, list[Signer]]:
    """The signers of every role: keys that an interrupted founding left are opened, the others made."""
    names = {role: roles.key_names(role) for role in wanted}
    everything = [name for group in names.values() for name in group]
    existing = set(store.names())

    def key(name: str) -> Signer:
        if name not in existing:
            return store.generate(name, passphrase)
        try:
            return store.signer(f"{SCHEME}:{name}", lambda _: passphrase)
        except WrongPassphraseError as exc:
            raise HeirloomError(
                f"the interrupted `heirloom init` used another passphrase for {name}",
                f"use that one, or remove {store.directory} and run `heirloom init` again",
            ) from exc

    # The first key alone: it makes the folder.
    opened = {everything[0]: key(everything[0])}
    with ThreadPoolExecutor(_JOBS) as pool:
        opened |= dict(zip(everything[1:], pool.map(key, everything[1:]), strict=True))
    return {role: [opened[name] for name in group] for role, group in names.items()}


def _metadata(answers: Answers, signers: Mapping[str, Sequence[Signer]], now: datetime) -> dict[str, bytes]:
    """Version 1 of everything, by name under metadata/."""
    public = {role: [signer.public_key for signer in group] for role, group in signers.items()}
    root = first_root(answers.name, answers.urls, public, now)
    targets = first_targets(answers.maker_field(), answers.boards, public, now)
    sign(root, signers[roles.ROOT])
    sign(targets, signers[roles.TARGETS])
    files = {file_name(roles.ROOT, 1): to_bytes(root), file_name(roles.TARGETS, 1): to_bytes(targets)}
    for board in answers.boards:
        for role in roles.board_roles(board):
            metadata = first_role(role, now)
            sign(metadata, signers[role])
            files[file_name(role, 1)] = to_bytes(metadata)
    return online.begin(files, signers, now)


def _publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write metadata and its twins; the timestamp comes last, so that there is a repository or none."""
    _make_folder(folder)
    last = file_name(roles.TIMESTAMP, 1)
    named = {**{name: data for name, data in files.items() if name != last}, "root.json": files["1.root.json"]}
    for name, data in (*named.items(), (last, files[last])):
        write_atomic(folder / (name + twins.SUFFIX), twins.twin(data))
        write_atomic(folder / name, data)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_error(exc, f"cannot make {folder}") from exc
