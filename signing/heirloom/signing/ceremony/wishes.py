"""What the starter of a ceremony wants to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from securesystemslib.signer import SSlibKey

from heirloom.signing import roles


@dataclass(frozen=True)
class NewKey:
    """A key that comes in.

    Attributes:
        holder: The person or machine that holds it.
        uri: Where its private half is, as heirloom.toml names it; empty if it is somewhere else.
        ci: A machine signs with it, with no person present.
        rig: A rig signs with it what it tested.
    """

    public: SSlibKey
    holder: str
    uri: str = ""
    ci: bool = False
    rig: bool = False


@dataclass(frozen=True)
class Handover:
    """The successors of a whole product or of one board.

    Attributes:
        keys: Role to its keys from now on.
        thresholds: Role to its threshold; one that is not named keeps its own.
        urls: New places; empty to keep them.
        maker: Fields of `x-heirloom-maker` that change.
    """

    keys: Mapping[str, Sequence[NewKey]]
    thresholds: Mapping[str, int] = field(default_factory=dict)
    urls: Sequence[str] = ()
    maker: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """The product changes hands, and not only a board."""
        return roles.ROOT in self.keys


@dataclass(frozen=True)
class Wishes:
    """All changes of one ceremony. Old keys are named by keyid.

    Attributes:
        add: Role to keys that come in.
        remove: (role, keyid) of keys that go.
        replace: Keyid to the key that takes its place in every role.
        lost, stolen: Keyids that go from every role.
        thresholds: Role to its new threshold.
        renew: Roles to sign again with the same content.
        boards: Names of new boards.
        epoch: The new epoch, or None.
        urls: New places, or empty.
        maker: Fields of `x-heirloom-maker` that change.
    """

    add: Mapping[str, Sequence[NewKey]] = field(default_factory=dict)
    remove: Sequence[tuple[str, str]] = ()
    replace: Mapping[str, NewKey] = field(default_factory=dict)
    lost: Sequence[str] = ()
    stolen: Sequence[str] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    renew: Sequence[str] = ()
    boards: Sequence[str] = ()
    epoch: int | None = None
    urls: Sequence[str] = ()
    maker: Mapping[str, str] = field(default_factory=dict)
    handover: Handover | None = None

    def new_keys(self) -> list[NewKey]:
        """Every key that comes in, from wherever it was named."""
        handed = [key for keys in self.handover.keys.values() for key in keys] if self.handover else []
        return [*(key for keys in self.add.values() for key in keys), *self.replace.values(), *handed]
