"""Opening a will: what the successors sign, so that devices follow from the maker's last root to theirs.

Root N+1 as the maker signed it, and N+2 with fresh expiry, online keys and places: of the roots, TUF 5.3.10 looks at
the expiry of the last one only. The maker's keys sign nothing any more, so everything below is signed anew, unchanged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.cli.project import Project
from heirloom.signing import bins, roles, verify
from heirloom.signing.ceremony.holders import HOLDERS, names_in
from heirloom.signing.ci import CI_KEYS
from heirloom.signing.keys import SCHEME, KeyStore
from heirloom.signing.metadata import MAKER, URLS, file_name, next_role, parse, parse_file_name, sign, to_bytes
from heirloom.signing.passphrases import Passphrases
from heirloom.signing.repository import Repository
from heirloom.signing.rig import RIG_KEYS
from heirloom.signing.will import standing
from heirloom.signing.will.sealed import SealedWill
from heirloom.signing.will.shares import Share, join


@dataclass(frozen=True)
class Documents:
    """What the successors sign.

    Attributes:
        will: Root N+1 as the maker signed it.
        own: Root N+2.
        releases: By role, with the bins of their archives.
    """

    will: Metadata[Root]
    own: Metadata[Root]
    targets: Metadata[Targets]
    releases: dict[str, Metadata[Targets]]

    def sign(self, signers: Sequence[Signer]) -> None:
        """Add signatures to every one; HeirloomError if a key refuses."""
        for root in (self.will, self.own):
            sign(root, signers)
        for role in (self.targets, *self.releases.values()):
            sign(role, signers)

    def to_files(self) -> dict[str, bytes]:
        """By name under metadata/, in the order in which a client would verify them."""
        roots = {file_name(roles.ROOT, root.signed.version): to_bytes(root) for root in (self.will, self.own)}
        below = {roles.TARGETS: self.targets, **self.releases}
        return {**roots, **{file_name(role, each.signed.version): to_bytes(each) for role, each in below.items()}}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Documents":
        """Read what `to_files` gave; HeirloomError or ValueError if it is something else."""
        names = list(files)
        will, own = (parse(Root, files[name], name) for name in names[:2])
        targets = parse(Targets, files[names[2]], names[2])
        releases = {parse_file_name(name)[1]: parse(Targets, files[name], name) for name in names[3:]}
        return cls(will, own, targets, releases)

    def in_words(self) -> list[str]:
        """What these documents would do, for whoever signs them; computed from what is signed."""
        root, names = self.own.signed, names_in(self.will)
        maker = self.targets.signed.unrecognized_fields.get(MAKER, {})
        people = ", ".join(names.get(keyid, f"key {keyid[:8]}") for keyid in root.roles[roles.ROOT].keyids)
        machines = {role: ", ".join(keyid[:8] for keyid in keyids) for role, keyids in self._online().items()}
        return [
            f"Root {root.version}, until {root.expires:%Y-%m-%d}: {root.roles[roles.ROOT].threshold} of {people}",
            f"Devices look at: {', '.join(map(str, root.unrecognized_fields[URLS]))}",
            f"Behind the product stands {maker.get('name')}, {maker.get('contact')}",
            *(f"Online key of {role}: {keys}" for role, keys in machines.items()),
        ]

    def _online(self) -> dict[str, list[str]]:
        top = {role: self.own.signed.roles[role].keyids for role in (roles.SNAPSHOT, roles.TIMESTAMP)}
        delegations = self.targets.signed.delegations
        below = (delegations.roles if delegations else None) or {}
        return top | {name: role.keyids for name, role in below.items() if roles.rule(name).online}


@dataclass(frozen=True)
class Answers:
    """What the successors say about themselves.

    Attributes:
        urls: Where devices look from now on.
        maker: Who stands behind the product now.
        contact: For security matters.
    """

    urls: Sequence[str]
    maker: str
    contact: str


@dataclass(frozen=True)
class Missing:
    """Signatures that a document lacks."""

    document: str
    have: int
    need: int


def unseal(
    project: Project, repository: Repository, will: SealedWill, judged: standing.Will, shares: Iterable[Share]
) -> Metadata[Root]:
    """The root in the will, verified to follow the one that is published.

    Raises:
        HeirloomError: The will is void or another product's, the shares do not open it, or it is not what it should be.
    """
    if judged.state != standing.LIVE:
        advice = {
            standing.VOID: "open the newest will; it has shares of its own",
            standing.OPENED: "go on with `heirloom renew` and `heirloom release`",
            standing.FOREIGN: f"this project is {project.product.name}; import the newest archive of the product first",
        }
        word = {
            standing.VOID: "void",
            standing.OPENED: "opened already",
            standing.FOREIGN: "not one for this repository",
        }
        raise HeirloomError(f"this will is {word[judged.state]}: {judged.reason}", advice[judged.state])
    header = will.header
    root = will.open(join(shares, header.identifier, header.needed))
    verify.signed_by(root, roles.ROOT, repository.root(), file_name(roles.ROOT, root.signed.version))
    return root


def online_roles(repository: Repository) -> list[str]:
    """The roles for which opening makes keys that lie on the publishing server."""
    channels = [role for role in verify.delegated_roles(repository.targets()) if roles.rule(role).online]
    return [roles.SNAPSHOT, roles.TIMESTAMP, *channels]


def documents(
    repository: Repository, will: Metadata[Root], online: Mapping[str, Key], answers: Answers, now: datetime
) -> Documents:
    """What the successors have to sign.

    Args:
        repository: As the maker left it.
        will: Root N+1 as the maker signed it.
        online: The new key of each online role.
        answers: What the successors say.
        now: Time of signing (UTC).
    """
    successors = {keyid: will.signed.keys[keyid] for keyid in will.signed.roles[roles.ROOT].keyids}
    offline = [role for role in verify.delegated_roles(repository.targets()) if not roles.rule(role).online]
    targets = _targets(repository.targets(), successors, online, answers, now)
    releases: dict[str, Metadata[Targets]] = {}
    for role in offline:
        archive = repository.archive(roles.board_of(role))
        releases |= bins.renewed(repository.role(role), archive, role, targets, now)
    return Documents(will, _own_root(will, online, answers, now), targets, releases)


def _own_root(will: Metadata[Root], online: Mapping[str, Key], answers: Answers, now: datetime) -> Metadata[Root]:
    root = next_role(will, roles.ROOT, now)
    for role in (roles.SNAPSHOT, roles.TIMESTAMP):
        root.signed.keys[online[role].keyid] = online[role]
        root.signed.roles[role] = Role([online[role].keyid], 1)
    root.signed.unrecognized_fields[URLS] = list(answers.urls)
    return root


def _targets(
    current: Metadata[Targets],
    successors: Mapping[str, Key],
    online: Mapping[str, Key],
    answers: Answers,
    now: datetime,
) -> Metadata[Targets]:
    """The same boards and the same epoch, in other hands."""
    targets = next_role(current, roles.TARGETS, now)
    delegated = {}
    keys = dict(successors)
    for name in verify.delegated_roles(current):
        holders = [online[name]] if name in online else list(successors.values())
        keys |= {key.keyid: key for key in holders}
        keyids = [key.keyid for key in holders]
        delegated[name] = DelegatedRole(name, keyids, 1, terminating=True, paths=roles.paths(name))
    targets.signed.delegations = Delegations(keys, delegated)
    maker = dict(current.signed.unrecognized_fields.get(MAKER, {}))
    maker |= {"name": answers.maker, "contact": answers.contact}
    maker.pop("support-until", None)  # the maker's promise; the successors have made none
    targets.signed.unrecognized_fields[MAKER] = maker
    for about_old_keys in (HOLDERS, CI_KEYS, RIG_KEYS):
        targets.signed.unrecognized_fields.pop(about_old_keys, None)
    return targets


def channels(repository: Repository, online: Mapping[str, Sequence[Signer]], now: datetime) -> dict[str, bytes]:
    """The channels roles with the same pointers, signed by the new online keys."""
    files = {}
    for role, signers in online.items():
        if role not in roles.TOP_LEVEL:
            metadata = next_role(repository.role(role), role, now)
            sign(metadata, signers)
            files[file_name(role, metadata.signed.version)] = to_bytes(metadata)
    return files


def signers_here(root: Metadata[Root], store: KeyStore, passphrases: Passphrases) -> list[Signer]:
    """Open the successors' keys that are on this machine."""
    wanted = set(root.signed.roles[roles.ROOT].keyids)
    names = [name for name in store.names() if store.public(name).keyid in wanted]
    return [store.signer(f"{SCHEME}:{name}", passphrases) for name in names]


def missing(before: Metadata[Root], found: Documents) -> list[Missing]:
    """Signatures that are missing, document by document, as a client would count them."""
    own, will = found.own, found.will
    pairs: list[tuple[Metadata[Root] | Metadata[Targets], Metadata[Root] | Metadata[Targets], str]] = [
        (will, before, roles.ROOT),
        (will, will, roles.ROOT),
        (own, will, roles.ROOT),
        (own, own, roles.ROOT),
        (found.targets, own, roles.TARGETS),
        *(
            (document, found.releases.get(roles.archived_below(role) or "", found.targets), role)
            for role, document in found.releases.items()
        ),
    ]
    lacking = []
    for document, delegator, role in pairs:
        result = delegator.signed.get_verification_result(role, document.signed_bytes, document.signatures)
        if not result.verified:
            name = file_name(role, document.signed.version)
            lacking.append(Missing(name, len(result.signed), result.threshold))
    return list(dict.fromkeys(lacking))
