"""`heirloom ceremony sign`: look first, then sign exactly that."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from heirloom.cli.errors import HeirloomError
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.ceremony import Ceremony
from heirloom.signing.ceremony.place import Place
from heirloom.signing.metadata import utc_now


def look(ceremony: Ceremony, here: Place) -> Base:
    """Check everything that must hold before a person is asked; returns what the ceremony builds on.

    Raises:
        HeirloomError: It must not be signed; says why.
    """
    base = here.base(ceremony)
    ceremony.check(base, here.product, utc_now())
    if here.repository is not None:
        ceremony.check_current(here.repository)
    return base


def choose_keys(ceremony: Ceremony, base: Base, here: Place, named: Sequence[str]) -> dict[str, str]:
    """The keys to sign with, keyid to name.

    Args:
        ceremony: That was looked at.
        base: That it builds on.
        here: Has the keys.
        named: What a person named; all keys that are here and count if empty.

    Raises:
        HeirloomError: One is not here or has no say.
    """
    wanted, names = ceremony.wanted_keys(base), {**ceremony.names(base), **here.keyring.names()}
    if named:
        meant = [here.keyring.old_key(text, ceremony.names(base), set(names) | set(wanted)) for text in named]
        useless = [keyid for keyid in meant if keyid not in wanted]
        if useless:
            raise HeirloomError(
                f"{names.get(useless[0], useless[0][:8])} has no say in ceremony {ceremony.short_id}",
                _who(ceremony, base),
            )
        wanted = {keyid: wanted[keyid] for keyid in meant}
    found = here.keyring.here(wanted)
    absent = [keyid for keyid in wanted if keyid not in found] if named else []
    if absent or not found:
        missing = ", ".join(names.get(keyid, keyid[:8]) for keyid in absent)
        what = f"the private key of {missing} is" if absent else "no key that counts in this ceremony is"
        raise HeirloomError(f"{what} not in {here.keyring.store.directory}", _who(ceremony, base))
    return {keyid: names.get(keyid, keyid[:8]) for keyid in found}


def sign(path: Path, shown_id: str, here: Place, keys: Mapping[str, str]) -> list[str]:
    """Read the folder again, and sign it if it is still what was shown.

    Returns:
        The files written.
    """
    ceremony = Ceremony.load(path)
    base = look(ceremony, here)
    return ceremony.sign(here.keyring.signers(keys), shown_id, base)


def _who(ceremony: Ceremony, base: Base) -> str:
    waiting = sorted({name for need in ceremony.needs(base) for name in need.waiting})
    return f"its signers are {', '.join(waiting)}; HEIRLOOM_KEYS names another folder of keys" if waiting else ""
