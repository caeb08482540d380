"""What must hold of a ceremony's documents, whoever made the folder, so that devices take them."""

import re
from collections.abc import Mapping

from tuf.api.metadata import Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles, rules
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.draft import check_roles
from heirloom.signing.metadata import EPOCH, PRODUCT, parse_file_name
from heirloom.signing.repository import epoch_of

_KEYID = re.compile(r"[0-9a-f]{64}")
_ADVICE = "do not sign it; ask whoever started the ceremony"


def audit(base: Base, documents: Mapping[str, Metadata[Root] | Metadata[Targets]], product: str | None) -> None:
    """Hold the documents against what stands.

    Args:
        base: Trusted.
        documents: By file name.
        product: That the keys here belong to, or None.

    Raises:
        HeirloomError: One of them must not be signed; says why.
    """
    root, targets = base.root.signed, base.targets.signed
    stated = base.root.signed.unrecognized_fields.get(PRODUCT)
    if product is not None and stated != product:
        raise HeirloomError(f"the ceremony is of the product {stated}, the keys here are of {product}", _ADVICE)
    for name, metadata in documents.items():
        role = _check_version(base, name, metadata)
        if isinstance(metadata.signed, Root):
            root = metadata.signed
        elif role == roles.TARGETS:
            targets = metadata.signed
    _check_root(root, stated)
    for keyid in (*root.keys, *(targets.delegations.keys if targets.delegations else ())):
        if not _KEYID.fullmatch(keyid):
            raise HeirloomError(f"{keyid!r} is no keyid as TUF 4.2 makes them", _ADVICE)
    if EPOCH in base.targets.signed.unrecognized_fields and epoch_of(Metadata(targets)) < epoch_of(base.targets):
        raise HeirloomError("the epoch would be lowered, and devices would refuse every release of it", _ADVICE)
    _check_delegations(base, targets, documents)
    _check_archives(base, targets, documents)
    check_roles(root, targets, {})


def _check_version(base: Base, name: str, metadata: Metadata[Root] | Metadata[Targets]) -> str:
    version, role = parse_file_name(name)
    if role in (roles.SNAPSHOT, roles.TIMESTAMP) or role.startswith(roles.CHANNELS_PREFIX):
        raise HeirloomError(f"{name} is of an online role, which no ceremony signs", _ADVICE)
    current = base.current(role)
    expected = current.signed.version + 1 if current else 1
    if not (version == metadata.signed.version == expected):
        raise HeirloomError(f"{name} is version {metadata.signed.version} where {expected} must follow", _ADVICE)
    return role


def _check_root(root: Root, product: object) -> None:
    if root.unrecognized_fields.get(PRODUCT) != product:
        raise HeirloomError(f"root would become that of {root.unrecognized_fields.get(PRODUCT)}", _ADVICE)
    if not root.consistent_snapshot:
        raise HeirloomError("root would turn consistent snapshots off, on which devices rely", _ADVICE)


def _check_delegations(base: Base, targets: Targets, documents: Mapping[str, object]) -> None:
    """Every board keeps its roles, and each new one comes with its first version."""
    before = _delegated(base.targets.signed)
    after = _delegated(targets)
    gone = [role for role in before if role not in after]
    if gone:
        raise HeirloomError(f"targets would forget {', '.join(gone)}: a role never leaves, it is emptied", _ADVICE)
    for role in after:
        offline = role.startswith(roles.RELEASES_PREFIX)
        if offline and role not in before and f"1.{role}.json" not in documents:
            raise HeirloomError(
                f"targets delegates to {role}, whose first version is not part of the ceremony", _ADVICE
            )


def _check_archives(base: Base, targets: Targets, documents: Mapping[str, Metadata[Root] | Metadata[Targets]]) -> None:
    """Old releases stay what they are, in the hands of those who sign the new ones."""
    before = {**base.delegated, **base.archives}
    proposed, changed = dict(before), set[str]()
    for name, metadata in documents.items():
        role = parse_file_name(name)[1]
        if isinstance(metadata.signed, Targets) and role != roles.TARGETS:
            proposed[role] = Metadata(metadata.signed)
            changed.add(role)
    orphans = [role for role in changed if roles.archived_below(role) and roles.archived_below(role) not in proposed]
    if orphans:
        raise HeirloomError(f"{orphans[0]} comes without its releases role", _ADVICE)
    rules.check_archives(Metadata(targets), proposed, before, changed)


def _delegated(targets: Targets) -> list[str]:
    return list(targets.delegations.roles or {}) if targets.delegations else []
