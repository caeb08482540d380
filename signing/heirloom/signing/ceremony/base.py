"""What a ceremony builds on: metadata that is verified from the root that the signer trusts, never from prose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from tuf.api.metadata import Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles, verify
from heirloom.signing.ceremony.holders import names_in
from heirloom.signing.metadata import file_name, parse
from heirloom.signing.repository import Repository

# Role -> (version, SHA-256 of the signed file).
Versions = Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Base:
    """Verified metadata of the offline roles.

    Attributes:
        delegated: The releases roles.
        archives: The bins of their archives, by name.
        files: Everything by file name, the roots from the trusted one on included.
        known: What keys are called on this machine, for those whose holders nobody has named.
    """

    root: Metadata[Root]
    targets: Metadata[Targets]
    delegated: dict[str, Metadata[Targets]]
    files: dict[str, bytes]
    known: Mapping[str, str] = field(default_factory=dict)
    archives: dict[str, Metadata[Targets]] = field(default_factory=dict)

    def current(self, role: str) -> Metadata[Root] | Metadata[Targets] | None:
        """The metadata that a new version of `role` follows, or None for a new role."""
        if role == roles.ROOT:
            return self.root
        return self.targets if role == roles.TARGETS else self.delegated.get(role) or self.archives.get(role)

    def archive(self, role: str) -> dict[str, Metadata[Targets]]:
        """The bins below a releases role, by name."""
        return {name: content for name, content in self.archives.items() if roles.archived_below(name) == role}

    def names(self) -> dict[str, str]:
        """The holders' names that people have signed, by keyid."""
        return {**names_in(self.targets), **names_in(self.root)}

    def versions(self) -> dict[str, tuple[int, str]]:
        """Version and SHA-256 of each role's file."""
        found = {roles.ROOT: self.root.signed.version, roles.TARGETS: self.targets.signed.version}
        found |= {role: each.signed.version for role, each in {**self.delegated, **self.archives}.items()}
        return {role: (number, _digest(self.files[file_name(role, number)])) for role, number in found.items()}


def of_repository(repository: Repository) -> Base:
    """The base that a ceremony started now would have.

    Raises:
        HeirloomError: The repository does not verify.
    """
    trusted = repository.trusted
    offline = [role for role in verify.delegated_roles(trusted.targets) if not roles.rule(role).online]
    archived = [name for role in offline for name in repository.archive(roles.board_of(role))]
    names = (roles.ROOT, roles.TARGETS, *offline, *archived)
    versions = {role: repository.current(role).signed.version for role in names}
    digests = {role: (number, None) for role, number in versions.items()}
    return _establish(repository.read, repository.anchor, digests)


def establish(read: verify.Read, anchor: bytes | None, versions: Versions) -> Base:
    """The base that a proposal names.

    Args:
        read: Gives signed files under their names in metadata/; they need not be trustworthy.
        anchor: The root that the signer trusts; 1.root.json if None.
        versions: From the proposal.

    Raises:
        HeirloomError: Something is missing, does not verify, or is not what the proposal builds on.
    """
    return _establish(read, anchor, versions)


def _establish(read: verify.Read, anchor: bytes | None, versions: Mapping[str, tuple[int, str | None]]) -> Base:
    files: dict[str, bytes] = {}

    def need(role: str) -> tuple[str, bytes]:
        number, digest = versions[role]
        name = file_name(role, number)
        data = read(name)
        if data is None:
            raise HeirloomError(f"the ceremony builds on {name}, which is not here", "fetch the repository anew")
        if digest not in (None, _digest(data)):
            raise HeirloomError(
                f"the ceremony builds on another {name} than the one that is here", "it belongs to another product"
            )
        files[name] = data
        return name, data

    root = _root(read, anchor, versions[roles.ROOT][0], files)
    need(roles.ROOT)
    name, data = need(roles.TARGETS)
    targets = parse(Targets, data, name)
    verify.signed_by(targets, roles.TARGETS, root, name)
    found: dict[str, Metadata[Targets]] = {}
    # A bin after its releases role, whose name it begins with.
    for role in sorted(set(versions) - {roles.ROOT, roles.TARGETS}):
        name, data = need(role)
        above = roles.archived_below(role)
        if above is not None and above not in found:
            raise HeirloomError(f"the ceremony builds on {name}, but not on {above}", "it is damaged")
        found[role] = parse(Targets, data, name)
        verify.signed_by(found[role], role, found[above] if above else targets, name)
    archives = {role: found.pop(role) for role in list(found) if roles.archived_below(role)}
    return Base(root, targets, found, files, archives=archives)


def _root(read: verify.Read, anchor: bytes | None, version: int, files: dict[str, bytes]) -> Metadata[Root]:
    """Follow the chain from the trusted root to the version that the ceremony builds on (TUF 5.3)."""
    data = anchor if anchor is not None else read("1.root.json")
    if data is None:
        raise HeirloomError("there is no root to trust", "name a root file that you trust: --root FILE")
    root = parse(Root, data, "the trusted root")
    verify.signed_by(root, roles.ROOT, root, "the trusted root")
    files[file_name(roles.ROOT, root.signed.version)] = data
    if root.signed.version > version:
        raise HeirloomError(
            f"the ceremony builds on root {version}, but root {root.signed.version} is trusted here already",
            "it was overtaken: abort it and start again",
        )
    for number in range(root.signed.version + 1, version + 1):
        name = file_name(roles.ROOT, number)
        following = read(name)
        if following is None:
            raise HeirloomError(
                f"{name} is missing between the trusted root and root {version}", "fetch the repository"
            )
        root = verify.next_root(following, root, name)
        files[name] = following
    return root


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
