"""From what a person says on the command line to wishes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.boards import load as load_board
from heirloom.cli.errors import UsageError
from heirloom.signing import roles
from heirloom.signing.ceremony import handover
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.holders import keys_of
from heirloom.signing.ceremony.keyring import Keyring
from heirloom.signing.ceremony.wishes import NewKey, Wishes


@dataclass(frozen=True)
class Said:
    """The options of `ceremony start`, as they were typed."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    replace: Sequence[str] = ()
    lost: Sequence[str] = ()
    stolen: Sequence[str] = ()
    thresholds: Sequence[str] = ()
    renew: Sequence[str] = ()
    boards: Sequence[str] = ()
    holders: Sequence[str] = ()
    urls: Sequence[str] = ()
    epoch: int | None = None
    contact: str | None = None
    maker: str | None = None
    support_until: str | None = None
    handover: Path | None = None


def wishes(said: Said, base: Base, keyring: Keyring) -> Wishes:
    """What was meant.

    Raises:
        HeirloomError: A key, role or number is not what it should be.
    """
    holders = dict(_pair(text, "--holder KEY=NAME") for text in said.holders)
    known = _known(base)

    def new(text: str) -> NewKey:
        return keyring.new_key(text, holders.get(text))

    def old(text: str) -> str:
        return keyring.old_key(text, {**base.known, **base.names()}, known)

    add: dict[str, list[NewKey]] = {}
    for role, key in (_pair(text, "--add-key ROLE=KEY") for text in said.add):
        add.setdefault(role, []).append(new(key))
    for board in said.boards:
        load_board(board)
        for role in roles.board_roles(board):
            if role not in add:
                add[role] = [new(name) for name in roles.key_names(role)]
    replaced = [_pair(text, "--replace-key OLD=NEW") for text in said.replace]
    maker = {"name": said.maker, "contact": said.contact, "support-until": said.support_until}
    return Wishes(
        add=add,
        remove=[(role, old(key)) for role, key in (_pair(text, "--remove-key ROLE=KEY") for text in said.remove)],
        replace={old(before): new(after) for before, after in replaced},
        lost=[old(key) for key in said.lost],
        stolen=[old(key) for key in said.stolen],
        thresholds={role: _number(n) for role, n in (_pair(text, "--threshold ROLE=N") for text in said.thresholds)},
        renew=said.renew,
        boards=said.boards,
        epoch=said.epoch,
        urls=said.urls,
        maker={key: value for key, value in maker.items() if value},
        handover=handover.read(said.handover, keyring) if said.handover else None,
    )


def purpose(said: Said) -> str:
    """A title for a ceremony that was given none."""
    words = {
        "hand over": [str(said.handover.stem)] if said.handover else [],
        "add board": said.boards,
        "stolen key": said.stolen,
        "lost key": said.lost,
        "replace key": [text.partition("=")[0] for text in said.replace],
        "add key": [text.partition("=")[0] for text in said.add] if not said.boards else [],
        "remove key": [text.partition("=")[0] for text in said.remove],
        "threshold": said.thresholds,
        "epoch": [str(said.epoch)] if said.epoch is not None else [],
        "places": ["change"] if said.urls else [],
        "renew": said.renew,
    }
    return "; ".join(f"{what} {', '.join(values)}" for what, values in words.items() if values) or "change"


def _known(base: Base) -> set[str]:
    delegations = base.targets.signed.delegations
    delegated = delegations.roles or {} if delegations else {}
    top = [key for role in roles.TOP_LEVEL for key in keys_of(base.root.signed, role)]
    return {key.keyid for key in (*top, *(key for role in delegated for key in keys_of(base.targets.signed, role)))}


def _pair(text: str, usage: str) -> tuple[str, str]:
    left, separator, right = text.partition("=")
    if not (left and separator and right):
        raise UsageError(f"{text!r} is not of the form {usage.partition(' ')[2]}", f"as in {usage}")
    return left, right


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"the threshold {text!r} is no whole number from 1 on")
    return int(text)
