"""The file that says to whom a product or a board passes.

    [product]                       # only for a whole product; all optional
    urls = ["https://new.example.org/weather/", "https://mirror.example.net/weather/"]
    maker = "Friends of the Weather Station"
    contact = "mailto:security@example.org"
    support-until = "2040-12-31"

    [roles.root]
    threshold = 2
    keys = { Ada = "ada.pub.json", Berta = "berta.pub.json", Chen = "chen.pub.json" }

A file with [roles.root] passes on the whole product and names keys for every role; one without it passes on the
roles that it names, as of one board. Paths are relative to the file.
"""

import tomllib
from pathlib import Path

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error
from heirloom.cli.toml import Table, wrong
from heirloom.signing import roles
from heirloom.signing.ceremony.keyring import Keyring
from heirloom.signing.ceremony.wishes import Handover, NewKey

_MAKER = {"maker": "name", "contact": "contact", "support-until": "support-until"}


def read(path: Path, keyring: Keyring) -> Handover:
    """Read a hand-over file.

    Raises:
        HeirloomError: It cannot be read, or something in it is not as above.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise os_error(exc, f"cannot read {path}") from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise HeirloomError(f"{path} is not TOML: {exc}") from exc
    top = Table(values, path)
    top.only("product", "roles")
    product = top.table("product")
    product.only("urls", *_MAKER)
    held = top.table("roles", required=True).tables()
    if product.values and roles.ROOT not in held:
        raise UsageError(f"{path}: [product] passes on with the product only", "add [roles.root] and the other roles")
    maker = {field: text for key, field in _MAKER.items() if (text := product.text(key)) is not None}
    keys = {role: _keys(table, path, keyring) for role, table in held.items()}
    thresholds = {role: number for role, table in held.items() if (number := _threshold(table)) is not None}
    return Handover(keys, thresholds, product.strings("urls"), maker)


def _keys(table: Table, path: Path, keyring: Keyring) -> list[NewKey]:
    table.only("threshold", "keys")
    named = table.table("keys", required=True)
    found = []
    for holder in named.values:
        text = named.text(holder)
        if text is None:
            raise wrong(path, f"[{named.name}] {holder} names no key")
        found.append(keyring.new_key(text, holder, path.parent))
    return found


def _threshold(table: Table) -> int | None:
    value = table.values.get("threshold")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise wrong(table.path, f"[{table.name}] threshold is {value!r}; it must be a whole number from 1 on")
    return value
