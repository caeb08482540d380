"""A ceremony: started, looked at, signed by one holder after the other, complete."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Metadata, Root, Targets

from heirloom.cli.errors import HeirloomError
from heirloom.signing import roles, verify
from heirloom.signing.ceremony import base as bases
from heirloom.signing.ceremony import folder as folders
from heirloom.signing.ceremony import proposal as proposals
from heirloom.signing.ceremony.audit import audit
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.difference import Change, difference
from heirloom.signing.ceremony.draft import Documents, draft
from heirloom.signing.ceremony.holders import names_in
from heirloom.signing.ceremony.proposal import Proposal
from heirloom.signing.ceremony.quorum import Need, needs, sentences, useful, verifies
from heirloom.signing.ceremony.wishes import Wishes
from heirloom.signing.metadata import SIGNED_AT, AnyMetadata, parse, parse_file_name, time_text, to_bytes
from heirloom.signing.repository import Repository

_ID_DIGITS = 8
_NAMED = re.compile(r".*-([0-9a-f]{8})")
_EDITED = "the folder was edited or damaged: get a fresh copy of it, and sign nothing until it fits"
_CLOCKS = timedelta(days=1)  # how far the starter's clock may be ahead


@dataclass(frozen=True)
class Ceremony:
    """The folder of a ceremony, read once: what is shown is what gets signed.

    Attributes:
        id: SHA-256 of the proposal.
        documents: Metadata by file name, without signatures.
        aborted: Why it was aborted; empty if it was not.
    """

    path: Path
    id: str
    proposal: Proposal
    documents: Documents
    aborted: str = ""

    @classmethod
    def load(cls, path: Path) -> "Ceremony":
        """Read a folder, and hold every document against the proposal and the proposal against the folder's name.

        Raises:
            HeirloomError: It is no ceremony, or was edited.
        """
        data = folders.read(path, folders.PROPOSAL)
        if data is None:
            raise HeirloomError(f"{path} is no ceremony: it has no {folders.PROPOSAL}", "name the folder of a ceremony")
        identity = proposals.identity(data)
        named = _NAMED.fullmatch(path.resolve().name)
        if named and named[1] != identity[:_ID_DIGITS]:
            raise HeirloomError(
                f"{path} holds the proposal of ceremony {identity[:_ID_DIGITS]}, not {named[1]}", _EDITED
            )
        proposal = proposals.decode(data, str(path / folders.PROPOSAL))
        documents = {name: _document(path, name, digest) for name, digest in proposal.documents.items()}
        if not documents or len(documents) > proposals.MAX_DOCUMENTS:
            raise HeirloomError(f"{path} changes {len(documents)} roles", _EDITED)
        return cls(path, identity, proposal, documents, _aborted(path))

    @property
    def short_id(self) -> str:
        """Enough of the id to tell ceremonies apart."""
        return self.id[:_ID_DIGITS]

    def base(self, read: verify.Read | None, anchor: bytes | None) -> Base:
        """What the ceremony builds on, verified from the root that is trusted here.

        Args:
            read: Gives files of the repository, if there is one here; the folder's own copies serve where it lacks one.
            anchor: The trusted root; 1.root.json if None.

        Raises:
            HeirloomError: It does not verify, or the ceremony is of another product.
        """

        def either(name: str) -> bytes | None:
            return (read(name) if read else None) or folders.read(self.path, f"{folders.BASE}/{name}")

        return bases.establish(either, anchor, self.proposal.base)

    def check(self, base: Base, product: str | None, now: datetime) -> None:
        """Everything that must hold before anybody signs or publishes.

        Args:
            base: Trusted.
            product: That the keys here belong to; None if that is not known.
            now: Time to compare expiries with (UTC).

        Raises:
            HeirloomError: It is aborted, foreign, expired, or would make metadata that devices refuse.
        """
        if self.aborted:
            raise HeirloomError(f"the ceremony {self.short_id} is aborted: {self.aborted}", "start another one")
        audit(base, self.documents, product)
        for name, metadata in self.documents.items():
            if metadata.signed.is_expired(now):
                raise HeirloomError(
                    f"{name} of ceremony {self.short_id} expired on {time_text(metadata.signed.expires)}",
                    "abort it and start again",
                )
            # Devices raise their lower bound of time by it: one from the future would lock them out.
            stated = metadata.signed.unrecognized_fields.get(SIGNED_AT)
            if not isinstance(stated, str) or stated > time_text(now + _CLOCKS):
                raise HeirloomError(f"{name} states {stated} as the time of its signing", "check the clock")
        if self.proposal.created > time_text(now + _CLOCKS):
            raise HeirloomError(
                f"the ceremony was started in the future, at {self.proposal.created}", "check the clock"
            )

    def difference(self, base: Base) -> list[Change]:
        """What it changes, in plain words."""
        return difference(base, self.documents)

    def needs(self, base: Base) -> list[Need]:
        """Who signed and who has to, for every document."""
        return needs(base, self.documents, self.signatures(), self.names(base))

    def missing(self, base: Base) -> list[Need]:
        """The needs that are not met yet."""
        return [need for need in self.needs(base) if need.missing]

    def names(self, base: Base) -> dict[str, str]:
        """Holders' names by keyid; those that people signed before count more."""
        proposed = {keyid: name for document in self.documents.values() for keyid, name in names_in(document).items()}
        return {**base.known, **proposed, **base.names()}

    def signatures(self) -> dict[str, dict[str, Signature]]:
        """The signatures that lie in the folder now, by document and keyid; not verified."""
        found: dict[str, dict[str, Signature]] = {name: {} for name in self.documents}
        for (name, keyid), text in folders.signatures(self.path).items():
            if name in found:
                found[name][keyid] = Signature(keyid, text)
        return found

    def wanted_keys(self, base: Base) -> dict[str, list[str]]:
        """Keyid to the documents whose signature by it counts."""
        wanted: dict[str, list[str]] = {}
        for name in self.documents:
            for keyid in useful(base, self.documents, name):
                wanted.setdefault(keyid, []).append(name)
        return wanted

    def sign(self, signers: Iterable[Signer], shown_id: str, base: Base) -> list[str]:
        """Sign every document for which a signer's key counts.

        Args:
            signers: Opened keys.
            shown_id: Of the ceremony that the holder looked at.
            base: Trusted; `check` was called with it.

        Returns:
            The files written.

        Raises:
            HeirloomError: The folder is not what was shown any more, another ceremony makes the same versions, a key
                does not count, or signing failed.
        """
        self._check_unchanged(shown_id)
        self._check_rivals()
        wanted, written = self.wanted_keys(base), []
        for signer in signers:
            keyid = signer.public_key.keyid
            if keyid not in wanted:
                raise HeirloomError(
                    f"key {keyid[:_ID_DIGITS]} has no say in ceremony {self.short_id}",
                    "`heirloom ceremony status` shows whose signatures it needs",
                )
            for name in wanted[keyid]:
                file = folders.signature_file(name, keyid)
                signature = json.dumps({"keyid": keyid, "sig": _signature(signer, self.documents[name])}) + "\n"
                if folders.write_once(self.path / file, signature.encode()):
                    written.append(file)
        return written

    def complete(self, base: Base) -> dict[str, bytes]:
        """The signed documents by file name, each with all the signatures that count.

        Raises:
            HeirloomError: Signatures are missing; says whose.
        """
        missing = self.missing(base)
        if missing:
            raise HeirloomError(
                f"ceremony {self.short_id} is not complete: {'; '.join(sentences(missing))}",
                "they run `heirloom ceremony sign` on their copy of the folder, and hand its new files on",
            )
        found, result = self.signatures(), {}
        for name, metadata in self.documents.items():
            keys = useful(base, self.documents, name)
            signed: AnyMetadata = Metadata.from_bytes(to_bytes(metadata))
            for keyid in sorted(set(found[name]) & set(keys)):
                if verifies(keys[keyid], found[name][keyid], metadata):
                    signed.signatures[keyid] = found[name][keyid]
            result[name] = to_bytes(signed)
        return result

    def published(self, repository: Repository) -> set[str]:
        """The documents that the repository has published, whoever's signatures they carry."""
        return {name for name, metadata in self.documents.items() if _is_live(repository, name, metadata)}

    def check_current(self, repository: Repository) -> None:
        """Refuse a ceremony that others overtook: it builds on versions that are not the newest any more.

        Raises:
            HeirloomError: Names the role, and what is published instead.
        """
        published = self.published(repository)
        for role, (version, digest) in self.proposal.base.items():
            metadata = repository.current(role)
            mine = next((name for name in published if parse_file_name(name)[1] == role), None)
            data = repository.read(f"{version}.{role}.json")
            same = data is not None and sha256(data).hexdigest() == digest
            if mine is None and metadata.signed.version != version:
                raise HeirloomError(
                    f"ceremony {self.short_id} conflicts: it was started from {version}.{role}.json, "
                    f"but {metadata.signed.version}.{role}.json is published meanwhile",
                    f"`heirloom ceremony abort {self.path.name}`, then start it again from what is published now",
                )
            if not same:
                raise HeirloomError(f"the ceremony builds on another {version}.{role}.json than the published one")

    def rivals(self) -> list["Ceremony"]:
        """Other ceremonies beside this one, not aborted, that make other content of the same versions."""
        others = [other for other in listed(self.path.resolve().parent) if other.id != self.id and not other.aborted]
        mine = self.proposal.documents
        return [
            other
            for other in others
            if any(mine.get(name, digest) != digest for name, digest in other.proposal.documents.items())
        ]

    def abort(self, reason: str, now: datetime) -> None:
        """End it; HeirloomError if it is aborted already."""
        data = json.dumps({"at": time_text(now), "reason": reason}) + "\n"
        if not folders.write_once(self.path / folders.ABORTED, data.encode()):
            raise HeirloomError(f"the ceremony {self.short_id} is aborted already: {self.aborted}")

    def _check_unchanged(self, shown_id: str) -> None:
        data = folders.read(self.path, folders.PROPOSAL) or b""
        # At least 8 digits, so that nobody agrees to what happens to begin with "a".
        shown = len(shown_id) >= _ID_DIGITS and self.id.startswith(shown_id)
        if not shown or proposals.identity(data) != self.id:
            raise HeirloomError(
                f"this is ceremony {proposals.identity(data)[:_ID_DIGITS]}, and {shown_id[:_ID_DIGITS]} was looked at",
                "look at it again with `heirloom ceremony status`; nothing was signed",
            )

    def _check_rivals(self) -> None:
        for rival in self.rivals():
            both = sorted(set(self.documents) & set(rival.documents))
            raise HeirloomError(
                f"ceremony {self.short_id} conflicts with {rival.path.name}: both make {', '.join(both)}",
                "abort one of them first: nobody should sign two different files of one version",
            )


def start(
    parent: Path,
    base: Base,
    wishes: Wishes,
    now: datetime,
    *,
    product: str,
    purpose: str,
) -> Ceremony:
    """Make the folder of a new ceremony.

    Args:
        parent: Where ceremonies lie.
        base: What stands, of the repository.
        wishes: What shall change.
        now: Time (UTC); the documents state it as the time of signing.
        product: Its name.
        purpose: In plain words, for the other signers.

    Raises:
        HeirloomError: The wishes make no sense, or another open ceremony changes the same roles.
    """
    documents = draft(base, wishes, now)
    audit(base, documents, product)
    changed = {parse_file_name(name)[1] for name in documents}
    versions = {role: entry for role, entry in base.versions().items() if role in {roles.ROOT, roles.TARGETS, *changed}}
    proposal = Proposal(
        product=product,
        created=time_text(now),
        purpose=purpose,
        base=versions,
        documents={name: sha256(metadata.signed_bytes).hexdigest() for name, metadata in documents.items()},
        uris={key.public.keyid: key.uri for key in wishes.new_keys() if key.uri},
        lost=sorted(wishes.lost),
        stolen=sorted(wishes.stolen),
    )
    data = proposal.encode()
    _check_free(parent, proposal)
    files = {folders.PROPOSAL: data}
    kept = {f"{version}.{role}.json" for role, (version, _) in versions.items()}
    files |= {
        f"{folders.BASE}/{name}": content
        for name, content in base.files.items()
        if name in kept or parse_file_name(name)[1] == roles.ROOT
    }
    files |= {f"{folders.DOCUMENTS}/{name}": to_bytes(metadata) for name, metadata in documents.items()}
    name = f"{now:%Y-%m-%d}-{_slug(purpose)}-{proposals.identity(data)[:_ID_DIGITS]}"
    return Ceremony.load(folders.create(parent, name, files))


def listed(parent: Path) -> list[Ceremony]:
    """The ceremonies in a folder, by name; what is none, or was edited, is left out."""
    found = []
    for path in sorted(parent.glob("[!.]*/" + folders.PROPOSAL)) if parent.is_dir() else ():
        try:
            found.append(Ceremony.load(path.parent))
        except HeirloomError:
            continue
    return found


def _check_free(parent: Path, proposal: Proposal) -> None:
    for other in listed(parent):
        both = sorted(set(other.documents) & set(proposal.documents))
        if both and not other.aborted:
            raise HeirloomError(
                f"the ceremony {other.path.name} makes {', '.join(both)} already",
                "finish it or abort it first: two ceremonies from one version conflict",
            )


def _slug(purpose: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", purpose.lower()).strip("-")
    return words[:32].strip("-") or "ceremony"


def _document(path: Path, name: str, digest: str) -> Metadata[Root] | Metadata[Targets]:
    place = f"{folders.DOCUMENTS}/{name}"
    data = folders.read(path, place)
    if data is None:
        raise HeirloomError(f"{path / place} is missing", _EDITED)
    metadata = _parse(name, data, str(path / place))
    if sha256(metadata.signed_bytes).hexdigest() != digest:
        raise HeirloomError(f"{path / place} is not what the ceremony was started with", _EDITED)
    if metadata.signatures:
        raise HeirloomError(f"{path / place} carries signatures", "they belong into signatures/; " + _EDITED)
    return metadata


def _parse(name: str, data: bytes, where: str) -> Metadata[Root] | Metadata[Targets]:
    if parse_file_name(name)[1] == roles.ROOT:
        return parse(Root, data, where)
    return parse(Targets, data, where)


def _aborted(path: Path) -> str:
    data = folders.read(path, folders.ABORTED)
    if data is None:
        return ""
    try:
        return str(json.loads(data)["reason"]) or "no reason given"
    except (ValueError, TypeError, KeyError):
        return "aborted.json is there, but damaged"


def _signature(signer: Signer, metadata: AnyMetadata) -> str:
    try:
        signature: Signature = signer.sign(metadata.signed_bytes)
    except HeirloomError:
        raise  # a wrong or absent PIN: what to do is part of it
    except Exception as exc:  # tokens and services raise what they like
        raise HeirloomError(f"key {signer.public_key.keyid[:_ID_DIGITS]} did not sign: {exc}") from exc
    return signature.signature


def _is_live(repository: Repository, name: str, metadata: AnyMetadata) -> bool:
    version, role = parse_file_name(name)
    try:
        current = repository.current(role).signed.version
    except HeirloomError:
        return False
    data = repository.read(name)
    if version > current or data is None:
        return False
    return _parse(name, data, name).signed_bytes == metadata.signed_bytes
