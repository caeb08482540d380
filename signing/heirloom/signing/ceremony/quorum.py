"""Whose signatures a document needs: a root by its old and its new holders, every other role by its new ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.holders import keys_of, material
from heirloom.signing.metadata import AnyMetadata, parse_file_name

_Documents = Mapping[str, Metadata[Root] | Metadata[Targets]]
OLD, NEW = "present holders", "new holders"


@dataclass(frozen=True)
class Need:
    """One threshold that a document must reach.

    Attributes:
        document: File name.
        holders: "present holders" or "new holders" where a root needs both, else "holders".
        threshold: Signatures needed.
        signed: Names of those whose signature verified.
        waiting: Names of those who can still sign.
        wrong: Names of those whose signature does not fit the document.
    """

    document: str
    role: str
    holders: str
    threshold: int
    signed: list[str]
    waiting: list[str]
    wrong: list[str]

    @property
    def missing(self) -> int:
        """Signatures that are still missing."""
        return max(0, self.threshold - len(self.signed))

    @property
    def sentence(self) -> str:
        """The need for people."""
        wrong = f" (wrong signature: {', '.join(self.wrong)})" if self.wrong else ""
        if not self.missing:
            return f"{self.document} has its {self.threshold} signatures of the {self.holders}{wrong}"
        waiting = ", ".join(self.waiting) or "nobody"
        return f"{self.document} needs {self.missing} more of its {self.holders}: {waiting}{wrong}"


def _delegators(base: Base, documents: _Documents, role: str) -> tuple[Root | Targets, Root | Targets]:
    """Who names the keys of a role: until now, and from now on."""
    by_role = {parse_file_name(name)[1]: metadata.signed for name, metadata in documents.items()}
    if role in roles.TOP_LEVEL:
        return base.root.signed, by_role.get(roles.ROOT, base.root.signed)
    above = roles.archived_below(role)
    if above is not None:
        before = base.delegated.get(above, base.targets).signed
        return before, by_role.get(above, before)
    return base.targets.signed, by_role.get(roles.TARGETS, base.targets.signed)


def useful(base: Base, documents: _Documents, document: str) -> dict[str, Key]:
    """The keys whose signatures a document may carry, by keyid.

    Old holders' signatures on targets and releases are welcome though not needed: with them, what the ceremony brings
    can be published step by step, and no reader is refused in between.
    """
    role = parse_file_name(document)[1]
    old, new = _delegators(base, documents, role)
    return {key.keyid: key for delegator in (old, new) for key in keys_of(delegator, role)}


def needs(
    base: Base, documents: _Documents, signatures: Mapping[str, Mapping[str, Signature]], names: Mapping[str, str]
) -> list[Need]:
    """The thresholds of all documents, and how far they are reached.

    Raises:
        HeirloomError: A document is of a role that is not there.
    """
    found = []
    for document, metadata in documents.items():
        role = parse_file_name(document)[1]
        old, new = _delegators(base, documents, role)
        if not keys_of(new, role):
            raise HeirloomError(
                f"{document} is of a role that nobody delegates to", "do not sign it; ask whoever started the ceremony"
            )
        sides = [("holders", new)]
        if role == roles.ROOT:
            same = old.get_delegated_role(role) == new.get_delegated_role(role)
            sides = [("holders", new)] if same else [(OLD, old), (NEW, new)]
        for holders, delegator in sides:
            found.append(_need(document, role, holders, delegator, metadata, signatures[document], names))
    return found


def _need(
    document: str,
    role: str,
    holders: str,
    delegator: Root | Targets,
    metadata: AnyMetadata,
    signatures: Mapping[str, Signature],
    names: Mapping[str, str],
) -> Need:
    signed: dict[bytes, str] = {}
    waiting, wrong = [], []
    for key in keys_of(delegator, role):
        name = names.get(key.keyid, key.keyid[:8])
        if key.keyid not in signatures:
            waiting.append(name)
        elif verifies(key, signatures[key.keyid], metadata):
            signed.setdefault(material(key), name)  # one key counts once, whatever its keyids
        else:
            wrong.append(name)
    threshold = delegator.get_delegated_role(role).threshold
    return Need(document, role, holders, threshold, sorted(signed.values()), waiting, wrong)


def sentences(found: Iterable[Need]) -> list[str]:
    """The needs for people; the bins of an archive that stand alike are one."""
    said = dict[str, None]()
    for need in found:
        above = roles.archived_below(need.role)
        said[(replace(need, document=f"the archive of {above}") if above else need).sentence] = None
    return list(said)


def verifies(key: Key, signature: Signature, metadata: AnyMetadata) -> bool:
    """Whether `key` made the signature over `metadata`."""
    try:
        key.verify_signature(signature, metadata.signed_bytes)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True
