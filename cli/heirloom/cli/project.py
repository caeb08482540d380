"""The project: a folder with `heirloom.toml`, which says what is built, for which boards, and who signs."""

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.cli.context import current
from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.toml import Table, wrong

FILE_NAME = "heirloom.toml"
PROJECT_VARIABLE = "HEIRLOOM_PROJECT"
KEYS_VARIABLE = "HEIRLOOM_KEYS"

# Product and board names become parts of paths, URLs and role names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CONFIRM = ("check", "app")
_INSTALL = ("reboot", "background")


@dataclass(frozen=True)
class Product:
    """What shares one root of trust, and who stands behind it."""

    name: str
    urls: list[str] = field(default_factory=list)
    contact: str | None = None
    support_until: str | None = None


@dataclass(frozen=True)
class App:
    """The application: its source folder and how a device treats its releases.

    Attributes:
        source: The folder that becomes /app on the device (absolute).
        version: The version to build when the command line names none.
        keep: Paths of /app that the application writes.
        confirm: "check", "app", or a number of seconds.
        install: "reboot" or "background".
        escrow: Where the sources lie for successors, as in "with the notary Smith"; an archive then says so and leaves
            them out.
    """

    source: Path
    version: str | None = None
    keep: list[str] = field(default_factory=list)
    confirm: str | int = "check"
    install: str = "reboot"
    escrow: str | None = None


@dataclass(frozen=True)
class BoardSettings:
    """A board of this project.

    Attributes:
        micropython: The MicroPython version on it, as in "1.27".
        definition: An own board definition (absolute path), or None for a known board.
        firmware: What each of its releases brings (absolute path), or None: releases leave the firmware alone.
    """

    micropython: str
    definition: Path | None = None
    firmware: Path | None = None


@dataclass(frozen=True)
class Project:
    """A project folder, read and checked.

    Attributes:
        root: The folder of heirloom.toml (absolute).
        signing: Role name to the URIs of the keys that sign for it.
        state: Another folder than `.heirloom` for what is built and signed.
    """

    root: Path
    product: Product
    app: App
    boards: dict[str, BoardSettings]
    signing: dict[str, list[str]]
    state: Path | None = None

    @classmethod
    def load(cls, start: Path | None = None) -> "Project":
        """Read the project that --project or HEIRLOOM_PROJECT names, else the nearest one at or above `start`.

        Args:
            start: Where to begin looking; the working directory if None.

        Raises:
            HeirloomError: There is none, or its file is wrong; the message names the key.
        """
        path = find(start)
        if path is None:
            place = (start or Path.cwd()).absolute()
            raise HeirloomError(f"no {FILE_NAME} in {place} or above", "make one with `heirloom init`")
        return parse(_read(path), path)

    @property
    def repository(self) -> Path:
        """The TUF repository: static files, ready for any web host."""
        return self.root / "repository"

    @property
    def state_dir(self) -> Path:
        """Build output and simulated devices; never committed."""
        return self.state or self.root / ".heirloom"

    def keys_dir(self) -> Path:
        """Where the encrypted keys of this product lie: HEIRLOOM_KEYS, else in the user's data directory.

        Raises:
            HeirloomError: The folder lies in a git work tree, from where keys get published by accident.
        """
        named = os.environ.get(KEYS_VARIABLE)
        folder = Path(named).expanduser().absolute() if named else _user_keys() / self.product.name
        resolved = folder.resolve()
        for parent in (resolved, *resolved.parents):
            if (parent / ".git").exists():
                raise HeirloomError(
                    f"keys must not lie in a git work tree: {folder} is inside {parent}",
                    f"name another folder in {KEYS_VARIABLE}",
                )
        return folder


def _user_keys() -> Path:
    from platformdirs import user_data_path

    return user_data_path("heirloom") / "keys"


def find(start: Path | None = None) -> Path | None:
    """The heirloom.toml of the project, or None. Arguments as for `Project.load`."""
    named = current().project or _from_environment()
    if named is not None:
        path = named / FILE_NAME if named.is_dir() else named
        if not path.is_file():
            raise HeirloomError(
                f"no project at {named}", "name a folder with a heirloom.toml, or make one with `heirloom init`"
            )
        return path.absolute()
    folder = (start or Path.cwd()).absolute()
    candidates = (parent / FILE_NAME for parent in (folder, *folder.parents))
    return next((path for path in candidates if path.is_file()), None)


def _from_environment() -> Path | None:
    named = os.environ.get(PROJECT_VARIABLE)
    return Path(named).expanduser() if named else None


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except UnicodeDecodeError as exc:
        raise HeirloomError(f"{path} is not UTF-8 text", "save it as UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise HeirloomError(f"{path} is not TOML: {exc}") from exc


def parse(document: dict[str, object], path: Path) -> Project:
    """The project that `document`, the content of the file `path`, describes.

    Raises:
        HeirloomError: A key is missing, unknown, or of the wrong type.
    """
    top = Table(document, path)
    top.only("product", "app", "boards", "signing")
    root = path.parent
    return Project(
        root=root,
        product=_product(top.table("product", required=True)),
        app=_app(top.table("app"), root),
        boards={name: _board(table, name, root) for name, table in top.table("boards").tables().items()},
        signing=top.table("signing").string_lists(),
    )


def _product(table: Table) -> Product:
    table.only("name", "urls", "contact", "support-until")
    name = table.text("name")
    if name is None:
        raise wrong(table.path, "[product] name is missing")
    if not _NAME.fullmatch(name):
        raise wrong(table.path, f"[product] name {name!r} may only have letters, digits and . _ - (at most 64)")
    urls = table.strings("urls")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise wrong(table.path, f"[product] urls has {url!r}, which is not an http:// or https:// address")
    return Product(name, urls, table.text("contact"), table.text("support-until"))


def _app(table: Table, root: Path) -> App:
    table.only("source", "version", "keep", "confirm", "install", "escrow")
    confirm = table.text_or_number("confirm", "check")
    if confirm not in _CONFIRM and not (isinstance(confirm, int) and confirm > 0):
        raise wrong(table.path, f'[app] confirm is {confirm!r}; it must be "check", "app" or a number of seconds')
    install = table.text("install") or "reboot"
    if install not in _INSTALL:
        raise wrong(table.path, f'[app] install is {install!r}; it must be "reboot" or "background"')
    return App(
        source=root / (table.text("source") or "app"),
        version=table.text("version"),
        keep=table.strings("keep"),
        confirm=confirm,
        install=install,
        escrow=table.text("escrow"),
    )


def _board(table: Table, name: str, root: Path) -> BoardSettings:
    table.only("micropython", "definition", "firmware")
    if not _NAME.fullmatch(name):
        raise wrong(table.path, f"[boards] {name!r} is no board name: letters, digits and . _ - (at most 64)")
    micropython = table.text("micropython")
    if micropython is None:
        raise wrong(table.path, f"[boards.{name}] micropython is missing, the version on the board")
    files = (table.text(key) for key in ("definition", "firmware"))
    return BoardSettings(micropython, *(root / name if name else None for name in files))
