"""From wishes to the next versions of root, targets and releases roles, unsigned.

A role that nobody asked to change is signed again where its present signatures would not satisfy its new holders.
Channels, snapshot and timestamp belong to the online keys, which sign them anew when the ceremony is finished.
"""

from collections.abc import Mapping
from datetime import datetime

from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.signing import bins, ci, places, rig, roles
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.holders import HOLDERS, check_distinct, keys_of, names_in
from heirloom.signing.ceremony.wishes import Handover, NewKey, Wishes
from heirloom.signing.metadata import (
    EPOCH,
    MAKER,
    SIGNED_AT,
    URLS,
    AnyMetadata,
    file_name,
    first_role,
    next_role,
    parse_file_name,
)
from heirloom.signing.repository import epoch_of

Documents = dict[str, Metadata[Root] | Metadata[Targets]]


def draft(base: Base, wishes: Wishes, now: datetime) -> Documents:
    """The documents that the holders must sign, by file name.

    Args:
        base: What stands.
        wishes: What shall change.
        now: The time that the documents state as their signing (UTC).

    Raises:
        UsageError: The wishes make no sense: nothing changes, a threshold that nobody can reach, ...
    """
    book = _Book(base, now)
    for board in wishes.boards:
        book.add_board(board)
    book.change_keys(wishes)
    if wishes.handover:
        book.hand_over(wishes.handover)
    for role, threshold in wishes.thresholds.items():
        book.set_threshold(role, threshold)
    book.say(wishes)
    documents = book.documents(wishes)
    holders = {**base.known, **base.names(), **{key.public.keyid: key.holder for key in wishes.new_keys()}}
    for name, metadata in documents.items():
        if parse_file_name(name)[1] in roles.TOP_LEVEL:
            _name_holders(metadata, holders)
    check_roles(book.root.signed, book.targets.signed, holders)
    return documents


class _Book:
    """Copies of root and targets, one version up, while they are changed."""

    def __init__(self, base: Base, now: datetime) -> None:
        self.base, self.now = base, now
        self.root = next_role(base.root, roles.ROOT, now)
        self.targets = next_role(base.targets, roles.TARGETS, now)
        self.new_roles: list[str] = []

    def delegator(self, role: str) -> Root | Targets:
        return self.root.signed if role in roles.TOP_LEVEL else self.targets.signed

    def roles(self) -> list[str]:
        delegations = self.targets.signed.delegations
        return [*roles.TOP_LEVEL, *(delegations.roles or {} if delegations else {})]

    def add_board(self, board: str) -> None:
        delegations = self.targets.signed.delegations
        if delegations is None or delegations.roles is None:
            raise HeirloomError("targets delegates to no roles by name, so no board can be added")
        for role in roles.board_roles(board):
            if role in delegations.roles:
                raise UsageError(f"the product has the board {board} already")
            threshold = roles.rule(role).threshold
            delegations.roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=roles.paths(role))
            self.new_roles.append(role)

    def change_keys(self, wishes: Wishes) -> None:
        for old, new in wishes.replace.items():
            self._replace(old, new)
        for role, keyid in wishes.remove:
            self._remove(role, keyid)
        for role, keys in wishes.add.items():
            for key in keys:
                self._add(role, key)
        for keyid in (*wishes.lost, *wishes.stolen):
            held = self._roles_with(keyid)
            if not held and keyid not in wishes.replace:
                raise UsageError(f"no role has the key {keyid[:8]}")
            for role in held:
                self._remove(role, keyid)

    def _roles_with(self, keyid: str) -> list[str]:
        return [role for role in self.roles() if keyid in self.delegator(role).get_delegated_role(role).keyids]

    def _replace(self, old: str, new: NewKey) -> None:
        held = self._roles_with(old)
        if not held:
            raise UsageError(f"no role has the key {old[:8]}")
        for role in held:
            self._remove(role, old)
            self._add(role, new)

    def _add(self, role: str, key: NewKey) -> None:
        self._need(role)
        if key.public.keyid in self.delegator(role).get_delegated_role(role).keyids:
            raise UsageError(f"{role} has the key of {key.holder} already")
        self.delegator(role).add_key(key.public, role)
        # A machine alone must not be able to release (DESIGN 4).
        if role.startswith(roles.RELEASES_PREFIX):
            if key.ci:
                ci.mark(self.targets.signed, key.public.keyid)
            if key.rig:
                rig.mark(self.targets.signed, key.public.keyid)
            delegated = self.delegator(role).get_delegated_role(role)
            least = ci.least_threshold(role, delegated.keyids, ci.marked(self.targets.signed))
            delegated.threshold = max(delegated.threshold, least)

    def _remove(self, role: str, keyid: str) -> None:
        self._need(role)
        try:
            self.delegator(role).revoke_key(keyid, role)
        except ValueError as exc:
            raise UsageError(f"{role} has no key {keyid[:8]}", "`heirloom status` shows who holds what") from exc

    def set_threshold(self, role: str, threshold: int) -> None:
        self._need(role)
        self.delegator(role).get_delegated_role(role).threshold = threshold

    def _need(self, role: str) -> None:
        known = self.roles()
        if role not in known:
            raise UsageError(f"there is no role {role}", f"the roles are {', '.join(known)}")

    def hand_over(self, handover: Handover) -> None:
        wanted = self.roles() if handover.whole else sorted(handover.keys)
        absent = [role for role in wanted if not handover.keys.get(role)]
        if absent:
            raise UsageError(
                f"the hand-over of a product names keys for every role; it lacks {', '.join(absent)}",
                "old keys must not stay behind: add [roles.NAME] for each",
            )
        for role, keys in handover.keys.items():
            self._need(role)
            for keyid in list(self.delegator(role).get_delegated_role(role).keyids):
                self._remove(role, keyid)
            for key in keys:
                self._add(role, key)
        for role, threshold in handover.thresholds.items():
            self.set_threshold(role, threshold)
        self._check_gone(handover)

    def _check_gone(self, handover: Handover) -> None:
        """A product has not changed hands while an old hand holds a key."""
        for role, keys in handover.keys.items():
            delegator = self.base.root.signed if role in roles.TOP_LEVEL else self.base.targets.signed
            old = {key.keyid for key in keys_of(delegator, role)}
            for key in keys:
                if key.public.keyid in old:
                    raise UsageError(
                        f"the hand-over leaves {role} with the key of {key.holder}, which it has now",
                        "successors bring keys of their own; to change single keys use --replace-key",
                    )

    def say(self, wishes: Wishes) -> None:
        """Epoch, places, and who stands behind the product."""
        urls = wishes.urls or (wishes.handover.urls if wishes.handover else ())
        if urls:
            normal = [places.normalise(url) for url in urls]
            places.check(normal)
            self.root.signed.unrecognized_fields[URLS] = normal
        maker = {**(wishes.handover.maker if wishes.handover else {}), **wishes.maker}
        if maker:
            before = self.targets.signed.unrecognized_fields.get(MAKER)
            self.targets.signed.unrecognized_fields[MAKER] = {**(before if isinstance(before, dict) else {}), **maker}
        if wishes.epoch is not None:
            now = epoch_of(self.base.targets)
            if wishes.epoch <= now:
                raise UsageError(f"the epoch is {now}; it can only be raised")
            self.targets.signed.unrecognized_fields[EPOCH] = wishes.epoch

    def documents(self, wishes: Wishes) -> Documents:
        """What must be signed: what changed, what shall be renewed, what its new holders have not signed yet."""
        for role in wishes.renew:
            self._need(role)
            if roles.rule(role).online:
                raise UsageError(f"{role} is signed by an online key", "`heirloom renew` renews it, without a ceremony")
        changed: Documents = {}
        if roles.ROOT in wishes.renew or content(self.root) != content(self.base.root):
            changed[roles.ROOT] = self.root
        renewed = roles.TARGETS in wishes.renew or content(self.targets) != content(self.base.targets)
        if renewed or not is_signed(self.base.targets, roles.TARGETS, self.root):
            changed[roles.TARGETS] = self.targets
        for role, metadata in self.base.delegated.items():
            outdated = bins.trusts_others(metadata, role, self.targets)
            if role in wishes.renew or outdated or not is_signed(metadata, role, self.targets):
                changed |= bins.renewed(metadata, self.base.archive(role), role, self.targets, self.now)
        for role in self.new_roles:
            if not roles.rule(role).online:
                changed[role] = first_role(role, self.now)
        if not changed:
            raise UsageError("nothing would change", "say what shall: --add-key, --renew, --handover, ...")
        return {file_name(role, metadata.signed.version): metadata for role, metadata in changed.items()}


def content(metadata: AnyMetadata) -> dict[str, object]:
    """What metadata says, without version, times and the names of holders."""
    fields = dict(metadata.signed.to_dict())
    for key in ("version", "expires", SIGNED_AT, HOLDERS):
        fields.pop(key, None)
    return fields


def is_signed(metadata: AnyMetadata, role: str, delegator: Metadata[Root] | Metadata[Targets]) -> bool:
    """Whether a threshold of the keys that `delegator` names for the role signed it."""
    try:
        result = delegator.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except ValueError:
        return False
    return result.verified


def _name_holders(metadata: Metadata[Root] | Metadata[Targets], names: Mapping[str, str]) -> None:
    signed = metadata.signed
    keys = signed.keys if isinstance(signed, Root) else signed.delegations.keys if signed.delegations else {}
    known = {**names_in(metadata), **names}
    named = {keyid: known[keyid] for keyid in keys if keyid in known}
    if named:
        signed.unrecognized_fields[HOLDERS] = named
    else:
        signed.unrecognized_fields.pop(HOLDERS, None)


def check_roles(root: Root, targets: Targets, names: Mapping[str, str]) -> None:
    """Refuse roles that nobody, or one person alone by two names, could sign for.

    Raises:
        HeirloomError: Names the role.
    """
    delegated = targets.delegations.roles or {} if targets.delegations else {}
    ci.check(targets)
    for role in (*roles.TOP_LEVEL, *delegated):
        delegator: Root | Targets = root if role in roles.TOP_LEVEL else targets
        keys = keys_of(delegator, role)
        threshold = delegator.get_delegated_role(role).threshold
        check_distinct(role, keys, names)
        if not 1 <= threshold <= len(keys):
            raise UsageError(
                f"{role} would need {threshold} of {len(keys)} keys",
                f"add keys (--add-key {role}=KEY, --replace-key OLD=NEW) or set --threshold {role}=N",
            )
