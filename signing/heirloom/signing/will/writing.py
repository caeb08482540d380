"""Writing a will: root N+1, in which the successors hold every role, signed by the maker's threshold and sealed.

Several holders may sign one after the other: until there are enough signatures the root lies in a draft file, which
is passed on. The successors do not sign here. They do at the opening, so that a root whose seal was broken
is worth nothing without them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Role, Root

from heirloom.cli.errors import HeirloomError, UsageError
from heirloom.cli.files import os_error, write_atomic
from heirloom.cli.project import Project
from heirloom.signing import roles, verify
from heirloom.signing.ceremony.holders import HOLDERS, material
from heirloom.signing.metadata import SIGNED_AT, file_name, next_role, parse, sign, time_text, to_bytes
from heirloom.signing.repository import Repository
from heirloom.signing.will import shares
from heirloom.signing.will.sealed import FORMAT, Header, digest, read, seal
from heirloom.signing.will.standing import place as place_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Testament:
    """What the maker decides.

    Attributes:
        successors: Name to public key; each holds the private half of a key of their own.
        threshold: How many of them must sign together from then on.
        trustees: Names of those who get a share.
        needed: How many trustees open the will together.
    """

    successors: Mapping[str, Key]
    threshold: int
    trustees: Sequence[str]
    needed: int


@dataclass(frozen=True)
class Written:
    """What came of it.

    Attributes:
        version: Of the root in the will.
        signatures: Valid ones of today's holders.
        threshold: Signatures that it needs.
        will: The sealed file, if there were enough.
        draft: Where the unsealed root waits for more signatures, if there were not.
        shares: The trustees' files.
    """

    version: int
    signatures: int
    threshold: int
    will: Path | None = None
    draft: Path | None = None
    shares: list[Path] = field(default_factory=list)


def check(current: Metadata[Root], testament: Testament) -> None:
    """Raise HeirloomError or UsageError if such a will would not do."""
    names = [*testament.successors, *testament.trustees]
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name", "letters, digits and . _ - (at most 64)")
    if len(set(testament.trustees)) != len(testament.trustees):
        raise UsageError("two trustees have the same name", "their files would, too")
    if not 1 <= testament.threshold <= len(testament.successors):
        raise UsageError(
            f"{testament.threshold} of {len(testament.successors)} successors is not possible",
            "name each with --successor NAME=FILE",
        )
    seen = {material(key): "today's holders" for key in current.signed.keys.values()}
    for name, key in testament.successors.items():
        owner = seen.setdefault(material(key), name)
        if owner != name:
            raise HeirloomError(f"the key of {name} is one of {owner}", "each successor needs a key of their own")


def successors_root(current: Metadata[Root], testament: Testament, now: datetime) -> Metadata[Root]:
    """Root N+1, unsigned: the successors hold every role, until they name other keys in N+2."""
    root = next_role(current, roles.ROOT, now)
    keyids = [key.keyid for key in testament.successors.values()]
    root.signed.keys = {key.keyid: key for key in testament.successors.values()}
    root.signed.roles = {role: Role(list(keyids), testament.threshold) for role in roles.TOP_LEVEL}
    root.signed.unrecognized_fields[HOLDERS] = {key.keyid: name for name, key in testament.successors.items()}
    return root


def write(
    project: Project,
    repository: Repository,
    testament: Testament,
    signers: Iterable[Signer],
    shares_folder: Path,
    now: datetime,
    draft: Path | None = None,
) -> Written:
    """Sign the will with the keys that are here; seal it when the threshold is reached.

    Args:
        project: Whose will it is.
        repository: As published.
        testament: What the maker decides.
        signers: Of the root role.
        shares_folder: For the trustees' files; must not exist.
        now: Time of signing (UTC).
        draft: Where the root waits for signatures when these are too few, and waited before.

    Raises:
        HeirloomError: The draft is another will's, a file cannot be written, there is such a will already, ...
    """
    current = repository.root()
    check(current, testament)
    place = place_of(project, current.signed.version + 1)
    if place.exists():
        raise HeirloomError(
            f"{place} is a will that follows the root of today", "remove it first; its trustees' shares end with it"
        )
    check_shares_folder(project, shares_folder)
    root = _drafted(draft, current, testament) or successors_root(current, testament, now)
    sign(root, signers)
    result = current.signed.get_verification_result(roles.ROOT, root.signed_bytes, root.signatures)
    have, want = len(result.signed), result.threshold
    if have == 0:
        raise HeirloomError("none of the keys here belongs to today's root", "see `heirloom key list`")
    if not result.verified:
        return Written(root.signed.version, have, want, draft=_keep_draft(draft, root, have, want))
    will, files = _seal(project, current, root, testament, shares_folder, now)
    if draft is not None:
        draft.unlink(missing_ok=True)
    return Written(root.signed.version, have, want, will, shares=files)


def check_shares_folder(project: Project, folder: Path) -> None:
    """Shares are for trustees only: refuse places that are published, committed or taken.

    Raises:
        HeirloomError: The folder exists, or lies in the project or in a git work tree.
    """
    resolved = folder.absolute().resolve()
    if folder.exists() and not _is_unfinished(project, folder):
        raise HeirloomError(f"{folder} exists already", "name a new folder: shares are never overwritten")
    if resolved.is_relative_to(project.root.resolve()) or any((p / ".git").exists() for p in resolved.parents):
        raise HeirloomError(
            f"shares must not lie in a project or a git work tree: {folder}", "a stick that stays offline is good"
        )


def _unfinished(place: Path) -> Path:
    """Where a sealed will lies until its shares are written: it becomes the will by its last step, a rename."""
    return place.with_name(f".new-{place.name}")


def _is_unfinished(project: Project, folder: Path) -> bool:
    """Whether the folder holds nothing but shares of a will that never came to be, because the program was killed."""
    headers = [read(path).header for path in sorted(_unfinished(place_of(project, 0)).parent.glob(".new-*.will.json"))]
    known = {f"{name}{shares.SUFFIX}": header.identifier for header in headers for name in header.trustees}
    try:
        return bool(known) and all(_is_share_of(path, known.get(path.name)) for path in folder.iterdir())
    except OSError as exc:
        raise os_error(exc, f"cannot read {folder}") from exc


def _is_share_of(path: Path, identifier: int | None) -> bool:
    if identifier is None:
        return False
    try:
        return shares.read(path).identifier == identifier
    except HeirloomError:
        return True  # the one that was being written


def _clear(folder: Path) -> None:
    try:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except OSError as exc:
        raise os_error(exc, f"cannot remove {folder}") from exc


def _drafted(draft: Path | None, current: Metadata[Root], testament: Testament) -> Metadata[Root] | None:
    """The root that waits for signatures; it must say exactly what this signer was told."""
    if draft is None or not draft.exists():
        return None
    try:
        root = parse(Root, draft.read_bytes(), str(draft))
    except OSError as exc:
        raise os_error(exc, f"cannot read {draft}") from exc
    expected = successors_root(current, testament, root.signed.expires)
    # Only these two say when the first holder signed.
    expected.signed.expires = root.signed.expires
    expected.signed.unrecognized_fields[SIGNED_AT] = root.signed.unrecognized_fields.get(SIGNED_AT)
    if digest(expected) != digest(root):
        raise HeirloomError(
            f"{draft} is a will with other successors, another threshold or for another root", "ask who began it"
        )
    return root


def _keep_draft(draft: Path | None, root: Metadata[Root], have: int, want: int) -> Path:
    if draft is None:
        raise HeirloomError(
            f"the will carries {have} of the {want} signatures that it needs",
            "say --draft FILE, and let the other holders run the same command on that file",
        )
    # Not sealed yet, so nobody else may read it.
    write_atomic(draft, to_bytes(root), mode=0o600)
    return draft


def _seal(
    project: Project, current: Metadata[Root], root: Metadata[Root], testament: Testament, folder: Path, now: datetime
) -> tuple[Path, list[Path]]:
    verify.signed_by(root, roles.ROOT, current, file_name(roles.ROOT, root.signed.version))
    key, identifier, words = shares.split(testament.needed, len(testament.trustees))
    header = Header(
        format=FORMAT,
        product=project.product.name,
        version=root.signed.version,
        follows=digest(current),
        root=digest(root),
        written=time_text(now),
        needed=testament.needed,
        trustees=list(testament.trustees),
        identifier=identifier,
        successors={name: key.keyid for name, key in testament.successors.items()},
        threshold=testament.threshold,
    )
    sealed = seal(header, to_bytes(root), key)
    remarks = [
        f"One share of the will of {header.product} for root {header.version}, written {header.written}.",
        f"{header.needed} of {len(header.trustees)} open it together. Show it to nobody before then.",
    ]
    place = place_of(project, header.version)
    if folder.exists():
        _clear(folder)
    try:
        place.parent.mkdir(exist_ok=True)
        write_atomic(_unfinished(place), sealed.to_bytes())
        files = shares.write(folder, dict(zip(testament.trustees, words, strict=True)), remarks)
        _unfinished(place).replace(place)
    except OSError as exc:
        raise os_error(exc, f"cannot write {place}") from exc
    return place, files
