"""The first heirloom.toml of a project, with comments for the person who will edit it."""

from collections.abc import Mapping, Sequence

import tomlkit

from heirloom.signing import roles
from heirloom.signing.keys import SCHEME

_HEADER = """\
The project: what is built, for which boards, and who signs. Commit this file; it holds no secrets.
Encrypted keys lie outside of the project (`heirloom key list` says where)."""


def project_file(
    name: str,
    urls: Sequence[str],
    boards: Mapping[str, str],
    app: str,
    contact: str | None,
    support_until: str | None,
    version: str | None,
    keep: Sequence[str] = (),
) -> str:
    """The text of heirloom.toml.

    Args:
        name: The product.
        urls: Places where devices look.
        boards: Board name to the MicroPython version on it.
        app: The application's folder, relative to the project.
        contact: Of the maker.
        support_until: A date.
        version: To build when the command line names none.
        keep: Paths that the application itself writes.
    """
    document = tomlkit.document()
    for line in _HEADER.splitlines():
        document.add(tomlkit.comment(line))
    document["product"] = _product(name, urls, contact, support_until)
    document["app"] = _app(app, version, keep)
    document["boards"] = _boards(boards)
    document["signing"] = _signing(list(boards))
    return tomlkit.dumps(document)


def _product(name: str, urls: Sequence[str], contact: str | None, support_until: str | None) -> tomlkit.items.Table:
    table = tomlkit.table()
    table["name"] = name
    table.add(
        tomlkit.comment("Places to look, in this order; at least two, on two sites. Devices learn them from the root.")
    )
    table["urls"] = _lines(urls)
    _optional(table, "contact", contact, "security@example.org")
    _optional(table, "support-until", support_until, "2036-12-31")
    return table


def _app(app: str, version: str | None, keep: Sequence[str]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table.add(tomlkit.comment("The folder that becomes /app on the device."))
    table["source"] = app
    _optional(table, "version", version, "1.0.0")
    table.add(tomlkit.comment("Files that the application itself writes; they survive updates."))
    table["keep"] = _lines(keep)
    table.add(tomlkit.comment('A new release is accepted after an update check ("check"), by the application ("app"),'))
    table.add(tomlkit.comment("or when it ran for a number of seconds."))
    table["confirm"] = "check"
    table.add(tomlkit.comment('Install before the application starts ("reboot") or beside it ("background").'))
    table["install"] = "reboot"
    return table


def _boards(boards: Mapping[str, str]) -> tomlkit.items.Table:
    table = tomlkit.table(is_super_table=True)
    for board, micropython in boards.items():
        settings = tomlkit.table()
        settings.add(tomlkit.comment("The MicroPython version on the board."))
        settings["micropython"] = micropython
        table[board] = settings
    return table


def _signing(boards: list[str]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table.add(
        tomlkit.comment(
            "The keys of each role. Offline: root, targets, releases. Online: channels, snapshot, timestamp."
        )
    )
    for role in roles.product_roles(boards):
        table[role] = _lines([f"{SCHEME}:{name}" for name in roles.key_names(role)])
    return table


def _optional(table: tomlkit.items.Table, key: str, value: str | None, example: str) -> None:
    if value is None:
        table.add(tomlkit.comment(f'{key} = "{example}"'))
    else:
        table[key] = value


def _lines(values: Sequence[str]) -> tomlkit.items.Array:
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(len(values) > 1)
