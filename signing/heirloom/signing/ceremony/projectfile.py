"""Bringing heirloom.toml up to date after a ceremony: the keys of changed roles, new boards, places, contact."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import tomlkit
from tomlkit.exceptions import TOMLKitError

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import FILE_NAME, Project
from heirloom.signing import roles
from heirloom.signing.ceremony.holders import keys_of
from heirloom.signing.compiler import micropython_version
from heirloom.signing.metadata import MAKER, URLS
from heirloom.signing.repository import Repository


@dataclass(frozen=True)
class Known:
    """What is known of keys.

    Attributes:
        uris: Keyid to URI.
        handed_over: Roles of which every key is new.
    """

    uris: Mapping[str, str]
    handed_over: Collection[str] = ()

    def is_of(self, uri: str, keyids: Collection[str]) -> bool:
        """Whether a URI is that of one of the keys."""
        return any(known == uri and keyid in keyids for keyid, known in self.uris.items())


def update(project: Project, repository: Repository, known: Known) -> list[str]:
    """Let the file name what is published now. Comments and everything else stay.

    Args:
        project: Of the file.
        repository: As published.
        known: The keys that are known here; those of others cannot be named.

    Returns:
        What changed, as dotted names; empty if nothing did.

    Raises:
        HeirloomError: The file cannot be written.
    """
    path = project.root / FILE_NAME
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except TOMLKitError as exc:
        raise HeirloomError(f"{path} is not TOML: {exc}") from exc
    changed = [*_keys(document, repository, known), *_boards(document, repository), *_product(document, repository)]
    if changed:
        write_atomic(path, tomlkit.dumps(document).encode())
    return changed


def _keys(document: tomlkit.TOMLDocument, repository: Repository, known: Known) -> list[str]:
    table = document.setdefault("signing", tomlkit.table())
    changed = []
    for role in roles.product_roles(repository.boards()):
        delegator = repository.root().signed if role in roles.TOP_LEVEL else repository.targets().signed
        held = {key.keyid for key in keys_of(delegator, role)}
        before = list(table.get(role, []))
        gone = {uri for keyid, uri in known.uris.items() if keyid not in held}
        # A URI whose key is not known here may well be that of a holder elsewhere, unless all holders are new.
        kept = [uri for uri in before if uri not in gone and (role not in known.handed_over or known.is_of(uri, held))]
        after = list(dict.fromkeys([*kept, *(uri for keyid, uri in known.uris.items() if keyid in held)]))
        if set(after) != set(before):
            table[role] = _lines(after)
            changed.append(f"signing.{role}")
    return changed


def _boards(document: tomlkit.TOMLDocument, repository: Repository) -> list[str]:
    table = document.setdefault("boards", tomlkit.table())
    changed = []
    for board in repository.boards():
        if board not in table:
            table[board] = {"micropython": micropython_version()}
            changed.append(f"boards.{board}")
    return changed


def _product(document: tomlkit.TOMLDocument, repository: Repository) -> list[str]:
    table = document["product"]
    maker = repository.targets().signed.unrecognized_fields.get(MAKER)
    wanted: dict[str, object] = {"urls": repository.root().signed.unrecognized_fields.get(URLS)}
    for key in ("contact", "support-until"):
        wanted[key] = maker.get(key) if isinstance(maker, dict) else None
    changed = []
    for key, value in wanted.items():
        if value and table.get(key) != value:
            table[key] = _lines(value) if isinstance(value, list) else value
            changed.append(f"product.{key}")
    return changed


def _lines(values: list[str]) -> tomlkit.items.Array:
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(len(values) > 1)
